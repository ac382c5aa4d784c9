//! The program with a network that reads text: from a spec to a run, a model, and pictures.

use std::path::Path;

use crate::lab::{Lab, Outcome};

const MODEL: &str = r#"
[data]
dir = "pictures"

[train]
steps = 12
batch = 4
micro_batch = 2
log_every = 1
checkpoint_every = 4

[sample]
count = 2
steps = 3

[model]
_class_name = "UNet2DConditionModel"
sample_size = 8
block_out_channels = [8, 8]
layers_per_block = 1
down_block_types = ["DownBlock2D", "CrossAttnDownBlock2D"]
up_block_types = ["CrossAttnUpBlock2D", "UpBlock2D"]
norm_num_groups = 4
attention_head_dim = 2
# The tiny encoder's 12 features, and 7 of the camera.
cross_attention_dim = 12
class_embed_type = "projection"
projection_class_embeddings_input_dim = 19

[condition]
kind = "text"
tokens = 10
text_dropout = 0.2
camera_dropout = 0.2
"#;

/// Pictures with several captions and a camera, and the spec `text.toml`.
pub fn lab() -> Outcome<Lab> {
    let lab = Lab::new()?;
    let encoder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/text/bert");
    let spec = format!("{MODEL}reader = {{ kind = \"frozen\", dir = {encoder:?} }}\n");
    lab.write("text.toml", spec)?;
    let line = |i: usize| {
        format!(
            "{{\"file_name\": \"{i:02}.png\", \"text\": [\"red\", \"two {i}\"], \"label\": \"any\", \
             \"camera\": {{\"azimuth\": {i}, \"elevation\": 1, \"distance\": 3, \"fov\": 40}}}}\n"
        )
    };
    lab.write(
        "pictures/metadata.jsonl",
        (0..16).map(line).collect::<String>(),
    )?;
    Ok(lab)
}

#[test]
fn the_model_folder_holds_its_encoder() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train text.toml -o run")?;
    let files = lab.files("run/model")?;
    for name in [
        "unet/config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "dreamsmith.json",
    ] {
        assert!(files.contains_key(Path::new(name)), "{name}");
    }
    // What diffusers' `from_pretrained` goes by.
    let index = std::fs::read(lab.path("run/model/model_index.json"))?;
    let index: serde_json::Value = serde_json::from_slice(&index)?;
    let parts = [
        ("unet", "UNet2DConditionModel"),
        ("text_encoder", "BertModel"),
        ("tokenizer", "PreTrainedTokenizerFast"),
    ];
    for (part, class) in parts {
        assert_eq!(index[part][1], class, "{part}");
    }
    assert_eq!(index["text_tokens"], 10);
    Ok(())
}

#[test]
fn prompts_views_and_negatives_are_drawn() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train text.toml -o run")?;
    let draw = |options: &str| -> Outcome<Vec<u8>> {
        lab.succeeds(&format!(
            "imagine --model run/model --guidance 3 -o a.png {options}"
        ))?;
        let picture = dreamsmith_base::read_image(&lab.path("a.png"), &Default::default())?;
        Ok(picture.over([255; 3]).rgb().to_vec())
    };
    let red = draw("red")?;
    assert_eq!(red, draw("red")?);
    let others = [
        "two",
        "red --view back",
        "red --azimuth -30 --elevation 10",
        "red --negative two",
    ];
    for options in others {
        assert_ne!(red, draw(options)?, "{options}");
    }
    // Nothing asked for is the same as an empty prompt.
    let anything = draw("")?;
    let mut empty = lab.command("imagine --model run/model --guidance 3 -o a.png");
    assert!(empty.arg("").status()?.success());
    let picture = dreamsmith_base::read_image(&lab.path("a.png"), &Default::default())?;
    assert_eq!(anything, picture.over([255; 3]).rgb());
    let said = lab.succeeds("info run/model")?;
    assert!(said.out.contains("UNet2DConditionModel"), "{}", said.out);
    // What is too long is told.
    let long = "red ".repeat(50);
    let ended = lab.succeeds(&format!(
        "imagine --model run/model --count 2 --grid -o b.png {}",
        long.trim().replace(' ', ",")
    ))?;
    assert!(ended.err.contains("too long"), "{}", ended.err);
    Ok(())
}

