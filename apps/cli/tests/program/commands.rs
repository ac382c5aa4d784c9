//! Each command does what its help says, for people and for machines.

use std::fs;

use dreamsmith_base::{Image, ImageLimits, read_image, write_png};
use serde_json::Value;

use crate::lab::{Lab, Outcome};

/// The one line that `--json` prints.
fn json(lab: &Lab, arguments: &str) -> Outcome<Value> {
    let ended = lab.succeeds(&format!("{arguments} --json"))?;
    assert_eq!(ended.out.lines().count(), 1, "{arguments}: {}", ended.out);
    Ok(serde_json::from_str(&ended.out)?)
}

#[test]
fn every_command_explains_itself() -> Outcome {
    let lab = Lab::new()?;
    let help = lab.succeeds("--help")?.out;
    for command in [
        "imagine", "dream", "train", "average", "forward", "render", "data", "info", "bench",
    ] {
        assert!(help.contains(command), "{help}");
    }
    for command in [
        "imagine",
        "dream",
        "train",
        "average",
        "forward",
        "data emoji",
        "info",
        "bench",
    ] {
        let help = lab.succeeds(&format!("{command} --help"))?.out;
        let example = format!("\n  dreamsmith {command} ");
        assert!(
            help.contains("Example") && help.contains(&example),
            "{help}"
        );
        for option in ["--json", "--quiet", "--device", "--threads"] {
            assert!(help.contains(option), "{command}: {help}");
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 100),
            "{help}"
        );
    }
    let version = lab.succeeds("--version")?.out;
    assert_eq!(
        version,
        format!("dreamsmith {}\n", env!("CARGO_PKG_VERSION"))
    );
    Ok(())
}

#[test]
fn forward_writes_a_strip() -> Outcome {
    let lab = Lab::new()?;
    let ended = lab.succeeds("forward pictures/00.png --count 5 --size 64 -o new/strip.png")?;
    assert_eq!(ended.out, "wrote new/strip.png\n");
    assert_eq!(ended.err, "");
    let strip = read_image(&lab.path("new/strip.png"), &ImageLimits::default())?.over([0; 3]);
    // The pictures, and text below them.
    assert!(strip.width() > 5 * 64 && strip.height() > 64 + 3 * 10);
    let said = json(&lab, "forward pictures/00.png --count 5 --schedule cosine")?;
    assert_eq!(said["file"], "forward.png");
    let levels = said["levels"].as_array().ok_or("levels")?;
    let sigmas: Vec<f64> = levels
        .iter()
        .filter_map(|level| level["sigma"].as_f64())
        .collect();
    assert!(sigmas.len() == 5 && sigmas.is_sorted(), "{sigmas:?}");
    assert_eq!(levels[4]["timestep"], 999);
    Ok(())
}

#[test]
fn another_average_is_made_after_training() -> Outcome {
    let lab = Lab::new()?;
    lab.respec("spec.toml", "steps = 40", "steps = 20")?;
    lab.succeeds("train spec.toml -o run")?;
    // The model's own average has the width 0.1, which is also stored: it must be found again.
    for (width, same) in [("0.1", true), ("0.2", false)] {
        let said = json(
            &lab,
            &format!("average run --sigma-rel {width} -o new/{width}"),
        )?;
        assert_eq!(
            (&said["snapshots"], &said["step"]),
            (&Value::from(8), &Value::from(20))
        );
        let draw = |model: &str| -> Outcome<Vec<u8>> {
            lab.succeeds(&format!("imagine --model {model} -o {width}.png"))?;
            let picture = read_image(&lab.path(&format!("{width}.png")), &ImageLimits::default())?;
            Ok(picture.over([0; 3]).rgb().to_vec())
        };
        let (ours, other) = (draw("run/model")?, draw(&format!("new/{width}"))?);
        let worst = ours.iter().zip(&other).map(|(a, b)| a.abs_diff(*b)).max();
        // Factors of 1 and 1e-6 may move a value across the middle between two bytes.
        assert_eq!(worst <= Some(1), same, "{width}: {worst:?}");
    }
    lab.fails("average run --sigma-rel 0.1 -o run", 1, &["run", "exists"])?;
    lab.fails(
        "average run --sigma-rel 2 -o new/x",
        1,
        &["--sigma-rel", "0.28"],
    )?;
    lab.fails(
        "average pictures --sigma-rel 0.1 -o new/x",
        1,
        &["pictures", "no snapshots"],
    )?;
    Ok(())
}

#[test]
fn training_tells_what_it_did() -> Outcome {
    let lab = Lab::new()?;
    lab.respec("spec.toml", "steps = 40", "steps = 5")?;
    let said = json(&lab, "train spec.toml -o run")?;
    assert_eq!(
        (&said["step"], &said["images"]),
        (&Value::from(5), &Value::from(20))
    );
    assert_eq!(said["finished"], true);
    for name in ["loss.png", "samples/step-00000005.png"] {
        read_image(&lab.path("run").join(name), &ImageLimits::default())?;
    }
    let quiet = lab.succeeds("train spec.toml -o quiet --quiet")?;
    assert_eq!((&*quiet.out, &*quiet.err), ("", ""));
    // A finished run has nothing left to do, and says so without fuss.
    let again = json(&lab, "train --resume run")?;
    assert_eq!(
        (&again["step"], &again["finished"]),
        (&Value::from(5), &Value::from(true))
    );
    Ok(())
}

