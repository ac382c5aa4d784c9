//! Closed forms: shapes of known size, depth, normal and colour.

use std::sync::Arc;

use dreamsmith_base::color::linear_to_srgb;
use dreamsmith_base::{Camera, Lens, Material, Mesh, MeshParts, Purpose, Radians, Rgba, Stream};
use glam::Vec3;

use super::*;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn light() -> Light {
    Light {
        source: Source::Directional {
            direction: [0.0, 0.0, 2.0],
        },
        ambient: 0.25,
        diffuse: 0.75,
    }
}

/// A camera on the +Z side whose picture is as high as 2 at distance 1.
fn camera(distance: f32, size: u32) -> Result<Camera, Box<dyn std::error::Error>> {
    let lens = Lens::from_fov_y(Radians::from_degrees(90.0), [size, size])?;
    Ok(Camera::orbit(Radians(0.0), Radians(0.0), distance, lens)?)
}

/// The square from (-half, -half) to (half, half) at height `z`, facing +Z.
fn square(half: f32, z: f32, material: Material) -> MeshParts {
    let (low, high) = (-half, half);
    MeshParts {
        verts: vec![
            [low, low, z],
            [high, low, z],
            [high, high, z],
            [low, high, z],
        ],
        faces: vec![[0, 1, 2], [0, 2, 3]],
        uvs: vec![[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]],
        face_materials: vec![0, 0],
        materials: vec![material],
        ..MeshParts::default()
    }
}

/// One mesh of several, each with its materials.
fn join(all: Vec<MeshParts>) -> MeshParts {
    let mut joined = MeshParts::default();
    for mut parts in all {
        let first_vert = joined.verts.len() as u32;
        let first_material = joined.materials.len() as u32;
        let faces = parts.faces.iter().map(|face| face.map(|i| i + first_vert));
        joined.faces.extend(faces);
        let materials = parts.face_materials.iter().map(|i| i + first_material);
        joined.face_materials.extend(materials);
        joined.verts.append(&mut parts.verts);
        joined.uvs.append(&mut parts.uvs);
        joined.materials.append(&mut parts.materials);
    }
    joined
}

fn color(base_color: [f32; 3], alpha: f32) -> Material {
    Material {
        base_color,
        alpha,
        ..Material::default()
    }
}

/// A sphere of radius 1 of `2 n n` quads, cut in two.
fn sphere(n: u32) -> MeshParts {
    let mut parts = MeshParts::default();
    for i in 0..=n {
        for j in 0..=2 * n {
            let polar = std::f32::consts::PI * i as f32 / n as f32;
            let around = std::f32::consts::PI * j as f32 / n as f32;
            let (ring, y) = polar.sin_cos();
            parts
                .verts
                .push([ring * around.sin(), y, ring * around.cos()]);
        }
    }
    let row = 2 * n + 1;
    for i in 0..n {
        for j in 0..2 * n {
            let a = i * row + j;
            parts.faces.push([a, a + row, a + row + 1]);
            parts.faces.push([a, a + row + 1, a + 1]);
        }
    }
    parts
}

fn draw(parts: MeshParts, camera: &Camera) -> Result<Frame, Box<dyn std::error::Error>> {
    let surface = Surface::new(&parts.build()?, Shading::default());
    Ok(render(&surface, camera, &light())?)
}

fn near(a: [f32; 3], b: [f32; 3], tolerance: f32) -> bool {
    Vec3::from(a).abs_diff_eq(b.into(), tolerance)
}

#[test]
fn a_square_covers_its_share() -> Outcome {
    // Half as high as the picture, so 16 of 32 pixels on each side, from pixel 8 on.
    let frame = draw(
        square(1.0, 0.0, color([0.5, 0.25, 1.0], 1.0)),
        &camera(2.0, 32)?,
    )?;
    for y in 0..32 {
        for x in 0..32 {
            let i = y * 32 + x;
            let inside = (8..24).contains(&x) && (8..24).contains(&y);
            assert_eq!(frame.mask[i], f32::from(u8::from(inside)), "pixel {x} {y}");
            let expected = if inside { [0.5, 0.25, 1.0] } else { [0.0; 3] };
            assert!(near(frame.albedo[i], expected, 1e-6));
        }
    }
    // The light comes from the viewer: nothing is lost.
    assert!(near(frame.color[16 * 32 + 16], [0.5, 0.25, 1.0], 1e-6));
    // Half a pixel more on each side, and the fixed point may round it by 1/512 pixel.
    let frame = draw(
        square(1.0 + 1.0 / 16.0, 0.0, color([1.0; 3], 1.0)),
        &camera(2.0, 32)?,
    )?;
    assert_eq!(frame.mask.iter().sum::<f32>(), 17.0 * 17.0);
    Ok(())
}

