//! A picture depends on its own seed only: not on the pictures drawn with it, and not on threads.

use std::collections::HashSet;
use std::io::Read;
use std::process::{Command, Stdio};

use dreamsmith_base::{Image, ImageLimits, read_image, read_png_text, write_png};
use safetensors::tensor::{Dtype, TensorView};
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

/// Everything a drawing can depend on, and the file that it ends up in.
const RECIPES: [(&str, &str); 6] = [
    (
        "red --sampler ddim:eta=0.5 --guidance 2.5 --rng torch",
        "drawn.png",
    ),
    ("--count 5 --grid --scale 3 --schedule karras", "drawn.png"),
    ("blue --count 3 --seed 7", "drawn-8.png"),
    (
        "--image pictures/00.png --strength 0.3 --precision bf16",
        "drawn.png",
    ),
    (
        "--image pictures/01.png --mask mask.png --resample 2 --count 2",
        "drawn-1.png",
    ),
    ("--init noise.safetensors --count 2 --size 8", "drawn-1.png"),
];

/// A lab with a model, a mask that keeps the left half, and two noises.
fn lab_with_files() -> Outcome<Lab> {
    let lab = Lab::trained()?;
    let pixel = |place: usize| [if place % 8 < 4 { 0 } else { 255 }; 3];
    let mask = Image::new(8, 8, (0..64).flat_map(pixel).collect())?;
    write_png(&lab.path("mask.png"), &mask, &[])?;
    let noise: Vec<u8> = (0..2 * 3 * 64)
        .flat_map(|i| ((i % 13) as f32 / 6.0 - 1.0).to_le_bytes())
        .collect();
    let noise = TensorView::new(Dtype::F32, vec![2, 3, 8, 8], &noise)?;
    lab.write(
        "noise.safetensors",
        safetensors::serialize([("noise", noise)], None)?,
    )?;
    Ok(lab)
}

#[test]
fn from_repeats_every_byte() -> Outcome {
    let lab = lab_with_files()?;
    for (arguments, name) in RECIPES {
        lab.succeeds(&format!(
            "imagine {arguments} --model run/model --steps 4 -o drawn.png"
        ))?;
        lab.succeeds(&format!("imagine --from {name} -o again.png --threads 1"))?;
        let read = |name| std::fs::read(lab.path(name));
        assert!(read(name)? == read("again.png")?, "{arguments}");
    }
    Ok(())
}

#[test]
fn from_refuses_what_has_changed() -> Outcome {
    let lab = lab_with_files()?;
    lab.succeeds("imagine --model run/model --steps 2 --image pictures/00.png -o a.png")?;
    lab.fails("imagine --from nowhere.png", 1, &["`nowhere.png`"])?;
    lab.fails(
        "imagine --from spec.toml",
        1,
        &["`spec.toml`", "not a picture"],
    )?;
    lab.fails(
        "imagine --from mask.png",
        1,
        &["`mask.png`", "how it was drawn"],
    )?;
    lab.fails("imagine --from a.png --seed 3", 2, &["--from", "--seed"])?;

    // A picture that claims what no argument may say.
    let (_, text) = read_png_text(&lab.path("a.png"))?.remove(0);
    for (old, new, words) in [
        (
            "\"count\":1,",
            "\"count\":4000000000,",
            ["its count", "4000000000"],
        ),
        ("\"scale\":1,", "\"scale\":0,", ["its scale", "1 to 64"]),
        (
            "\"steps\":2,",
            "\"stops\":2,",
            ["`b.png`", "another version"],
        ),
        ("dpmpp-2m", "magic", ["magic", "ddim"]),
    ] {
        assert!(text.contains(old), "{old} in {text}");
        let image = Image::filled(8, 8, [9; 3])?;
        let text = [("dreamsmith", text.replacen(old, new, 1))];
        write_png(&lab.path("b.png"), &image, &text)?;
        lab.fails("imagine --from b.png", 1, &words)?;
    }

    let picture = std::fs::read(lab.path("pictures/00.png"))?;
    lab.write(
        "pictures/00.png",
        std::fs::read(lab.path("pictures/01.png"))?,
    )?;
    lab.fails("imagine --from a.png", 1, &["`pictures/00.png`", "BLAKE3"])?;
    lab.write("pictures/00.png", picture)?;

    std::fs::rename(lab.path("run/model"), lab.path("moved"))?;
    lab.fails(
        "imagine --from a.png",
        1,
        &["`run/model`", "no such folder"],
    )?;
    lab.succeeds("imagine --from a.png --model moved")?;
    lab.replace("moved/dreamsmith.json", "\"scale\": 1.0", "\"scale\": 2.0")?;
    lab.fails(
        "imagine --from a.png --model moved",
        1,
        &["`moved`", "card"],
    )
}

#[test]
fn a_mask_keeps_what_is_black() -> Outcome {
    let lab = lab_with_files()?;
    let start = pixels(&lab, "pictures/02.png")?;
    for sampler in ["dpmpp-2m", "heun", "euler-ancestral", "unipc", "lcm"] {
        for resample in [1, 2] {
            lab.succeeds(&format!(
                "imagine green --model run/model --steps 4 --sampler {sampler} --image pictures/02.png \
                 --mask mask.png --resample {resample} -o masked.png"
            ))?;
            let drawn = pixels(&lab, "masked.png")?;
            let pairs = drawn
                .rgb()
                .chunks_exact(12)
                .zip(start.rgb().chunks_exact(12));
            let (kept, redrawn): (Vec<_>, Vec<_>) =
                pairs.enumerate().partition(|(i, _)| i % 2 == 0);
            assert!(kept.iter().all(|(_, (a, b))| a == b), "{sampler}");
            assert!(redrawn.iter().any(|(_, (a, b))| a != b), "{sampler}");
        }
    }
    Ok(())
}

#[test]
fn a_preview_ends_as_the_pictures() -> Outcome {
    let lab = Lab::trained()?;
    lab.succeeds(
        "imagine --model run/model --steps 4 --count 3 --scale 2 --grid -o sheet.png --preview new/preview.png",
    )?;
    assert!(pixels(&lab, "new/preview.png")? == pixels(&lab, "sheet.png")?);
    lab.fails(
        "imagine --model run/model --preview pictures",
        1,
        &["`pictures` is a folder"],
    )
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
