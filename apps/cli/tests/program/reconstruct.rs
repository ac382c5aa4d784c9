//! `dreamsmith reconstruct`: a few steps on views of a small mesh, and what it says of bad views.

use std::fs;

use dreamsmith_base::{Rgba, write_rgba_png};
use serde_json::{Value, json};

use crate::lab::{Lab, Outcome};

/// A red tetrahedron.
const SOLID: &str = "mtllib solid.mtl
v 0 1 0
v -1 -1 1
v 1 -1 1
v 0 -1 -1
usemtl red
f 1 2 3
f 1 3 4
f 1 4 2
f 2 4 3
";
const TRAIN: &str = "views/transforms_train.json";

/// With `solid.obj` and twelve views of it in `views`.
fn lab() -> Outcome<Lab> {
    let lab = Lab::new()?;
    lab.write("solid.obj", SOLID)?;
    lab.write("solid.mtl", "newmtl red\nKd 1 0 0\n")?;
    lab.succeeds("render solid.obj --views 12 --split 1,2 --size 24 -o views")?;
    Ok(lab)
}

fn transforms(lab: &Lab) -> Outcome<Value> {
    Ok(serde_json::from_slice(&fs::read(lab.path(TRAIN))?)?)
}

#[test]
fn views_become_a_field_pictures_and_a_mesh() -> Outcome {
    let lab = lab()?;
    // The rate rises for 50 steps; by step 120 there is something solid.
    let arguments = "reconstruct views --steps 120 --cells 24 --faces 300 -o run";
    let ended = lab.succeeds(&format!("{arguments} --truth solid.obj --json"))?;
    let told: Value = serde_json::from_str(&ended.out)?;
    assert_eq!(
        (&told["finished"], &told["step"]),
        (&json!(true), &json!(120))
    );
    assert_eq!(told["views"].as_array().map(Vec::len), Some(2));
    assert!(
        told["psnr"].as_f64().is_some_and(|psnr| psnr > 10.0),
        "{told}"
    );
    let mesh = &told["mesh"];
    // What was learnt in a second is no good, but not somewhere else.
    assert!(mesh["chamfer"].as_f64().is_some_and(|d| d < 0.2), "{told}");
    assert!(mesh["faces"].as_u64().is_some_and(|n| n <= 300), "{told}");
    let info: Value = serde_json::from_str(&lab.succeeds("info run/mesh.glb --json")?.out)?;
    assert_eq!(info["closed"], json!(true));
    assert!(info["signed_volume"].as_f64().is_some_and(|v| v > 0.0));
    for name in [
        "spec.toml",
        "summary.json",
        "sheet.png",
        "test/view-0001.png",
    ] {
        assert!(lab.path(&format!("run/{name}")).is_file(), "{name}");
    }

    lab.fails(arguments, 1, &["`run` holds a run already", "--resume run"])?;
    // A finished run has no steps left: only its mesh is made again.
    let again = lab.succeeds("reconstruct --resume run --cells 12 --faces 60")?;
    assert!(
        again.out.contains("was finished: 120 steps"),
        "{}",
        again.out
    );
    assert!(!again.out.contains("rays/s"), "{}", again.out);
    Ok(())
}

#[test]
fn the_precision_asked_for_is_that_of_the_spec() -> Outcome {
    let lab = Lab::new()?;
    for field in ["hash", "nerf"] {
        for precision in ["f32", "bf16"] {
            let arguments = format!("reconstruct --print-spec --field {field} --json");
            let told = lab
                .succeeds(&format!("{arguments} --precision {precision}"))?
                .out;
            let spec: Value = serde_json::from_str(&told)?;
            assert_eq!(spec["field"]["network"]["precision"], json!(precision));
        }
    }
    Ok(())
}

