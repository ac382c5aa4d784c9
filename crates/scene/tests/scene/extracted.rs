//! The mesh of fields whose surface is known.

use std::error::Error;
use std::f64::consts::PI;

use dreamsmith_base::color::linear_to_srgb;
use dreamsmith_base::{Camera, Lens, Mesh, Radians};
use dreamsmith_scene::extract::{ExtractError, ExtractSpec, Level, Paint, extract};
use dreamsmith_scene::model::Model;
use dreamsmith_scene::raster::{self, Light, Shading, Surface};
use dreamsmith_scene::render::{Extent, render};
use dreamsmith_scene::surface::Topology;
use glam::{Vec2, Vec3};

use crate::known_field::{COLOR, Known, everywhere, plain};

const CELLS: ExtractSpec = ExtractSpec {
    cells: 64,
    level: Level::Agreeing,
    least_part: 1e-3,
    joined: false,
    fairing: 0,
    faces: 4000,
    paint: Paint::Vertices,
};

fn cameras() -> Result<Vec<Camera>, Box<dyn Error>> {
    let lens = Lens::from_fov_x(Radians(0.7), [64, 64])?;
    let sides = [(0.0, 0.3), (1.6, -0.5), (3.1, 0.8), (4.7, 0.0)];
    let camera =
        |(azimuth, elevation)| Camera::orbit(Radians(azimuth), Radians(elevation), 7.0, lens);
    Ok(sides.into_iter().map(camera).collect::<Result<_, _>>()?)
}

/// A shell between the radii 0.4 and 0.6 of the box, something in it that nobody sees, and a speck of dust.
fn shell() -> Known {
    Known {
        density: |p| {
            let r = p.length();
            let is_dust = p.distance(Vec3::splat(0.8)) < 0.05;
            if (0.4..0.6).contains(&r) || r < 0.2 || is_dust {
                300.0
            } else {
                0.0
            }
        },
        slope: |_| Vec3::ZERO,
        color: plain,
    }
}

#[test]
fn a_shell_becomes_a_solid_ball_without_dust() -> Result<(), Box<dyn Error>> {
    let found = extract(&shell().model(everywhere(256))?, &cameras()?, &CELLS)?;
    let mesh = &found.mesh;
    let topology = Topology::of(mesh);
    assert_eq!((topology.open_edges, topology.components), (0, 1));
    assert!(mesh.faces().len() <= CELLS.faces);
    // In the world the radius is 1.2; the surface is within a third of a cell of 1/16, which is 2 % of it.
    let volume = mesh.signed_volume() / (4.0 / 3.0 * PI * 1.2f64.powi(3));
    assert!((volume - 1.0).abs() < 0.06, "{volume}");
    assert!(found.agreement.mask_iou > 0.97, "{:?}", found.agreement);
    for (vert, normal) in mesh.verts().iter().zip(mesh.normals()) {
        let outward = Vec3::from(*vert).normalize().dot(Vec3::from(*normal));
        assert!(outward > 0.9, "{outward}");
    }
    Ok(())
}

#[test]
fn a_rod_between_the_points_of_the_lattice_is_there_as_it_is_seen() -> Result<(), Box<dyn Error>> {
    let rod = Known {
        density: |p| {
            let from_axis = p.truncate().distance(Vec2::splat(0.5 / 32.0));
            let is_rod = from_axis < 0.02 && (0.0..0.7).contains(&p.z);
            if p.length() < 0.3 || is_rod {
                300.0
            } else {
                0.0
            }
        },
        slope: |_| Vec3::ZERO,
        color: plain,
    };
    let found = extract(&rod.model(everywhere(256))?, &around(0.0, 45)?, &CELLS)?;
    let along = found.mesh.verts().iter().map(|vert| vert[2]);
    // In the world it ends at 1.4, where a cell is 1/16; the ball ends at 0.6.
    let (bottom, top) = along.fold((0.0f32, 0.0f32), |(low, high), z| (low.min(z), high.max(z)));
    assert!((1.25..1.5).contains(&top), "{top}");
    assert!((-0.65..-0.55).contains(&bottom), "{bottom}");
    let topology = Topology::of(&found.mesh);
    assert_eq!((topology.open_edges, topology.components), (0, 1));
    Ok(())
}

#[test]
fn a_texture_has_the_colour_of_the_field() -> Result<(), Box<dyn Error>> {
    let spec = ExtractSpec {
        paint: Paint::Texture(128),
        ..CELLS
    };
    let model = shell().model(everywhere(256))?;
    let [plain, baked] = [CELLS, spec].map(|spec| extract(&model, &cameras().ok()?, &spec).ok());
    let (plain, baked) = plain.zip(baked).ok_or("a ball has a mesh")?;
    assert_eq!(plain.mesh.faces().len(), baked.mesh.faces().len());
    assert_eq!(plain.agreement, baked.agreement);
    let texture = baked.mesh.materials()[0].texture.as_ref();
    // Charts, what lies between them, and what no camera has seen: all of one colour.
    let color = COLOR.map(|x| (255.0 * x).round() as u8);
    for texel in texture.ok_or("there is a texture")?.rgba().chunks(4) {
        let off = (0..3).map(|c| texel[c].abs_diff(color[c])).max();
        assert!(off <= Some(1), "{texel:?}");
    }
    Ok(())
}

/// A ball with a wavy pattern, in a haze of another colour that reaches farther than what is asked for the colour of a
/// point of the surface.
fn ball_in_haze() -> Known {
    Known {
        density: |p| match p.length() {
            r if r < 0.5 => 300.0,
            r if r < 0.9 => 1.0,
            _ => 0.0,
        },
        slope: |_| Vec3::ZERO,
        color: |p| match p.length() < 0.5 {
            true => [
                0.5 + 0.3 * (9.0 * p.x).sin(),
                0.5,
                0.5 + 0.3 * (9.0 * p.y).cos(),
            ],
            false => [0.9, 0.1, 0.1],
        },
    }
}

