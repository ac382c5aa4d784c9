//! Super-resolution: trained, drawn from alone, and behind a base model as a cascade.

use dreamsmith_base::{Image, ImageLimits, read_image, write_png};

use crate::lab::{Lab, Outcome};
use crate::text;

/// Twice the size, on crops of 4 pixels of the 8x8 pictures.
pub const SPEC: &str = r#"
[task]
kind = "enlarge"
factor = 2
size = 8
noise = 0.3
noise_on_drawn = 0.1

[data]
dir = "pictures"

[train]
steps = 5
batch = 4
micro_batch = 2
checkpoint_every = 5

[diffusion]
kind = "edm"
sigma_data = 0.2
sigma_min = 0.01
sigma_max = 2.0

[loss.weight]
kind = "simple"

[loss.levels]
kind = "log-normal"
mean = -2.0

[sample]
count = 2
steps = 2
spacing = { kind = "karras" }

[model]
sample_size = 4
in_channels = 6
out_channels = 3
block_out_channels = [8, 8]
layers_per_block = 1
down_block_types = ["DownBlock2D", "DownBlock2D"]
up_block_types = ["UpBlock2D", "UpBlock2D"]
norm_num_groups = 4
add_attention = false
class_embed_type = "timestep"
"#;

/// With a small picture, a base model in `base` and an enlarging one in `run/model`.
fn lab() -> Outcome<Lab> {
    let lab = Lab::trained()?;
    std::fs::rename(lab.path("run/model"), lab.path("base"))?;
    std::fs::remove_dir_all(lab.path("run"))?;
    lab.write("enlarge.toml", SPEC)?;
    lab.succeeds("train enlarge.toml -o run")?;
    write_png(
        &lab.path("small.png"),
        &Image::filled(7, 5, [200, 40, 90])?,
        &[],
    )?;
    Ok(lab)
}

fn sides(lab: &Lab, name: &str) -> Outcome<(u32, u32)> {
    let image = read_image(&lab.path(name), &ImageLimits::default())?;
    Ok((image.width(), image.height()))
}

fn pixels(lab: &Lab, name: &str) -> Outcome<Vec<u8>> {
    let image = read_image(&lab.path(name), &ImageLimits::default())?;
    Ok(image.over([255; 3]).rgb().to_vec())
}

#[test]
fn alone_and_behind_a_base_model() -> Outcome {
    let lab = lab()?;
    // The middle square of 5x5, twice as large.
    let alone = "imagine --model run/model --image small.png --noise 0.1";
    lab.succeeds(&format!("{alone} --count 2 -o large.png"))?;
    assert_eq!(sides(&lab, "large-1.png")?, (10, 10));
    lab.succeeds(&format!("{alone} --seed 1 -o one.png --threads 1"))?;
    lab.succeeds("imagine --from one.png -o again.png")?;
    let read = |name| std::fs::read(lab.path(name));
    let pixels = |name| pixels(&lab, name);
    assert!(read("one.png")? == read("large-1.png")? && read("one.png")? == read("again.png")?);

    // Noise of PyTorch is other noise, on the small picture too, and repeats.
    let alone = "imagine --model run/model --image small.png --seed 1 --rng torch";
    lab.succeeds(&format!("{alone} --noise 0.1 -o torch.png"))?;
    lab.succeeds("imagine --from torch.png -o again.png")?;
    assert!(read("torch.png")? == read("again.png")? && pixels("torch.png")? != pixels("one.png")?);
    lab.succeeds(&format!("{alone} -o again.png"))?;
    assert!(pixels("torch.png")? != pixels("again.png")?);

    lab.succeeds("imagine red --model base --seed 3 -o base.png")?;
    std::fs::rename(lab.path("run/model"), lab.path("base/enlarge"))?;
    lab.succeeds("imagine red --model base --seed 3 -o both.png --preview preview.png")?;
    assert_eq!(sides(&lab, "base.png")?, (8, 8));
    assert_eq!(sides(&lab, "both.png")?, (16, 16));
    assert_eq!(sides(&lab, "preview.png")?, (16, 16));
    lab.succeeds("imagine --from both.png -o again.png")?;
    assert!(read("both.png")? == read("again.png")?);
    lab.fails(
        "imagine red --model base --size 520",
        1,
        &["the size is 520", "up to 512", "2 times"],
    )?;
    // Drawn without the second stage, the model has changed.
    lab.fails("imagine --from base.png", 1, &["`base`", "later stages"])
}

