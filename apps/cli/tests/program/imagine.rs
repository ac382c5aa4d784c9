//! A picture depends on its own seed only: not on the pictures drawn with it, and not on threads.

use std::collections::HashSet;
use std::io::Read;
use std::process::{Command, Stdio};

use dreamsmith_base::{Image, ImageLimits, read_image, read_png_text};
use serde_json::Value;

use crate::lab::{Ended, Lab, Outcome};

fn pixels(lab: &Lab, name: &str) -> Outcome<Image> {
    Ok(read_image(&lab.path(name), &ImageLimits::default())?.over([0; 3]))
}

#[test]
fn a_picture_depends_on_its_seed_only() -> Outcome {
    let lab = Lab::trained()?;
    let mut distinct = HashSet::new();
    for sampler in ["dpmpp-2m", "euler-ancestral"] {
        for what in ["", "red --guidance 3", "--rng torch"] {
            let draw = format!("imagine {what} --model run/model --steps 4 --sampler {sampler}");
            for threads in [1, 2] {
                lab.succeeds(&format!(
                    "{draw} --count 8 --seed 40 -o t{threads}.png --threads {threads}"
                ))?;
            }
            for seed in 40..48 {
                let threads = 1 + seed % 2;
                lab.succeeds(&format!(
                    "{draw} --seed {seed} -o alone.png --threads {threads}"
                ))?;
                let alone = pixels(&lab, "alone.png")?;
                for together in [format!("t1-{seed}.png"), format!("t2-{seed}.png")] {
                    assert!(
                        pixels(&lab, &together)? == alone,
                        "{draw} --seed {seed}: {together}"
                    );
                }
                distinct.insert(alone.rgb().to_vec());
            }
        }
    }
    assert_eq!(
        distinct.len(),
        2 * 3 * 8,
        "each seed, sampler and condition draws its own picture"
    );
    Ok(())
}

#[test]
fn a_picture_can_be_drawn_again_from_what_it_carries() -> Outcome {
    let lab = Lab::trained()?;
    lab.succeeds(
        "imagine blue --model run/model --count 2 --seed 6 --sampler ddim:eta=0.5 -o a.png",
    )?;
    let text = read_png_text(&lab.path("a-7.png"))?;
    let (_, text) = text
        .iter()
        .find(|(key, _)| key == "dreamsmith")
        .ok_or("no provenance")?;
    let drawn: Value = serde_json::from_str(text)?;
    let key = |key: &str| match &drawn[key] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    lab.succeeds(&format!(
        "imagine {} --model {} --seed {} --sampler {} --schedule {} --steps {} --guidance {} --rng {} -o again.png",
        key("prompt"),
        key("model"),
        key("seed"),
        key("sampler"),
        key("schedule"),
        key("steps"),
        key("guidance"),
        key("rng")
    ))?;
    assert!(pixels(&lab, "again.png")? == pixels(&lab, "a-7.png")?);
    let weights = std::fs::read(lab.path("run/model/unet/diffusion_pytorch_model.safetensors"))?;
    assert_eq!(
        key("weights_blake3"),
        blake3::hash(&weights).to_hex().as_str()
    );
    Ok(())
}

#[test]
fn a_sheet_an_enlargement_and_a_start_from_a_picture() -> Outcome {
    let lab = Lab::trained()?;
    let draw = "imagine --model run/model --steps 4";
    lab.succeeds(&format!(
        "{draw} --count 5 --grid --scale 2 -o new/sheet.png"
    ))?;
    let sheet = pixels(&lab, "new/sheet.png")?;
    // Three columns and two rows of 16 pixels, with gaps of at least one.
    assert!(
        sheet.width() >= 3 * 16 + 2 && sheet.height() > 2 * 16,
        "{}",
        sheet.width()
    );
    let distance = |strength: &str| -> Outcome<u32> {
        lab.succeeds(&format!(
            "{draw} --image pictures/00.png --strength {strength} -o near.png"
        ))?;
        let (near, start) = (pixels(&lab, "near.png")?, pixels(&lab, "pictures/00.png")?);
        let pairs = near.rgb().iter().zip(start.rgb());
        Ok(pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum())
    };
    assert!(distance("0.05")? < distance("1")?);
    Ok(())
}

#[test]
fn ctrl_c_ends_it_without_a_file() -> Outcome {
    let lab = Lab::trained()?;
    let before = lab.files("")?;
    // Far more than can be drawn before the signal: it is sent as soon as the first note comes.
    let arguments = "imagine --model run/model --count 100 --steps 1000 --guidance 2";
    let mut child = lab
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut first = [0];
    child
        .stderr
        .as_mut()
        .ok_or("stderr is piped")?
        .read_exact(&mut first)?;
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()?
            .success()
    );
    let ended = Ended::from(child.wait_with_output()?);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    assert!(
        ended.err.ends_with("error: stopped; nothing was written\n"),
        "{}",
        ended.err
    );
    assert!(lab.files("")? == before);
    Ok(())
}
