//! Mesh files through the public door: what is written comes back, and nothing hostile gets in.

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dreamsmith_base::image::Rgba;
use dreamsmith_base::mesh_file::{Files, MeshFileError, MeshLimits, read_mesh_from};
use dreamsmith_base::{Material, Mesh, MeshParts, Purpose, Stream, read_mesh, write_mesh};

type Outcome = Result<(), Box<dyn Error>>;

/// Two squares with different materials, one textured, all attributes.
fn sample() -> Result<Mesh, Box<dyn Error>> {
    let texture = Rgba::new(2, 1, vec![255, 0, 0, 255, 0, 0, 255, 40])?;
    let square = |z: f32| [[0.0, 0.0, z], [1.1, 0.0, z], [1.1, 0.7, z], [0.0, 0.7, z]];
    let uvs = [[0.0, 1.0], [1.0, 1.0], [1.0, 0.123], [0.0, 0.123]];
    let parts = MeshParts {
        verts: [square(0.1), square(2.5)].concat(),
        faces: vec![[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]],
        normals: vec![[0.0, 0.0, 1.0]; 8],
        uvs: [uvs, uvs].concat(),
        colors: (0..8).map(|i| [i as f32 / 7.0, 0.5, 1.0]).collect(),
        face_materials: vec![0, 0, 1, 1],
        materials: vec![
            Material {
                name: "red".into(),
                base_color: [0.8, 0.1, 0.02],
                ..Material::default()
            },
            Material {
                name: "glass pane".into(),
                alpha: 0.25,
                texture: Some(Arc::new(texture)),
                ..Material::default()
            },
        ],
    };
    Ok(parts.build()?)
}

fn near(a: &[[f32; 3]], b: &[[f32; 3]]) -> bool {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 4e-6;
    a.len() == b.len() && a.as_flattened().iter().zip(b.as_flattened()).all(close)
}

/// Everything but names; colours pass through sRGB in f32, all else is exact.
fn assert_same(a: &Mesh, b: &Mesh) {
    assert_eq!(a.faces(), b.faces());
    assert_eq!(a.verts(), b.verts());
    assert_eq!(a.normals(), b.normals());
    assert_eq!(a.uvs(), b.uvs());
    assert!(near(a.colors(), b.colors()));
    assert_eq!(a.materials().len(), b.materials().len());
    for (a, b) in a.materials().iter().zip(b.materials()) {
        assert!(near(&[a.base_color], &[b.base_color]), "{a:?} {b:?}");
        assert_eq!((a.alpha, &a.texture), (b.alpha, &b.texture));
    }
    for face in 0..a.faces().len() {
        assert_eq!(a.material_of(face), b.material_of(face));
    }
}

#[test]
fn obj_to_glb_to_obj_keeps_everything() -> Outcome {
    let dir = tempfile::tempdir()?;
    let limits = MeshLimits::default();
    let first = sample()?;
    let mut mesh = first.clone();
    for name in ["a.obj", "b.glb", "c.obj"] {
        let path = dir.path().join(name);
        write_mesh(&path, &mesh)?;
        let read = read_mesh(&path, &limits)?;
        assert_eq!(read.warnings, Vec::<String>::new(), "{name}");
        assert_same(&first, &read.mesh);
        mesh = read.mesh;
    }
    assert!(dir.path().join("c_0.png").is_file() && dir.path().join("c.mtl").is_file());
    Ok(())
}

#[test]
fn a_texture_counts_alone_and_carries_the_colour_of_its_material() -> Outcome {
    let dir = tempfile::tempdir()?;
    let grey = Rgba::new(1, 1, vec![188, 188, 188, 255])?;
    let mut parts = sample()?.into_parts();
    parts.materials[1].texture = Some(Arc::new(grey));
    parts.materials[1].base_color = [0.5, 1.0, 0.0];
    let path = dir.path().join("a.obj");
    write_mesh(&path, &parts.build()?)?;
    // What exporters leave beside a texture changes nothing.
    let library = dir.path().join("a.mtl");
    let text = fs::read_to_string(&library)?;
    fs::write(&library, text.replace("Kd 1 1 1", "Kd 0.64 0.64 0.64"))?;
    let read = read_mesh(&path, &MeshLimits::default())?.mesh;
    let glass = &read.materials()[1];
    assert_eq!(glass.base_color, [1.0; 3]);
    let texture = glass.texture.as_ref().ok_or("no texture")?;
    // sRGB 188 is half of the light, and a quarter is 137.
    assert_eq!(texture.rgba(), [137, 188, 0, 255]);
    assert!(near(&[read.materials()[0].base_color], &[[0.8, 0.1, 0.02]]));
    Ok(())
}