#[test]
fn a_prompt_with_a_camera_is_drawn_and_enlarged() -> Outcome {
    let lab = text::lab()?;
    lab.write("enlarge.toml", SPEC)?;
    lab.succeeds("train text.toml -o run")?;
    lab.succeeds("train enlarge.toml -o larger")?;
    let draw = |options: &str| -> Outcome<Image> {
        let asked = "imagine --model run/model --guidance 3 -o drawn.png";
        lab.succeeds(&format!("{asked} {options}"))?;
        Ok(read_image(&lab.path("drawn.png"), &ImageLimits::default())?.over([255; 3]))
    };
    let (asked, other_seed) = (
        "red --view back --negative two --seed 3",
        "red --view back --negative two --seed 4",
    );
    let (base, other) = (draw(asked)?, draw(other_seed)?);
    std::fs::rename(lab.path("larger/model"), lab.path("run/model/enlarge"))?;
    let both = draw(asked)?;
    assert_eq!((both.width(), both.height()), (16, 16));
    lab.succeeds("imagine --from drawn.png -o again.png")?;
    let read = |name| std::fs::read(lab.path(name));
    assert!(read("drawn.png")? == read("again.png")?);
    // What was enlarged is what the base drew: the stage has learned next to nothing, yet an unrelated picture is
    // 2.7 times as far away as that of the base.
    let small = both.resize(8, 8)?;
    let off = |from: &Image| -> u32 {
        let pairs = from.rgb().iter().zip(small.rgb());
        pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
    };
    assert!(
        2 * off(&base) < off(&other),
        "{} {}",
        off(&base),
        off(&other)
    );
    for options in [
        "two --view back --negative two --seed 3",
        "red --view front --negative two --seed 3",
        "red --view back --seed 3",
    ] {
        assert!(both.rgb() != draw(options)?.rgb(), "{options}");
    }
    lab.fails(
        "imagine --model run/model/enlarge --image drawn.png --view back",
        1,
        &["without cameras", "--view"],
    )
}

#[test]
fn a_model_is_handed_on_with_its_stages_in_few_bits() -> Outcome {
    let lab = text::lab()?;
    lab.write("enlarge.toml", SPEC)?;
    lab.succeeds("train text.toml -o run")?;
    lab.succeeds("train enlarge.toml -o larger")?;
    let export = "export run/model --stage larger/model --stage larger/model --encoder f8";
    let ended = lab.succeeds(&format!("{export} -o handed --json"))?;
    let said: serde_json::Value = serde_json::from_str(&ended.out)?;
    let files = lab.files("handed")?;
    let bytes: usize = files.values().map(Vec::len).sum();
    assert_eq!(said["bytes"], bytes);
    let size = |name: &str| files[std::path::Path::new(name)].len();
    let whole = lab.files("run/model")?;
    let whole = |name: &str| whole[std::path::Path::new(name)].len();
    // Of these tiny networks much is vectors and the names of tensors.
    for name in [
        "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ] {
        assert!(
            5 * size(name) < 4 * whole(name),
            "{name}: {} {}",
            size(name),
            whole(name)
        );
    }
    lab.succeeds("imagine red --model handed -o drawn.png")?;
    assert_eq!(sides(&lab, "drawn.png")?, (32, 32));
    lab.succeeds("imagine --from drawn.png -o again.png")?;
    let read = |name| std::fs::read(lab.path(name));
    assert!(read("drawn.png")? == read("again.png")?);
    // A model with stages is exported with them, and f32 of f16 loses nothing.
    lab.succeeds("export handed -o wide --weights f32 --encoder f32")?;
    lab.succeeds("imagine red --model wide -o wide.png")?;
    assert!(pixels(&lab, "drawn.png")? == pixels(&lab, "wide.png")?);

    lab.fails(&format!("{export} -o handed"), 1, &["`handed`", "exists"])?;
    lab.fails(
        "export run/model --stage run/model -o x",
        1,
        &["`run/model`", "must enlarge"],
    )?;
    lab.fails(
        "export handed --stage larger/model --stage larger/model -o x",
        1,
        &["behind 3"],
    )?;
    lab.fails("export nowhere -o x", 1, &["`nowhere`"])?;
    lab.fails("export run/model -o x --weights f12", 2, &["f16 or f8"])?;
    assert!(!lab.path("x").exists());
    Ok(())
}

#[test]
fn what_cannot_be_enlarged() -> Outcome {
    let lab = lab()?;
    write_png(
        &lab.path("vast.png"),
        &Image::filled(600, 600, [9; 3])?,
        &[],
    )?;
    let cases: [(&str, &[&str]); 7] = [
        ("", &["give one with --image"]),
        ("red --image small.png", &["`red`", "no prompt"]),
        ("--negative red --image small.png", &["`red`", "no prompt"]),
        ("--image small.png --strength 0.5", &["--strength"]),
        ("--image small.png --mask small.png", &["--mask"]),
        (
            "--image small.png --noise 0.5",
            &["noise", "0.5", "0 to 0.3"],
        ),
        ("--image vast.png", &["600", "up to 512"]),
    ];
    for (arguments, words) in cases {
        lab.fails(&format!("imagine --model run/model {arguments}"), 1, words)?;
    }
    for (old, new, words) in [
        ("factor = 2", "factor = 3", ["`task.size` is 8", "factor"]),
        ("noise = 0.3", "noise = 0", ["`task.noise`", "above 0"]),
        (
            "in_channels = 6",
            "in_channels = 3",
            ["in_channels", "6 and 3"],
        ),
        (
            "class_embed_type = \"timestep\"",
            "",
            ["class_embed_type", "timestep"],
        ),
        (
            "sample_size = 4",
            "sample_size = 16",
            ["model.sample_size", "task.size"],
        ),
        (
            "kind = \"edm\"\nsigma_data = 0.2\nsigma_min = 0.01\nsigma_max = 2.0",
            "kind = \"discrete\"",
            ["diffusion.kind", "edm"],
        ),
        (
            "[data]",
            "[condition]\nkind = \"text\"\nreader = { kind = \"words\", size = 5 }\n\n[data]",
            ["condition.kind", "to enlarge"],
        ),
    ] {
        lab.write("bad.toml", SPEC)?;
        lab.replace("bad.toml", old, new)?;
        lab.fails("train bad.toml -o bad", 1, &words)?;
    }
    Ok(())
}