#[test]
fn the_silhouette_of_a_sphere_has_its_area() -> Outcome {
    let size = 128;
    let frame = draw(sphere(96), &camera(3.0, size)?)?;
    // The cone that touches the sphere: its radius at depth 1 is tan(asin(1/3)).
    let radius = f64::from(size) / 2.0 / 8f64.sqrt();
    let area = std::f64::consts::PI * radius * radius;
    let found: f64 = frame.mask.iter().map(|m| f64::from(*m)).sum();
    // 96 quads on half a turn stay within (pi/192)^2/2 of the radius: 0.03 % of the area.
    assert!((found / area - 1.0).abs() < 1e-3, "{found} for {area}");
    // Smooth normals point away from the centre: here the middle of the picture, and 30 degrees off.
    let middle = (size / 2 * size + size / 2) as usize;
    assert!(near(frame.normals[middle], [0.0, 0.0, 1.0], 0.03));
    assert!((frame.depth[middle] - 2.0).abs() < 1e-3);
    for (i, normal) in frame.normals.iter().enumerate() {
        if frame.mask[i] == 1.0 {
            let [px, py] = [i as u32 % size, i as u32 / size].map(|v| v as f32 + 0.5);
            let ray = camera(3.0, size)?.ray(px, py);
            let depth = frame.depth[i] / ray.dir.dot(Vec3::NEG_Z);
            let point = ray.origin + ray.dir * depth;
            // Facets, and the mean over pixels that grow long towards the edge.
            assert!(
                near(*normal, point.normalize().into(), 0.12),
                "{normal:?} at {point}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_slanted_plane_has_its_depth_and_normal() -> Outcome {
    // The plane z = x / 2, seen from z = 4: at depth d the ray x = d u has z = 4 - d.
    let mut parts = square(1.0, 0.0, color([1.0; 3], 1.0));
    for vert in &mut parts.verts {
        vert[2] = vert[0] / 2.0;
    }
    // The other winding shows the other side, whose normal is turned to the viewer all the same.
    for faces in [[[0, 1, 2], [0, 2, 3]], [[0, 2, 1], [0, 3, 2]]] {
        parts.faces = faces.to_vec();
        let frame = draw(parts.clone(), &camera(4.0, 64)?)?;
        let (slope, normal) = (0.5, Vec3::new(-0.5, 0.0, 1.0).normalize());
        let mut seen = 0;
        for (i, mask) in frame.mask.iter().enumerate() {
            if *mask == 1.0 {
                seen += 1;
                let u = ((i % 64) as f32 + 0.5) / 32.0 - 1.0;
                let depth = 4.0 / (1.0 + u * slope);
                // Where the two faces share a pixel, each is looked at beside its middle.
                assert!((frame.depth[i] - depth).abs() < 1e-4 * depth);
                assert!(near(frame.normals[i], normal.into(), 1e-6));
            }
        }
        // A square of side 2 at depth 4 takes up about 16x16 pixels.
        assert!((200..300).contains(&seen), "{seen}");
    }
    Ok(())
}

#[test]
fn a_texture_lies_where_its_uvs_say() -> Outcome {
    let texels = [
        [255, 0, 0, 255],
        [0, 255, 0, 255],
        [0, 0, 255, 255],
        [255; 4],
    ];
    let material = Material {
        base_color: [0.5; 3],
        texture: Some(Arc::new(Rgba::new(2, 2, texels.concat())?)),
        ..Material::default()
    };
    let frame = draw(square(1.0, 0.0, material), &camera(1.0, 64)?)?;
    // The middles of the four texels, upper left first; a pixel there is a quarter texel of 32 off.
    for (x, y, expected) in [
        (16, 16, [0.5, 0.0, 0.0]),
        (48, 16, [0.0, 0.5, 0.0]),
        (16, 48, [0.0, 0.0, 0.5]),
        (48, 48, [0.5; 3]),
    ] {
        assert!(near(frame.albedo[y * 64 + x], expected, 0.02));
    }
    Ok(())
}

#[test]
fn texture_is_perspective_correct() -> Outcome {
    // A floor that runs away: v must follow the point of the plane, not the screen.
    let ramp: Vec<[u8; 4]> = (0..256).map(|i| [i as u8, 0, 0, 255]).collect();
    let mut parts = square(
        1.0,
        0.0,
        Material {
            texture: Some(Arc::new(Rgba::new(1, 256, ramp.concat())?)),
            ..Material::default()
        },
    );
    for vert in &mut parts.verts {
        *vert = [vert[0] * 4.0, -1.0, -vert[1] * 4.0];
    }
    let frame = draw(parts, &camera(6.0, 64)?)?;
    for y in 38..60 {
        let i = y * 64 + 32;
        if frame.mask[i] == 1.0 {
            // At this row the floor is at depth 1 / tan, from z = 6 - depth; v is 0 at z = -4.
            let depth = 32.0 / (y as f32 + 0.5 - 32.0);
            let v = (6.0 - depth + 4.0) / 8.0;
            let found = linear_to_srgb(frame.albedo[i][0]) * 255.0 / 256.0 + 0.5 / 256.0;
            // Rows at the far end span a tenth of the floor, and their mean is taken in linear light.
            let span = depth * depth / 32.0 / 8.0;
            assert!(
                (found - v).abs() < 0.01 + 0.3 * span,
                "row {y}: {found} for {v}"
            );
        }
    }
    Ok(())
}

#[test]
fn neighbours_leave_no_gap_and_overlap_nowhere() -> Outcome {
    // A square cut into a random fan, each triangle half transparent: a sample drawn twice would be
    // more than half covered, one in a gap less.
    let mut stream = Stream::new(1, Purpose::Test, 0);
    for _ in 0..20 {
        let mut parts = square(1.0, 0.0, color([1.0; 3], 0.5));
        let mut off = || stream.uniform() * 1.6 - 0.8;
        parts.verts.push([off(), off(), 0.0]);
        parts.uvs.push([0.0; 2]);
        parts.faces = vec![[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]];
        parts.face_materials = vec![0; 4];
        let frame = draw(parts, &camera(0.9, 48)?)?;
        assert!(
            frame.mask.iter().all(|mask| *mask == 0.5),
            "{:?}",
            frame.mask
        );
    }
    Ok(())
}

#[test]
fn what_is_nearer_hides_what_is_behind() -> Outcome {
    let red = square(0.5, 0.5, color([1.0, 0.0, 0.0], 1.0));
    let blue = square(1.0, 0.0, color([0.0, 0.0, 1.0], 1.0));
    for parts in [vec![red.clone(), blue.clone()], vec![blue, red]] {
        let frame = draw(join(parts), &camera(2.0, 32)?)?;
        assert_eq!(frame.albedo[16 * 32 + 16], [1.0, 0.0, 0.0]);
        assert_eq!(frame.albedo[9 * 32 + 9], [0.0, 0.0, 1.0]);
    }
    Ok(())
}

#[test]
fn glass_lets_through_what_is_behind_in_any_order() -> Outcome {
    let pane = |z: f32, base_color| square(1.0, z, color(base_color, 0.5));
    let near_pane = pane(0.5, [1.0, 0.0, 0.0]);
    let far_pane = pane(0.25, [0.0, 1.0, 0.0]);
    let wall = square(0.5, 0.0, color([0.0, 0.0, 1.0], 1.0));
    let behind = pane(-0.5, [1.0; 3]);
    let all = [near_pane, far_pane, wall, behind];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let parts = order.map(|i: usize| all[i].clone());
        let frame = draw(join(parts.to_vec()), &camera(2.0, 32)?)?;
        let middle = 16 * 32 + 16;
        assert_eq!(frame.mask[middle], 1.0);
        assert!(near(frame.albedo[middle], [0.5, 0.25, 0.25], 1e-6));
        // Beside the wall: three panes of 1/2, 1/4 and 1/8.
        let beside = 16 * 32 + 10;
        assert!((frame.mask[beside] - 0.875).abs() < 1e-6);
        let expected = [0.5 + 0.125, 0.25 + 0.125, 0.125].map(|c| c / 0.875);
        assert!(near(frame.albedo[beside], expected, 1e-6));
    }
    Ok(())
}

#[test]
fn what_crosses_the_camera_is_cut() -> Outcome {
    // A floor from behind the camera to far ahead fills what is below the horizon, and no more.
    let mut parts = square(1000.0, 0.0, color([1.0; 3], 1.0));
    for vert in &mut parts.verts {
        *vert = [vert[0], -1.0, -vert[1]];
    }
    let frame = draw(parts, &camera(1.0, 64)?)?;
    for (i, mask) in frame.mask.iter().enumerate() {
        // The horizon itself, 1000 units away, is a thirtieth of a pixel below the middle.
        let expected = f32::from(u8::from(i / 64 >= 32));
        assert!((mask - expected).abs() < 0.1, "row {}: {mask}", i / 64);
    }
    assert!(near(frame.normals[60 * 64 + 5], [0.0, 1.0, 0.0], 1e-6));
    Ok(())
}

#[test]
fn light_follows_the_cosine() -> Outcome {
    let mut parts = square(1.0, 0.0, color([1.0; 3], 1.0));
    let tilt = Radians::from_degrees(60.0).0;
    for vert in &mut parts.verts {
        *vert = [vert[0], vert[1] * tilt.cos(), -vert[1] * tilt.sin()];
    }
    let frame = draw(parts, &camera(3.0, 33)?)?;
    let middle = 16 * 33 + 16;
    assert!((frame.clay[middle] - (0.25 + 0.75 * 0.5)).abs() < 1e-6);
    assert!(near(frame.color[middle], [frame.clay[middle]; 3], 1e-6));
    Ok(())
}

#[test]
fn fragments_name_the_face_and_the_place_on_it() -> Outcome {
    let mesh = square(1.0, 0.5, color([1.0; 3], 1.0)).build()?;
    let camera = camera(2.5, 31)?;
    let found = fragments(&Surface::new(&mesh, Shading::Flat), &camera)?;
    for i in 0..31 * 31 {
        let [px, py] = [i % 31, i / 31].map(|v| v as f32 + 0.5);
        let ray = camera.ray(px, py);
        let depth = 2.0 / ray.dir.dot(Vec3::NEG_Z);
        let point = ray.origin + ray.dir * depth;
        let inside = point.x.abs() < 1.0 && point.y.abs() < 1.0;
        assert_eq!(found.face_id[i] != u32::MAX, inside);
        if inside {
            let corners = mesh.triangle(found.face_id[i] as usize);
            let [a, b, c] = found.bary[i];
            let expected = a * corners[0] + b * corners[1] + c * corners[2];
            assert!(point.distance(expected) < 1e-5, "{point} {expected}");
            assert!((found.depth[i] - 2.0).abs() < 1e-5);
        }
    }
    let share = found.coverage.iter().sum::<f32>() / (31.0 * 31.0);
    // The square spans 15.5 pixels of 31; its border in sixteenths.
    assert!((share - 0.25).abs() < 2e-3, "{share}");
    Ok(())
}

#[test]
fn the_number_of_threads_changes_nothing() -> Outcome {
    let mesh = join(vec![
        square(0.7, 0.9, color([0.2, 0.9, 0.4], 0.3)),
        MeshParts {
            uvs: vec![[0.0; 2]; 25 * 49],
            face_materials: vec![0; 24 * 48 * 2],
            materials: vec![color([0.9, 0.5, 0.1], 1.0)],
            ..sphere(24)
        },
    ])
    .build()?;
    let surface = Surface::new(&mesh, Shading::default());
    let camera = camera(2.0, 150)?;
    let with = |threads| -> Result<Frame, Box<dyn std::error::Error>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()?;
        Ok(pool.install(|| render(&surface, &camera, &light()))?)
    };
    assert_eq!(with(1)?, with(3)?);
    Ok(())
}

#[test]
fn absurd_numbers_are_drawn_or_refused_without_panic() -> Outcome {
    let huge = Lens::from_fov_y(Radians(1.0), [5000, 10])?;
    let camera = Camera::orbit(Radians(0.0), Radians(0.0), 3.0, huge)?;
    let surface = Surface::new(&sphere(4).build()?, Shading::Flat);
    let refused = render(&surface, &camera, &light());
    assert!(matches!(
        refused,
        Err(RasterError::Size { width: 5000, .. })
    ));
    let mut stream = Stream::new(2, Purpose::Test, 1);
    for round in 0..200 {
        let scale = 10f32.powi(round % 36 - 18);
        let mut draw_one = || (stream.uniform() - 0.5) * scale;
        let verts: Vec<[f32; 3]> = (0..9)
            .map(|_| [draw_one(), draw_one(), draw_one()])
            .collect();
        let mesh: Mesh = MeshParts {
            verts,
            faces: vec![[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 0, 0], [1, 2, 1]],
            ..MeshParts::default()
        }
        .build()?;
        let fov = Radians([1e-4, 1.0, 3.1][round as usize % 3]);
        let lens = Lens::from_fov_y(fov, [17, 23])?;
        let camera = Camera::orbit(Radians(round as f32), Radians(0.3), scale / 3.0, lens)?;
        let frame = render(&Surface::new(&mesh, Shading::default()), &camera, &light())?;
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        assert!(finite(frame.color.as_flattened()) && finite(&frame.clay));
        assert!(finite(frame.normals.as_flattened()));
    }
    Ok(())
}
