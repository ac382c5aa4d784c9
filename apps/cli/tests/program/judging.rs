//! The program judges a model: a tower is trained, prompts are drawn, and the figures are written.

use std::path::Path;

use dreamsmith_base::{ImageLimits, read_image};

use crate::lab::{Lab, Outcome};

const PROMPTS: &str = "objects = [\"red\"]\nothers = [\"two 1\", \"lamp\"]\n";

/// A model that reads texts, trained for a few steps, and what a tower is made from.
fn lab() -> Outcome<Lab> {
    let lab = crate::text::lab()?;
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text/bert");
    lab.write(
        "tower.toml",
        format!(
            "encoder = {encoder:?}\nsteps = 4\nbatch = 4\ndata = {{ dir = \"pictures\" }}\n\
             [model]\nsample_size = 8\nblock_out_channels = [8, 8]\nprojection_dim = 12\n"
        ),
    )?;
    lab.write(
        "compass.toml",
        format!(
            "encoder = {encoder:?}\nsteps = 4\nbatch = 4\ndata = {{ dir = \"pictures\" }}\n\
             [model]\nsample_size = 8\nblock_out_channels = [8, 8]\nsentence_dim = 12\n"
        ),
    )?;
    lab.write("prompts.toml", PROMPTS)?;
    lab.succeeds("train text.toml -o run")?;
    lab.succeeds("train-tower tower.toml -o tower")?;
    Ok(lab)
}

#[test]
fn drawings_are_judged_beside_real_pictures() -> Outcome {
    let lab = lab()?;
    let ended = lab.succeeds(
        "eval run/model --tower tower --prompts prompts.toml --real pictures --guidance 1,3 \
         --threshold static:bound=1 -o figures.json --json",
    )?;
    let value: serde_json::Value = serde_json::from_str(&ended.out)?;
    let rows = value["rows"].as_array().ok_or("no rows")?;
    let names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["pictures"].as_str())
        .collect();
    assert_eq!(names, ["real, 8x8", "guidance 1, 8x8", "guidance 3, 8x8"]);
    // Three prompts with four seeds each, of which one prompt is an object with a colour.
    assert_eq!(rows[1]["recall_at_1"]["count"], 12);
    assert_eq!(rows[1]["colour"]["count"], 4);
    assert_eq!(rows[1]["view"]["count"], 4);
    assert!(rows[1]["frechet"].as_f64().is_some_and(|fd| fd >= 0.0));
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.path("figures.json"))?)?;
    assert_eq!(written, value);
    Ok(())
}

#[test]
fn strengths_are_drawn_for_each_threshold() -> Outcome {
    let lab = lab()?;
    let ended = lab.succeeds(
        "eval run/model --tower tower --prompts prompts.toml --seeds 1 --guidance 3,1 \
         --threshold none,dynamic:percentile=0.9 --plot guidance.png --json",
    )?;
    let value: serde_json::Value = serde_json::from_str(&ended.out)?;
    let rows = value["rows"].as_array().ok_or("no rows")?;
    let names: Vec<&str> = rows.iter().filter_map(|r| r["pictures"].as_str()).collect();
    let expected = [
        "guidance 3, none, 8x8",
        "guidance 1, none, 8x8",
        "guidance 3, dynamic:percentile=0.9, 8x8",
        "guidance 1, dynamic:percentile=0.9, 8x8",
    ];
    assert_eq!(names, expected);
    let plot = read_image(&lab.path("guidance.png"), &ImageLimits::default())?;
    // Two colours of lines, one for each threshold.
    for [r, g, b] in [[30, 80, 180], [200, 80, 20]] {
        let mut pixels = plot.rgba().chunks_exact(4);
        assert!(pixels.any(|pixel| pixel == [r, g, b, 255]));
    }
    Ok(())
}

#[test]
fn each_stage_is_judged() -> Outcome {
    let lab = lab()?;
    lab.write("enlarge.toml", crate::enlarge::SPEC)?;
    lab.succeeds("train enlarge.toml -o larger")?;
    std::fs::rename(lab.path("larger/model"), lab.path("run/model/enlarge"))?;
    let ended = lab.succeeds(
        "eval run/model --tower tower --prompts prompts.toml --real pictures --seeds 1 --json",
    )?;
    let value: serde_json::Value = serde_json::from_str(&ended.out)?;
    let rows = value["rows"].as_array().ok_or("no rows")?;
    let names: Vec<&str> = rows.iter().filter_map(|r| r["pictures"].as_str()).collect();
    let expected = [
        "real, 8x8",
        "real, 16x16",
        "guidance 1, 8x8",
        "guidance 1, 16x16",
    ];
    assert_eq!(names, expected);
    // Each beside the real pictures of its own size: other pictures, another distance.
    assert_eq!(rows[3]["recall_at_1"]["count"], 3);
    assert!(rows[3]["frechet"].is_number());
    assert_ne!(rows[2]["frechet"], rows[3]["frechet"]);
    Ok(())
}

