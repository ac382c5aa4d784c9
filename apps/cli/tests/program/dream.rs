//! `dreamsmith dream`: a few steps with a tiny model that has learnt nothing, which leave the blob that a dream begins with.

use serde_json::{Value, json};

use crate::lab::{Lab, Outcome};
use crate::resume::Running;
use crate::text;

pub const SPEC: &str = r#"
prompt = "red"

[run]
length = { kind = "steps", steps = 12 }
log_every = 1
look_every = 4
checkpoint_every = 3

[prior]
model = "run/model"

[views]
count = 2

[field]
network = { grid = { levels = 4, log2_entries = 10, base_resolution = 4, finest_resolution = 16 }, density_width = 16, color_width = 16, color_from = "place", start = { kind = "blob", peak = 3.0, radius = 0.5 } }
occupancy = { resolution = 16 }
march = { diagonal_samples = 48 }
"#;

fn lab() -> Outcome<Lab> {
    let lab = text::lab()?;
    lab.write("dream.toml", SPEC)?;
    lab.succeeds("train text.toml -o run")?;
    Ok(lab)
}

const DREAM: &str = "dream --spec dream.toml --cells 24 --faces 500 --texture 64";

#[test]
fn words_become_an_object() -> Outcome {
    let lab = lab()?;
    let told = lab.succeeds(&format!("{DREAM} -o a --json"))?.out;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(
        (&told["finished"], &told["steps"]),
        (&json!(true), &json!(12))
    );
    // A blob that nothing has carved yet, with fog around it that no mesh can have.
    assert!(
        told["mask_iou"].as_f64().is_some_and(|iou| iou > 0.2),
        "{told}"
    );
    assert!(
        told["psnr"].as_f64().is_some_and(|psnr| psnr > 25.0),
        "{told}"
    );
    let info: Value = serde_json::from_str(&lab.succeeds("info a/object.glb --json")?.out)?;
    assert_eq!(info["closed"], json!(true));
    assert!(info["signed_volume"].as_f64().is_some_and(|v| v > 0.0));
    for name in [
        "spec.toml",
        "metrics.jsonl",
        "preview.png",
        "sheet.png",
        "turntable.webp",
    ] {
        assert!(lab.path(&format!("a/{name}")).is_file(), "{name}");
    }
    lab.fails(
        &format!("{DREAM} -o a"),
        1,
        &["`a` holds a dream already", "--resume a"],
    )?;
    // Each way to distil leads somewhere else.
    let kinds = [
        "vsd\", learning_rate = 1e-3",
        "ism\", steps = 1, interval = 0.01",
    ];
    for (name, kind) in ["v", "i"].into_iter().zip(kinds) {
        let distill = format!("[prior]\ndistill = {{ kind = \"{kind} }}");
        lab.write(&format!("{name}.toml"), SPEC.replace("[prior]", &distill))?;
        lab.succeeds(&format!(
            "dream --spec {name}.toml --cells 16 --texture 16 --steps 3 -o {name}"
        ))?;
    }
    // Another text and another seed are other dreams, and a dream can go on from where another ended.
    let object = |name: &str| std::fs::read(lab.path(&format!("{name}/object.glb")));
    lab.succeeds(&format!("{DREAM} -o b --seed 1"))?;
    let all = [object("a")?, object("b")?, object("v")?, object("i")?];
    let distinct: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    lab.succeeds(
        "dream two --spec dream.toml --cells 24 --faces 500 --texture 64 --start a --steps 2 -o c",
    )?;
    assert_ne!(object("a")?, object("c")?);
    Ok(())
}

#[test]
fn neither_threads_nor_a_kill_change_an_object() -> Outcome {
    let lab = lab()?;
    // With the most state there is: a beginning that was drawn, and a copy of the model that learns.
    let vsd = "[sketch]\nuntil = 0.6\nsweep = 2\nsteps = 2\n\n[prior]\ndistill = { kind = \"vsd\", learning_rate = 1e-3 }";
    lab.replace("dream.toml", "[prior]", vsd)?;
    lab.succeeds(&format!("{DREAM} -o whole --threads 1"))?;
    let mut running = Running::start(&lab, &format!("{DREAM} -o killed --threads 2"))?;
    running.wait_for_step(7)?;
    running.kill()?;
    let resumed =
        lab.succeeds("dream --resume killed --cells 24 --faces 500 --texture 64 --threads 2")?;
    assert!(
        resumed.err.contains("resuming at step 6") || resumed.err.contains("resuming at step 3")
    );
    for name in ["object.glb", "sheet.png", "turntable.webp"] {
        let read = |folder: &str| std::fs::read(lab.path(&format!("{folder}/{name}")));
        assert_eq!(read("whole")?, read("killed")?, "{name}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_dreamt_is_said() -> Outcome {
    let lab = lab()?;
    lab.fails("dream", 2, &["required arguments"])?;
    lab.fails("dream red --model none -o d", 1, &["`none` is no model"])?;
    lab.fails("dream red --model run -o d", 1, &["`run` is no model"])?;
    lab.fails(
        "dream --resume nowhere",
        1,
        &["nowhere/checkpoint", "no such folder"],
    )?;
    // Weights that grow beyond all bounds: it goes back, more slowly each time, and gives up.
    let hasty = SPEC.replace(
        "[field]",
        "[optimizer]\npeak = 1e35\nfloor = 1e35\n\n[field]",
    );
    lab.write("hasty.toml", hasty)?;
    let words = [
        "is not finite",
        "after going back 4 times",
        "optimizer.peak",
    ];
    let ended = lab.run("dream --spec hasty.toml -o hasty --quiet")?;
    ended.assert_failed("hasty", 1, &words);
    lab.replace("dream.toml", "count = 2", "count = 0")?;
    lab.fails(DREAM, 1, &["`views.count` is 0", "1 to 64"])?;
    Ok(())
}