#[test]
fn a_field_of_thin_air_has_no_mesh() -> Outcome {
    let lab = lab()?;
    let ended = lab.succeeds("reconstruct views --steps 1 --cells 8 --level 0.9 -o run")?;
    assert!(
        ended.out.contains("no mesh: the field is nowhere solid"),
        "{}",
        ended.out
    );
    assert!(ended.out.contains("learn longer"), "{}", ended.out);
    assert!(!lab.path("run/mesh.glb").exists());
    Ok(())
}

#[test]
fn one_pixel_is_enough_to_start_from() -> Outcome {
    let lab = lab()?;
    let pixel = Rgba::new(1, 1, vec![200, 10, 10, 255])?;
    for i in 0..12 {
        write_rgba_png(&lab.path(&format!("views/train/r_{i}.png")), &pixel)?;
    }
    lab.succeeds("reconstruct views --steps 1 --cells 8 -o run")
        .map(|_| ())
}

#[test]
fn bad_views_are_named() -> Outcome {
    let lab = lab()?;
    let whole = fs::read(lab.path(TRAIN))?;
    let singular = json!([[0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 1]]);
    let changes: [(&str, Value, &[&str]); 5] = [
        (
            "/frames/3/file_path",
            json!("./train/none"),
            &["frame 3", "file_path", "none"],
        ),
        (
            "/frames/2/transform_matrix",
            singular,
            &["frame 2", "transform_matrix"],
        ),
        (
            "/frames/1/transform_matrix/0/0",
            json!(null),
            &["frame 1", "transform_matrix"],
        ),
        ("/frames", json!([]), &["no views", "`frames` is empty"]),
        ("/camera_angle_x", json!(0), &["camera_angle_x"]),
    ];
    for (place, value, words) in changes {
        let mut changed = transforms(&lab)?;
        *changed.pointer_mut(place).ok_or("no such place")? = value;
        lab.write(TRAIN, changed.to_string())?;
        let words = [&[TRAIN], words].concat();
        lab.fails("reconstruct views -o run", 1, &words)?;
        lab.write(TRAIN, &whole)?;
    }
    // As Python writes it.
    let nan = transforms(&lab)?["frames"][0]["transform_matrix"][0][0].to_string();
    lab.replace(TRAIN, &nan, "NaN")?;
    lab.fails(
        "reconstruct views -o run",
        1,
        &[TRAIN, "frame 0", "transform_matrix"],
    )?;
    lab.write(TRAIN, &whole[..whole.len() / 2])?;
    lab.fails("reconstruct views -o run", 1, &[TRAIN, "JSON"])?;
    lab.write(TRAIN, &whole)?;
    lab.write("views/train/r_5.png", "no picture")?;
    lab.fails(
        "reconstruct views -o run",
        1,
        &[TRAIN, "frame 5", "r_5.png"],
    )
}

#[test]
fn bad_arguments_are_named() -> Outcome {
    let lab = lab()?;
    lab.write("flat.obj", "v 0 0 0\n")?;
    let cases: [(&str, i32, &[&str]); 12] = [
        ("", 2, &["required"]),
        ("nowhere", 1, &["`nowhere`", "transforms_train.json"]),
        ("pictures", 1, &["`pictures`", "transforms.json"]),
        ("views --steps 0", 1, &["run.length.steps", "0"]),
        ("views --seconds nan", 1, &["run.length.seconds", "NaN"]),
        ("views --bound 0", 1, &["bound"]),
        ("views --level 1.5", 1, &["--level 1.5", "between 0 and 1"]),
        ("views --cells 0", 1, &["--cells 0", "512"]),
        ("views --faces 3", 1, &["--faces 3", "at least 4"]),
        (
            "views --truth nowhere.obj",
            1,
            &["`nowhere.obj` does not exist"],
        ),
        ("views --truth flat.obj", 1, &["flat.obj"]),
        ("--spec spec.toml", 1, &["spec.toml", "line"]),
    ];
    for (arguments, code, words) in cases {
        lab.fails(&format!("reconstruct {arguments} -o run"), code, words)?;
    }
    lab.fails("reconstruct --resume views", 1, &["views", "checkpoint"])
}
