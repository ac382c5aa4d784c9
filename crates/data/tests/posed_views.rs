//! Posed pictures in both formats, and what is said about bad ones.

use std::error::Error;
use std::fs;
use std::path::Path;

use dreamsmith_data::{PosedLimits, PosedViews, read_posed};

const POSE: &str = "[[1,0,0,0],[0,0,-1,-4],[0,1,0,0.5],[0,0,0,1]]";

fn picture(path: &Path, size: [u32; 2]) -> Result<(), Box<dyn Error>> {
    image::RgbaImage::from_pixel(size[0], size[1], image::Rgba([9, 8, 7, 200])).save(path)?;
    Ok(())
}

fn frame(name: &str, matrix: &str) -> String {
    format!("{{\"file_path\": \"{name}\", \"transform_matrix\": {matrix}}}")
}

fn blender(frames: &[String]) -> String {
    format!(
        "{{\"camera_angle_x\": 0.7, \"frames\": [{}]}}",
        frames.join(",")
    )
}

/// A folder with two pictures, 4x4 `a.png` and 6x4 `b.png`, and `text` as `file`.
fn open(file: &str, text: &str) -> Result<Result<PosedViews, String>, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    picture(&dir.path().join("a.png"), [4, 4])?;
    picture(&dir.path().join("b.png"), [6, 4])?;
    picture(&dir.path().join("dot.png"), [1, 1])?;
    fs::write(dir.path().join(file), text)?;
    Ok(read_posed(dir.path(), &PosedLimits::default()).map_err(|e| e.to_string()))
}

#[test]
fn blenders_views_are_read() -> Result<(), Box<dyn Error>> {
    let text = blender(&[frame("./a", POSE), frame("a.png", POSE)]);
    let views = open("transforms_train.json", &text)??;
    assert_eq!((views.train.len(), views.test.len()), (1, 1));
    let view = &views.train[0];
    // Blender's (0, -4, 0.5) is ours (0, 0.5, 4), and its camera looks along +y, our -z.
    assert!(view.camera.position().distance([0.0, 0.5, 4.0].into()) < 1e-6);
    assert!(view.camera.direction().distance([0.0, 0.0, -1.0].into()) < 1e-6);
    assert!((view.camera.lens().fov_x().0 - 0.7).abs() < 1e-6);
    assert_eq!(view.picture.rgba()[..4], [9, 8, 7, 200]);
    Ok(())
}

#[test]
fn nerfstudios_views_are_read_and_split() -> Result<(), Box<dyn Error>> {
    let mut frames = vec![frame("b.png", POSE); 9];
    frames[3] = format!(
        "{{\"file_path\": \"a.png\", \"transform_matrix\": {POSE}, \"w\": 4, \"h\": 4, \"fl_x\": 8}}"
    );
    let text = format!(
        "{{\"fl_x\": 5, \"fl_y\": 6, \"cx\": 2.5, \"cy\": 2, \"w\": 6, \"h\": 4, \"k1\": 0.0, \"frames\": [{}]}}",
        frames.join(",")
    );
    let views = open("transforms.json", &text)??;
    assert_eq!((views.train.len(), views.test.len()), (7, 2));
    let lens = views.train[0].camera.lens();
    assert_eq!((lens.focal(), lens.center()), ([5.0, 6.0], [2.5, 2.0]));
    assert_eq!(views.train[2].camera.lens().focal(), [8.0, 6.0]);
    let small = views.train[0].clone().at_most(3)?;
    assert_eq!(small.camera.lens().size(), [3, 2]);
    assert_eq!(small.picture.width(), 3);
    Ok(())
}

#[test]
fn a_split_may_be_empty() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    picture(&dir.path().join("a.png"), [4, 4])?;
    let some = blender(&[frame("a", POSE)]);
    fs::write(dir.path().join("transforms_train.json"), &some)?;
    fs::write(dir.path().join("transforms_val.json"), blender(&[]))?;
    fs::write(dir.path().join("transforms_test.json"), &some)?;
    let views = read_posed(dir.path(), &PosedLimits::default())?;
    assert_eq!((views.validation.len(), views.test.len()), (0, 1));
    Ok(())
}

#[test]
fn one_pixel_is_a_picture() -> Result<(), Box<dyn Error>> {
    let views = open("transforms_train.json", &blender(&[frame("dot", POSE)]))??;
    assert_eq!((views.train.len(), views.test.len()), (1, 0));
    Ok(())
}

#[test]
fn bad_input_is_named() -> Result<(), Box<dyn Error>> {
    let good = frame("a", POSE);
    let singular = "[[0,0,0,0],[0,0,-1,-4],[0,1,0,0],[0,0,0,1]]";
    let cases: [(String, &[&str]); 13] = [
        (blender(&[]), &["no views"]),
        (
            blender(&[good.clone(), frame("nowhere", POSE)]),
            &["frame 1", "file_path", "nowhere.png"],
        ),
        (
            blender(&[good.clone(), frame("a", &POSE.replace("-4", "NaN"))]),
            &["frame 1", "transform_matrix", "NaN"],
        ),
        (
            blender(&[frame("a", &POSE.replace("-4", "-Infinity"))]),
            &["frame 0", "transform_matrix"],
        ),
        (
            blender(&[frame("a", singular)]),
            &["frame 0", "transform_matrix", "rotation"],
        ),
        (
            blender(&[frame("a", "[[1,0,0,0]]")]),
            &["transform_matrix", "rows"],
        ),
        (
            blender(&[good.clone(), frame("b", POSE)]),
            &["frame 1", "6x4", "4x4"],
        ),
        (
            blender(std::slice::from_ref(&good)).replace("0.7", "4"),
            &["camera_angle_x"],
        ),
        (
            blender(std::slice::from_ref(&good)).replace("0.7", "\"wide\""),
            &["camera_angle_x", "wide"],
        ),
        (
            blender(std::slice::from_ref(&good)).replace("\"camera_angle_x\": 0.7", "\"a\": 1"),
            &["camera_angle_x", "missing"],
        ),
        (
            blender(std::slice::from_ref(&good)).replace("0.7", "0.7, \"k1\": 0.1"),
            &["k1", "undistort"],
        ),
        (
            blender(std::slice::from_ref(&good))
                .replace("camera_angle_x\": 0.7", "fl_x\": 5, \"w\": 7"),
            &["`w` is 7"],
        ),
        ("[".into(), &["transforms_train.json", "JSON"]),
    ];
    for (text, words) in cases {
        let message = open("transforms_train.json", &text)?
            .err()
            .unwrap_or_default();
        for word in words {
            assert!(message.contains(word), "{text}: {message:?} lacks {word:?}");
        }
    }
    let nothing = open("other.json", "{}")?.err().unwrap_or_default();
    assert!(nothing.contains("transforms_train.json") && nothing.contains("transforms.json"));
    Ok(())
}

#[test]
fn limits_come_before_the_pictures() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    picture(&dir.path().join("a.png"), [4, 4])?;
    let text = blender(&[frame("a", POSE), frame("a", POSE)]);
    fs::write(dir.path().join("transforms_train.json"), text)?;
    let read = |limits: PosedLimits| read_posed(dir.path(), &limits).map_err(|e| e.to_string());
    let few = PosedLimits {
        max_views: 1,
        ..PosedLimits::default()
    };
    assert!(read(few).is_err_and(|e| e.contains("2 views")));
    let small = PosedLimits {
        max_pixels: 30,
        ..PosedLimits::default()
    };
    assert!(read(small).is_err_and(|e| e.contains("4x4")));
    Ok(())
}