#[test]
fn printed_specs_can_be_trained_from() -> Outcome {
    let lab = Lab::new()?;
    lab.respec("spec.toml", "steps = 40", "steps = 5")?;
    let printed = lab.succeeds("train spec.toml --print-spec")?;
    assert_eq!(printed.err, "");
    lab.write("printed.toml", &printed.out)?;
    assert_eq!(
        lab.succeeds("train printed.toml --print-spec")?.out,
        printed.out
    );
    lab.succeeds("train spec.toml -o short")?;
    lab.succeeds("train printed.toml -o long")?;
    assert!(lab.files("short/checkpoint")? == lab.files("long/checkpoint")?);

    // The defaults alone train as soon as there are pictures: unlabelled ones in `pictures`.
    fs::remove_file(lab.path("pictures/metadata.jsonl"))?;
    lab.write("default.toml", lab.succeeds("train --print-spec")?.out)?;
    for (old, new) in [
        ("steps = 10000", "steps = 1"),
        ("\nbatch = 32", "\nbatch = 16"),
        ("count = 16", "count = 0"),
    ] {
        lab.replace("default.toml", old, new)?;
    }
    lab.succeeds("train default.toml -o default").map(|_| ())
}

#[test]
fn imagine_tells_what_it_wrote() -> Outcome {
    let lab = Lab::trained()?;
    let said = json(
        &lab,
        "imagine red --model run/model --count 2 --seed 5 -o out/a.png",
    )?;
    assert_eq!(
        said["files"],
        serde_json::json!(["out/a-5.png", "out/a-6.png"])
    );
    assert_eq!(said["seeds"], serde_json::json!([5, 6]));
    let quiet = lab.succeeds("imagine --model run/model --quiet")?;
    assert_eq!((&*quiet.out, &*quiet.err), ("", ""));
    assert!(lab.path("imagine.png").is_file());
    // Guidance without a prompt does nothing, and that is said.
    let said = lab.succeeds("imagine --model run/model --guidance 3")?.err;
    assert!(said.contains("--guidance"), "{said}");
    Ok(())
}

#[test]
fn info_knows_what_things_hold() -> Outcome {
    let lab = Lab::trained()?;
    lab.succeeds("imagine green --model run/model --seed 3 -o drawn.png")?;
    let model = json(&lab, "info run/model")?;
    assert_eq!(model["kind"], "model");
    assert_eq!(
        model["classes"],
        serde_json::json!(["blue", "green", "red"])
    );
    let weights = json(&lab, "info run/checkpoint/weights.safetensors")?;
    assert_eq!(weights["kind"], "weights");
    assert_eq!(weights["values"], model["parameters"]);
    assert_eq!(
        weights["shapes"]["conv_in.weight"],
        serde_json::json!([8, 3, 3, 3])
    );
    for run in ["run", "run/checkpoint"] {
        let run = json(&lab, &format!("info {run}"))?;
        assert_eq!(
            (&run["kind"], &run["step"]),
            (&Value::from("training"), &Value::from(5))
        );
    }
    let drawn = json(&lab, "info drawn.png")?;
    assert_eq!(drawn["kind"], "picture");
    assert_eq!(
        (&drawn["drawn"]["prompt"], &drawn["drawn"]["seed"]),
        (&"green".into(), &3.into())
    );
    let plain = lab.succeeds("info pictures/00.png")?.out;
    assert_eq!(plain, "kind    picture\nwidth   8\nheight  8\n");
    let told = lab.succeeds("info drawn.png")?.out;
    assert!(
        told.lines()
            .any(|line| line.trim_start().starts_with("prompt")),
        "{told}"
    );
    Ok(())
}

#[test]
fn emoji_become_captioned_pictures() -> Outcome {
    let lab = Lab::new()?;
    lab.write(
        "npm/a/package.json",
        r#"{"name": "@lobehub/fluent-emoji-3d"}"#,
    )?;
    fs::create_dir_all(lab.path("npm/a/assets"))?;
    // The format is told by the content, so PNG will do.
    let red = Image::new(8, 8, [200, 30, 30].repeat(64))?;
    for code in ["1f34e", "1f44b-1f3fb"] {
        write_png(&lab.path(&format!("npm/a/assets/{code}.webp")), &red, &[])?;
    }
    lab.write("npm/b/package.json", r#"{"name": "emojibase-data"}"#)?;
    lab.write(
        "npm/b/en/data.json",
        r#"[{"label": "red apple", "hexcode": "1F34E", "tags": ["fruit"], "group": 4}]"#,
    )?;
    lab.write(
        "npm/b/en/messages.json",
        r#"{"groups": [{"key": "food-drink", "order": 4}]}"#,
    )?;
    let said = json(&lab, "data emoji --from npm")?;
    assert_eq!(
        (&said["pictures"], &said["skin_tones"]),
        (&1.into(), &1.into())
    );
    let line: Value = serde_json::from_str(&fs::read_to_string(lab.path("emoji/metadata.jsonl"))?)?;
    assert_eq!(line["text"][3], "3D emoji of red apple, fruit");
    assert_eq!(line["label"], "food-drink");
    lab.fails("data emoji --from npm", 1, &["`emoji`"])?;

    // And they can be trained on.
    lab.respec("spec.toml", "\"pictures\"", "\"emoji\"")?;
    lab.replace("spec.toml", "steps = 40", "steps = 1")?;
    lab.replace("spec.toml", "num_class_embeds = 4", "num_class_embeds = 2")?;
    lab.succeeds("train spec.toml").map(|_| ())
}