#[test]
fn what_cannot_be_is_told() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train text.toml -o run")?;
    let usage = ["--elevation 100", "--azimuth much", "--view below"];
    for options in usage {
        lab.fails(&format!("imagine red --model run/model {options}"), 2, &[])?;
    }
    lab.replace("text.toml", "kind = \"text\"", "kind = \"txt\"")?;
    lab.fails(
        "train text.toml -o other",
        1,
        &["text.toml", "txt", "expected"],
    )?;
    lab.replace("text.toml", "kind = \"txt\"", "kind = \"classes\"")?;
    lab.fails(
        "train text.toml -o other",
        1,
        &["text.toml", "unknown field"],
    )
}

#[test]
fn odd_prompts_are_drawn_and_what_is_not_understood_is_told() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train text.toml -o run")?;
    let draw = |prompt: &str, options: &str| -> Outcome<(Vec<u8>, String)> {
        let mut command = lab.command(&format!("imagine --model run/model -o a.png {options}"));
        let output = command.arg("--").arg(prompt).output()?;
        let said = String::from_utf8(output.stderr)?;
        assert!(output.status.success(), "{options}: {said}");
        let picture = dreamsmith_base::read_image(&lab.path("a.png"), &Default::default())?;
        Ok((picture.over([255; 3]).rgb().to_vec(), said))
    };
    let guided = "--guidance 3";
    let (anything, _) = draw("", guided)?;
    assert_eq!(draw("  \t ", guided)?.0, anything);
    // Each is a word that the encoder cannot tell from other such words.
    for word in ["🪑", "龘", "Ѯ"] {
        let (picture, said) = draw(&format!("red {word}"), "")?;
        let what = format!("does not know: `{word}`");
        assert!(said.contains(&what), "{said}");
        assert!(picture != draw("red", "")?.0);
    }
    let (_, said) = draw(&"red chair ".repeat(5000), "")?;
    assert!(said.contains("8 of its 10000 tokens were read"), "{said}");
    assert!(said.len() < 1000, "{said}");
    assert!(draw("", &format!("{guided} --negative red"))?.0 != anything);
    let vast = "x".repeat(100_000);
    assert!(draw(&vast, "")?.1.contains("does not know"));
    Ok(())
}

#[test]
fn guidance_that_does_nothing_is_told() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train text.toml -o run")?;
    let note = "--guidance does nothing";
    let said = |options: &str| -> Outcome<String> {
        Ok(lab
            .succeeds(&format!("imagine --model run/model --guidance 3 {options}"))?
            .err)
    };
    assert!(said("")?.contains(note));
    for options in ["red", "--view back", "--negative red"] {
        assert!(!said(options)?.contains(note), "{options}");
    }
    Ok(())
}

#[test]
fn broken_models_of_words_are_named() -> Outcome {
    let lab = lab()?;
    lab.succeeds("train text.toml -o run")?;
    lab.succeeds("imagine red --model run/model -o a.png")?;
    let draw = "imagine red --model run/model";
    lab.fails(
        "imagine red --model nowhere",
        1,
        &["`nowhere`", "no such folder"],
    )?;
    lab.fails(
        &format!("{draw} --size 7"),
        1,
        &["size is 7", "multiple of 2"],
    )?;
    for name in [
        "text_encoder/model.safetensors",
        "text_encoder/config.json",
        "tokenizer/tokenizer.json",
        "unet/diffusion_pytorch_model.safetensors",
        "dreamsmith.json",
    ] {
        let path = lab.path(&format!("run/model/{name}"));
        let whole = std::fs::read(&path)?;
        std::fs::write(&path, &whole[..whole.len() / 2])?;
        lab.fails(draw, 1, &[name])?;
        if name != "dreamsmith.json" {
            std::fs::remove_file(&path)?;
            let folder = name.split_once('/').map_or(name, |(folder, _)| folder);
            lab.fails(draw, 1, &[folder])?;
        }
        std::fs::write(&path, &whole)?;
    }
    // Another encoder is another model.
    lab.replace("run/model/tokenizer/tokenizer.json", "\n", "\n ")?;
    lab.fails("imagine --from a.png", 1, &["text encoder", "BLAKE3"])
}

#[test]
fn a_model_without_cameras_takes_no_view() -> Outcome {
    let lab = Lab::trained()?;
    lab.fails(
        "imagine red --model run/model --view back",
        1,
        &["without cameras", "--view"],
    )
}

#[test]
fn the_specs_that_come_along_can_be_read() -> Outcome {
    let lab = Lab::new()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs");
    let mut n_specs = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            continue;
        }
        let ended = lab.succeeds(&format!("train --print-spec {}", path.display()))?;
        assert!(ended.out.contains("[model]"), "{}", ended.out);
        n_specs += 1;
    }
    assert!(n_specs > 0);
    Ok(())
}