/// The mean square of how far colours of `mesh` are from those of `model`, to cameras that did not help to make it.
fn fault(model: &Model, mesh: &Mesh) -> Result<f32, Box<dyn Error>> {
    let surface = Surface::new(mesh, Shading::default());
    let (mut sum, mut n) = (0.0, 0.0);
    for camera in around(0.5, 9)? {
        let field = render(model, &camera, Extent::Color);
        let drawn = raster::render(&surface, &camera, &Light::at(camera.position()))?;
        for (i, color) in field.color.iter().enumerate() {
            if field.opacity[i] > 0.99 && drawn.mask[i] == 1.0 {
                let own = Vec3::from_array(drawn.albedo[i].map(linear_to_srgb));
                sum += own.distance_squared(Vec3::from(*color)) / 3.0;
                n += 1.0;
            }
        }
    }
    assert!(n > 2000.0, "{n}");
    Ok(sum / n)
}

/// Cameras around the middle, the first of them so many steps away from the front.
fn around(first: f32, n: usize) -> Result<Vec<Camera>, Box<dyn Error>> {
    let lens = Lens::from_fov_x(Radians(0.7), [64, 64])?;
    let camera = |i: usize| {
        let elevation = [0.0, 0.6, -0.6, 1.2, -1.2][i % 5];
        Camera::orbit(
            Radians(0.7 * (first + i as f32)),
            Radians(elevation),
            7.0,
            lens,
        )
    };
    Ok((0..n).map(camera).collect::<Result<_, _>>()?)
}

/// The faults of a mesh with point colours and of one with a texture.
fn faults(field: Known) -> Result<[f32; 2], Box<dyn Error>> {
    let model = field.model(everywhere(256))?;
    let spec = ExtractSpec {
        level: Level::Opacity(0.5),
        faces: 20_000,
        ..CELLS
    };
    let mut faults = [0.0; 2];
    for (fault_of, paint) in faults
        .iter_mut()
        .zip([Paint::Vertices, Paint::Texture(512)])
    {
        let found = extract(&model, &around(0.0, 45)?, &ExtractSpec { paint, ..spec })?;
        *fault_of = fault(&model, &found.mesh)?;
    }
    Ok(faults)
}

#[test]
fn a_texture_looks_like_the_field_through_its_haze() -> Result<(), Box<dyn Error>> {
    let [points, pictures] = faults(ball_in_haze())?;
    // The haze takes a third of the light, more at the rim: only that part of its colour is not that of a texture.
    assert!(pictures < 0.2 * points, "{points} {pictures}");
    Ok(())
}

#[test]
fn a_texture_that_is_right_stays_so() -> Result<(), Box<dyn Error>> {
    let clear = Known {
        density: |p| if p.length() < 0.5 { 300.0 } else { 0.0 },
        ..ball_in_haze()
    };
    let [points, pictures] = faults(clear)?;
    assert!(pictures <= points, "{points} {pictures}");
    // 33 dB: the pattern lies a little off where a cell of the mesh does.
    assert!(pictures < 5e-4, "{pictures}");
    Ok(())
}

#[test]
fn what_no_camera_sees_is_solid() -> Result<(), Box<dyn Error>> {
    // A bowl upside down, into which no camera looks from above.
    let bowl = Known {
        density: |p| match (0.4..0.6).contains(&p.length()) && p.y > -0.2 {
            true => 300.0,
            false => 0.0,
        },
        slope: |_| Vec3::ZERO,
        color: plain,
    };
    let lens = Lens::from_fov_x(Radians(0.7), [64, 64])?;
    let above = |i| Camera::orbit(Radians(0.8 * i as f32), Radians(0.3), 7.0, lens);
    let cameras = (0..8).map(above).collect::<Result<Vec<_>, _>>()?;
    let mesh = extract(&bowl.model(everywhere(256))?, &cameras, &CELLS)?.mesh;
    // In the world: the cap of the ball of radius 1.2 above -0.4, and some of the shade under it.
    let (r, h) = (1.2f64, 1.6);
    let cap = PI * h * h * (r - h / 3.0);
    let share = mesh.signed_volume() / cap;
    assert!((0.9..1.15).contains(&share), "{share}");
    Ok(())
}

#[test]
fn haze_has_its_surface_where_it_was_asked_for() -> Result<(), Box<dyn Error>> {
    let haze = |level| {
        let field = Known {
            density: |p| 20.0 * (1.0 - p.length()).max(0.0),
            slope: |_| Vec3::ZERO,
            color: plain,
        };
        let spec = ExtractSpec {
            level: Level::Opacity(level),
            ..CELLS
        };
        // From all sides: what none sees counts as solid.
        let cameras = around(0.0, 45)?;
        extract(&field.model(everywhere(64))?, &cameras, &spec).map_err(Box::<dyn Error>::from)
    };
    // 1 - exp(-density / 32) is 0.2 at the density 7.14: at the radius 0.643 of the box.
    let mesh = haze(0.2)?.mesh;
    for vert in mesh.verts() {
        let radius = Vec3::from(*vert).length() / 2.0;
        assert!((radius - 0.643).abs() < 0.01, "{radius}");
    }
    let error = haze(0.9).err().ok_or("there is no such surface")?;
    let thin = error.downcast_ref::<ExtractError>();
    assert!(
        matches!(thin, Some(ExtractError::Thin { most, .. }) if *most < 0.47),
        "{error}"
    );
    Ok(())
}