#[test]
fn ply_keeps_geometry_and_rounds_colours() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("a.ply");
    let mesh = sample()?;
    write_mesh(&path, &mesh)?;
    let read = read_mesh(&path, &MeshLimits::default())?.mesh;
    assert_eq!((mesh.verts(), mesh.faces()), (read.verts(), read.faces()));
    assert_eq!(mesh.normals(), read.normals());
    for (a, b) in mesh.uvs().iter().zip(read.uvs()) {
        assert!((a[0] - b[0]).abs() < 1e-6 && (a[1] - b[1]).abs() < 1e-6);
    }
    for (a, b) in mesh.colors().iter().zip(read.colors()) {
        // Half a step of 1/255 of sRGB, where its curve is steepest (2.3 at white).
        assert!(
            a.iter()
                .zip(b)
                .all(|(a, b)| (a - b).abs() < 0.5 / 255.0 * 2.3)
        );
    }
    Ok(())
}

fn read_text(name: &str, text: &str) -> Result<Mesh, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join(name), text)?;
    Ok(read_mesh(&dir.path().join(name), &MeshLimits::default())?.mesh)
}

fn message(name: &str, text: &str) -> String {
    match read_text(name, text) {
        Ok(_) => "no error".into(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn obj_knows_its_dialects() -> Outcome {
    let square = "v 0 0 0\r\nv 1 0 0\r\nv 1 1 0 1\r\nv 0 1 0\r\nvt 0.25 0.75\r\n";
    for faces in [
        "f 1 2 3 4",
        "f -4 -3 -2 -1",
        "f 1/1 2/1 3/1 4/1",
        "f 1// 2// \\\r\n 3// 4//",
    ] {
        let mesh = read_text("a.obj", &format!("{square}{faces}\r\n"))?;
        assert_eq!(mesh.faces(), [[0, 1, 2], [0, 2, 3]], "{faces}");
    }
    let mesh = read_text("a.obj", &format!("{square}f 1/1 2/1 3/1"))?;
    assert_eq!(mesh.uvs()[0], [0.25, 0.25], "v runs downwards in a mesh");
    let mixed = format!("{square}vn 0 0 2\nf 1//1 2//1 3//1\nf 1 3 4\n");
    let mesh = read_text("a.obj", &mixed)?;
    assert_eq!(mesh.normals().len(), 6);
    assert!(mesh.normals().iter().all(|n| *n == [0.0, 0.0, 1.0]));
    Ok(())
}

#[test]
fn bad_files_are_named_with_place_and_reason() {
    let square = "v 0 0 0\nv 1 0 0\nv 1 1 0\n";
    for (name, text, words) in [
        (
            "a.obj",
            "v 0 0\n".to_string(),
            "line 1 needs three finite numbers",
        ),
        (
            "a.obj",
            "v 0 nan 0\n".into(),
            "line 1 needs three finite numbers",
        ),
        (
            "a.obj",
            format!("{square}f 1 2 9\n"),
            "face 1 names vertex 9, but there are only 3",
        ),
        (
            "a.obj",
            format!("{square}f 1 2 0\n"),
            "line 4 has a corner `0`",
        ),
        (
            "a.obj",
            format!("{square}f 1 2 -9\n"),
            "line 4 has a corner `-9`",
        ),
        ("a.obj", square.into(), "there is nothing to see"),
        ("a.obj", String::new(), "there is nothing to see"),
        (
            "a.ply",
            "ply\nformat ascii 1.0\n".into(),
            "its header has no end",
        ),
        (
            "a.ply",
            "ply\nformat ascii 1.0\nelement vertex 99999999999\nend_header\n".into(),
            "more than 8388608 vertices",
        ),
        (
            "a.ply",
            "ply\nformat ascii 1.0\nelement vertex 9\nproperty float x\nproperty float y\n\
             property float z\nend_header\n1 2 3\n"
                .into(),
            "vertex 1 of 9 is cut off",
        ),
        ("a.gltf", "{}".into(), "broken glTF"),
        (
            "a.gltf",
            "{\"asset\":{\"version\":\"1.0\"}}".into(),
            "version 1.0",
        ),
        (
            "a.gltf",
            "{\"asset\":{\"version\":\"2.0\"}}".into(),
            "nothing to see",
        ),
        ("a.glb", "glTF\x02\0\0\0".into(), "no JSON chunk"),
        ("a.stl", "solid".into(), "not a mesh that can be read"),
    ] {
        let found = message(name, &text);
        assert!(found.contains(words), "{text:?}: {found}");
    }
}

/// A zip of (name, content).
fn zip(path: &Path, files: &[(&str, &[u8])]) -> Outcome {
    let mut zip = zip::ZipWriter::new(fs::File::create(path)?);
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())?;
        zip.write_all(content)?;
    }
    zip.finish()?;
    Ok(())
}

const OBJ: &[u8] = b"mtllib M.MTL\nv 0 0 0\nv 1 0 0\nv 1 1 0\nusemtl a\nf 1 2 3\n";

#[test]
fn archives_hold_meshes_and_their_neighbours() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("a.sh3f");
    let limits = MeshLimits::default();
    let library: &[u8] = b"newmtl a\nKd 1 0 0\nmap_Kd ../../../etc/passwd\n";
    zip(
        &path,
        &[
            ("x/m.obj", OBJ),
            ("x/m.mtl", library),
            ("note.txt", b"hello"),
        ],
    )?;
    let read = read_mesh(&path, &limits)?;
    assert_eq!(read.mesh.materials()[0].base_color, [1.0, 0.0, 0.0]);
    assert_eq!(read.warnings.len(), 1, "{:?}", read.warnings);
    let inner = dir.path().join("a.sh3f!x/m.obj");
    assert_eq!(read_mesh(&inner, &limits)?.mesh, read.mesh);
    let missing = read_mesh(&dir.path().join("a.sh3f!y.obj"), &limits);
    assert!(
        matches!(missing, Err(MeshFileError::Missing { .. })),
        "{missing:?}"
    );
    zip(&path, &[("a.obj", OBJ), ("b.obj", OBJ)])?;
    let many = read_mesh(&path, &limits);
    assert!(matches!(many, Err(MeshFileError::Choice { count: 2, .. })));
    Ok(())
}