#[test]
fn dreams_are_judged_from_all_around() -> Outcome {
    let lab = lab()?;
    lab.write("dream.toml", crate::dream::SPEC)?;
    lab.succeeds("dream --spec dream.toml --steps 2 --cells 16 --faces 200 --texture 16 -o red")?;
    let judge = "eval-dream red --tower tower --encoder run/model --prompts";
    let ended = lab.succeeds(&format!("{judge} prompts.toml -o figures.json --json"))?;
    let value: serde_json::Value = serde_json::from_str(&ended.out)?;
    assert_eq!(value["objects"][0]["prompt"], "red");
    assert_eq!(value["colour"]["count"], 12);
    assert_eq!(value["geometry"]["count"], 12);
    // There was no compass.
    assert_eq!(value["single_front"]["count"], 0);
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.path("figures.json"))?)?;
    assert_eq!(written, value);
    lab.write("others.toml", "others = [\"lamp\", \"two\"]\n")?;
    lab.fails(
        &format!("{judge} others.toml"),
        1,
        &["a dream of \"red\"", "not among the prompts"],
    )?;
    lab.succeeds("train-compass compass.toml -o compass")?;
    let told = |compass: &str| format!("{judge} prompts.toml --compass {compass}");
    lab.fails(&told("tower"), 1, &["tower"])?;
    let judge = told("compass");
    let single_fronts = |arguments: &str| -> Outcome<serde_json::Value> {
        let ended = lab.succeeds(&format!("{judge} {arguments} --json"))?;
        let value: serde_json::Value = serde_json::from_str(&ended.out)?;
        Ok(value["single_front"]["count"].clone())
    };
    assert_eq!(single_fronts("")?, 1);
    lab.write("others.toml", "names = [\"lamp\"]\n")?;
    assert_eq!(single_fronts("--fronted others.toml")?, 0);
    lab.write("odd.toml", "objects = [\"lamp\"]\n")?;
    for (arguments, word) in [
        ("--fronted odd.toml", "odd.toml"),
        ("--fronted nothing.toml", "nothing.toml"),
    ] {
        lab.fails(&format!("{judge} {arguments}"), 1, &[word])?;
    }
    Ok(())
}

#[test]
fn drawings_from_all_around_show_whether_the_camera_is_heeded() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train-compass compass.toml -o compass")?;
    let judge = "eval-camera run/model --prompts prompts.toml --compass compass";
    let ended = lab.succeeds(&format!("{judge} --seeds 2 -o figures.json --json"))?;
    let value: serde_json::Value = serde_json::from_str(&ended.out)?;
    assert_eq!(value["told"]["count"], 3 * 2 * 12);
    assert_eq!(value["single_front"]["count"], 3 * 2);
    assert_eq!(value["prompts"][1]["prompt"], "two 1");
    assert_eq!(
        value["prompts"][1]["fronts"][1]["count"]
            .as_u64()
            .map(|n| n < 4),
        Some(true)
    );
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.path("figures.json"))?)?;
    assert_eq!(written, value);
    lab.write("fronted.toml", "names = [\"lamp\"]\n")?;
    let ended = lab.succeeds(&format!("{judge} --fronted fronted.toml --json"))?;
    let value: serde_json::Value = serde_json::from_str(&ended.out)?;
    assert_eq!(value["told"]["count"], 12);
    lab.write("none.toml", "names = [\"sofa\"]\n")?;
    for (arguments, word) in [
        ("--fronted none.toml", "none of the prompts"),
        ("--encoder nowhere", "nowhere"),
    ] {
        lab.fails(&format!("{judge} {arguments}"), 1, &[word])?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_judged_is_named() -> Outcome {
    let lab = lab()?;
    lab.write("one.toml", "others = [\"red\"]\n")?;
    lab.write("odd.toml", "prompts = [\"red\"]\n")?;
    for (arguments, word) in [
        ("--tower tower --prompts one.toml", "fewer than two"),
        ("--tower tower --prompts odd.toml", "odd.toml"),
        ("--tower nowhere --prompts prompts.toml", "nowhere"),
        ("--tower tower --prompts nothing.toml", "nothing.toml"),
        (
            "--tower tower --prompts prompts.toml --real nowhere",
            "nowhere",
        ),
        (
            "--tower tower --prompts prompts.toml --guidance nan",
            "guidance",
        ),
    ] {
        lab.fails(&format!("eval run/model {arguments}"), 1, &[word])?;
    }
    Ok(())
}
