//! `dreamsmith render`: pictures, turntables and posed data sets of a small mesh.

use dreamsmith_base::{Camera, ImageLimits, Lens, Radians, read_image};
use serde_json::Value;

use crate::lab::{Lab, Outcome};

/// A red square that faces +Z.
const SQUARE: &str = "mtllib square.mtl
v -1 -1 0
v 1 -1 0
v 1 1 0
v -1 1 0
usemtl red
f 1 2 3 4
";

fn lab() -> Outcome<Lab> {
    let lab = Lab::new()?;
    lab.write("square.obj", SQUARE)?;
    lab.write("square.mtl", "newmtl red\nKd 1 0 0\n")?;
    Ok(lab)
}

#[test]
fn a_picture_shows_the_mesh_in_its_colour() -> Outcome {
    let lab = lab()?;
    lab.succeeds(
        "render square.obj --azimuth 0 --elevation 0 --channel albedo --size 32 -o a.png",
    )?;
    let picture = read_image(&lab.path("a.png"), &ImageLimits::default())?;
    let pixel = |x: usize, y: usize| &picture.rgba()[(y * 32 + x) * 4..][..4];
    assert_eq!(pixel(16, 16), [255, 0, 0, 255]);
    assert_eq!(pixel(0, 0), [0; 4]);
    // From its very edge there is nothing to see.
    lab.succeeds(
        "render square.obj --azimuth 90 --elevation 0 --background #0080ff --size 8 -o b.png",
    )?;
    let picture = read_image(&lab.path("b.png"), &ImageLimits::default())?;
    assert!(
        picture
            .rgba()
            .as_chunks()
            .0
            .iter()
            .all(|p| *p == [0, 128, 255, 255])
    );
    Ok(())
}

#[test]
fn a_turntable_has_all_its_frames() -> Outcome {
    let lab = lab()?;
    lab.succeeds("render square.obj --turntable 5 --size 16 -o turn.gif")?;
    assert!(lab.path("turn.gif").is_file() && lab.path("turn/frame_004.png").is_file());
    assert!(!lab.path("turn/frame_005.png").exists());
    Ok(())
}

#[test]
fn posed_views_carry_cameras_that_look_at_the_middle() -> Outcome {
    let lab = lab()?;
    lab.succeeds("render square.obj --views 3 --split 1,2 --size 16 -o views")?;
    for (name, n) in [("train", 3), ("val", 1), ("test", 2)] {
        let text = std::fs::read(lab.path(&format!("views/transforms_{name}.json")))?;
        let transforms: Value = serde_json::from_slice(&text)?;
        let frames = transforms["frames"].as_array().ok_or("no frames")?;
        assert_eq!(frames.len(), n);
        let fov_x = transforms["camera_angle_x"].as_f64().ok_or("no angle")?;
        for frame in frames {
            let file = frame["file_path"].as_str().ok_or("no path")?;
            assert!(lab.path(&format!("views/{file}.png")).is_file());
            let rows = serde_json::from_value(frame["transform_matrix"].clone())?;
            let lens = Lens::from_fov_x(Radians(fov_x as f32), [16; 2])?;
            let camera = Camera::from_blender(rows, lens)?;
            let to_middle = -camera.position().normalize();
            // Five digits of f32 survive the text.
            assert!(camera.direction().distance(to_middle) < 1e-5);
        }
    }
    lab.fails("render square.obj --views 1 -o views", 1, &["not empty"])?;
    Ok(())
}

#[test]
fn bad_meshes_and_numbers_are_named() -> Outcome {
    let lab = lab()?;
    lab.write("broken.obj", "v 0 0 0\nf 1 2 9\n")?;
    lab.write("empty.obj", "v 0 0 0\n")?;
    lab.write("nan.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")?;
    lab.write("text.glb", "no mesh")?;
    lab.write("text.zip", "no archive")?;
    lab.write("square.xyz", SQUARE)?;
    let cases: [(&str, &[&str]); 14] = [
        ("nothing.obj", &["`nothing.obj` does not exist"]),
        ("pictures", &["pictures"]),
        ("broken.obj", &["broken.obj", "face 1", "only 1"]),
        ("empty.obj", &["empty.obj", "0 faces"]),
        ("nan.obj", &["nan.obj"]),
        ("text.glb", &["text.glb"]),
        ("text.zip!a.obj", &["text.zip"]),
        ("square.xyz", &["square.xyz"]),
        ("square.obj --fov 180", &["--fov 180"]),
        ("square.obj --distance 0", &["--distance 0"]),
        ("square.obj --azimuth nan", &["--azimuth NaN"]),
        ("square.obj -o pictures", &["`pictures` is a folder"]),
        (
            "square.obj --turntable 2 -o turn",
            &["`turn` has no ending"],
        ),
        (
            "square.obj --views 2 -o pictures",
            &["`pictures`", "not empty"],
        ),
    ];
    for (arguments, words) in cases {
        lab.fails(&format!("render {arguments}"), 1, words)?;
    }
    for (arguments, word) in [
        ("--size 0", "0"),
        ("--size 5000", "4096"),
        ("--views 0", "0"),
        ("--light up", "45,60"),
        ("--background pink", "#ff8000"),
        ("--views 1 --split 1", "10,20"),
    ] {
        lab.fails(&format!("render square.obj {arguments}"), 2, &[word])?;
    }
    Ok(())
}