#[test]
fn bombs_do_not_go_off() -> Outcome {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("a.zip");
    zip(&path, &[("m.obj", &vec![b'\n'; 50_000_000])])?;
    assert!(fs::metadata(&path)?.len() < 100_000);
    let limits = MeshLimits {
        max_file_bytes: 1_000_000,
        ..MeshLimits::default()
    };
    let result = read_mesh(&path, &limits);
    assert!(matches!(result, Err(MeshFileError::File(_))), "{result:?}");
    let few = MeshLimits {
        max_verts: 2,
        ..MeshLimits::default()
    };
    fs::write(dir.path().join("m.obj"), OBJ)?;
    let result = read_mesh_from(&Files::folder(dir.path()), "m.obj", &few);
    assert!(
        matches!(result, Err(MeshFileError::TooMany { limit: 2, .. })),
        "{result:?}"
    );
    Ok(())
}

#[test]
fn mutated_files_are_meshes_or_errors() -> Outcome {
    let dir = tempfile::tempdir()?;
    let mesh = sample()?;
    let tight = MeshLimits {
        max_verts: 1000,
        max_faces: 1000,
        max_texture_pixels: 1 << 16,
        ..MeshLimits::default()
    };
    for (kind, name) in ["m.obj", "m.glb", "m.ply"].into_iter().enumerate() {
        let path = dir.path().join(name);
        write_mesh(&path, &mesh)?;
        let whole = fs::read(&path)?;
        let (mut read, began) = (0, Instant::now());
        for round in 0..1000 {
            let mut stream = Stream::new(kind as u64, Purpose::Test, round);
            let mut bytes = whole.clone();
            for _ in 0..1 + stream.below(4) {
                let at = stream.below(bytes.len() as u64) as usize;
                match stream.below(4) {
                    0 => bytes[at] = stream.below(256) as u8,
                    1 => bytes[at] ^= 1 << stream.below(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes[at] = b"09-/.{}[]\"\n\xff"[stream.below(12) as usize],
                }
            }
            fs::write(&path, &bytes)?;
            read += usize::from(read_mesh(&path, &tight).is_ok());
        }
        // Some survive, or the readers would refuse everything; some must not.
        assert!(read > 20 && read < 1000, "{name}: {read} of 1000 were read");
        // A tenth of this is usual, even when the machine is busy.
        assert!(began.elapsed() < Duration::from_secs(60), "{name}");
    }
    Ok(())
}
