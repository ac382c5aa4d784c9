//! Bad input: one clear line, exit 1 (the work failed) or 2 (wrong usage), and nothing half-written.

use std::fs;
use std::process::Command;

use dreamsmith_base::{Image, write_png};

use crate::lab::{Ended, Lab, Outcome};

/// A PNG that says it is 100,000 pixels wide and high.
const HUGE_PNG: &[u8] = b"\x89PNG\r\n\x1a\n\
    \0\0\0\rIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0\x27\x30\x9c\x9f\
    \0\0\x10\0IDAT\x78\x9c";

#[test]
fn folders_without_pictures() -> Outcome {
    let lab = Lab::new()?;
    fs::create_dir(lab.path("empty"))?;
    lab.write("texts/a.txt", "text")?;
    let cases = [
        ("nowhere", "nothing is there"),
        ("spec.toml", "it is a file"),
        ("empty", "holds no pictures"),
        ("texts", "found 1 other files"),
    ];
    for (dir, words) in cases {
        lab.respec("bad.toml", "pictures", dir)?;
        lab.fails("train bad.toml -o run", 1, &[&format!("`{dir}`"), words])?;
    }
    Ok(())
}

#[test]
fn broken_pictures_are_skipped_and_named_or_refused() -> Outcome {
    let lab = Lab::new()?;
    let whole = fs::read(lab.path("pictures/00.png"))?;
    let broken: [(&str, &[u8], &str); 3] = [
        ("text.png", b"no picture", "found text"),
        ("cut.png", &whole[..whole.len() / 2], "broken PNG"),
        ("huge.png", HUGE_PNG, "100000x100000"),
    ];
    lab.respec("skip.toml", "steps = 40", "steps = 1")?;
    lab.respec("strict.toml", "[data]", "[data]\non_fault = \"strict\"")?;
    for (name, bytes, words) in broken {
        let only = format!("only/{name}");
        lab.write(&only, bytes)?;
        lab.respec("only.toml", "pictures", "only")?;
        lab.fails(
            "train only.toml -o run",
            1,
            &["none of the 1 pictures", name, words],
        )?;
        fs::remove_file(lab.path(&only))?;

        let among = format!("pictures/{name}");
        lab.write(&among, bytes)?;
        lab.fails("train strict.toml -o run", 1, &["strict", name, words])?;
        lab.fails(
            "train spec.toml --strict -o run",
            1,
            &["strict", name, words],
        )?;
        let ended = lab.succeeds(&format!("train skip.toml -o with-{name}"))?;
        let said = |words: &str| ended.err.lines().any(|line| line.contains(words));
        assert!(
            said("16 pictures") && said("1 skipped") && said(words),
            "{}",
            ended.err
        );
        fs::remove_file(lab.path(&among))?;

        lab.write(name, bytes)?;
        lab.fails(&format!("forward {name}"), 1, &[name, words])?;
        lab.fails(&format!("info {name}"), 1, &[name, words])?;
    }
    Ok(())
}

#[test]
fn specs_with_faults() -> Outcome {
    let lab = Lab::new()?;
    let cases: [(&str, &str, &[&str]); 15] = [
        (
            "[data]",
            "colour = 1\n[data]",
            &["line 2", "`colour`", "`data`"],
        ),
        (
            "batch",
            "bitch = 4\nbatch",
            &["line 7", "`bitch`", "`micro_batch`"],
        ),
        (
            "sample_size",
            "sample_sizes = 8\nsample_size",
            &["`model.sample_sizes`", "sample_size"],
        ),
        (
            "sample_size = 8",
            "sample_size = \"big\"",
            &["`sample_size`", "big"],
        ),
        (
            "sample_size = 8",
            "sample_size = 7",
            &["size", "7", "multiple of 2"],
        ),
        ("[8, 8]", "[8, 9]", &["norm_num_groups", "9"]),
        (
            "steps = 40",
            "steps = 0",
            &["`train.steps` is 0", "1 or more"],
        ),
        ("steps = 40", "steps = -1", &["line 6", "-1"]),
        ("steps = 10", "steps = 0", &["`sample.steps` is 0"]),
        ("steps = 10", "steps = 100000", &["100000", "1 to 1000"]),
        (
            "micro_batch = 2",
            "micro_batch = 3",
            &["`train.micro_batch` is 3", "divisor"],
        ),
        ("warmup = 5", "peak = inf", &["`learning_rate.peak` is inf"]),
        (
            "steps = 10",
            "guidance = { scale = nan }",
            &["guidance", "NaN"],
        ),
        (
            "num_class_embeds = 4",
            "",
            &["`model.num_class_embeds`", "not set", "expected 4"],
        ),
        ("[data]", "[data", &["line 2"]),
    ];
    for (old, new, words) in cases {
        lab.respec("bad.toml", old, new)?;
        lab.fails("train bad.toml -o run", 1, words)?;
    }
    lab.fails(
        "train nowhere.toml -o run",
        1,
        &["`nowhere.toml` does not exist"],
    )?;
    lab.fails("train pictures -o run", 1, &["`pictures`"])?;
    lab.fails("train", 2, &["required"])
}

#[test]
fn runs_that_cannot_start_or_go_on() -> Outcome {
    let lab = Lab::trained()?;
    lab.fails(
        "train spec.toml -o run",
        1,
        &["`run` holds a run already", "--resume run"],
    )?;
    lab.fails(
        "train spec.toml -o spec.toml/run",
        1,
        &["spec.toml", "is a file"],
    )?;
    lab.fails("train spec.toml -o spec.toml", 1, &["`spec.toml`", "file"])?;
    lab.fails("train spec.toml -o /proc/run", 1, &["/proc/run"])?;
    lab.fails("train --resume nowhere", 1, &["nowhere", "no such folder"])?;
    lab.fails(
        "train --resume pictures",
        1,
        &["pictures", "no such folder"],
    )?;

    lab.write("pictures/new.png", fs::read(lab.path("pictures/00.png"))?)?;
    lab.fails("train --resume run", 1, &["16 pictures", "now holds 17"])?;
    fs::remove_file(lab.path("pictures/new.png"))?;

    let spec = "run/checkpoint/spec.toml";
    let text = fs::read_to_string(lab.path(spec))?;
    lab.write(
        spec,
        text.replace("layers_per_block = 1", "layers_per_block = 2"),
    )?;
    lab.fails(
        "train --resume run",
        1,
        &["weights.safetensors", "resnets.1"],
    )?;
    lab.write(
        spec,
        text.replace("num_class_embeds = 4", "num_class_embeds = 9"),
    )?;
    lab.fails(
        "train --resume run",
        1,
        &["class_embedding.weight", "4", "9"],
    )?;
    lab.write(spec, text)?;

    for name in [
        "weights.safetensors",
        "average.safetensors",
        "optimizer.bpk",
        "state.json",
    ] {
        let name = format!("run/checkpoint/{name}");
        let bytes = fs::read(lab.path(&name))?;
        lab.write(&name, &bytes[..bytes.len() / 2])?;
        lab.fails("train --resume run", 1, &[&name])?;
        lab.write(&name, bytes)?;
    }
    lab.succeeds("train --resume run").map(|_| ())
}

#[test]
fn values_that_imagine_cannot_use() -> Outcome {
    let lab = Lab::trained()?;
    write_png(&lab.path("large.png"), &Image::filled(9, 8, [255; 3])?, &[])?;
    let cases: [(&str, i32, &[&str]); 32] = [
        ("--steps 0", 1, &["steps", "found 0"]),
        ("--guidance nan", 1, &["guidance", "NaN", "finite"]),
        ("red --guidance nan", 1, &["guidance", "NaN", "finite"]),
        ("red --guidance inf", 1, &["guidance", "inf", "finite"]),
        ("--guidance much", 2, &["much"]),
        ("purple", 1, &["`purple`", "blue, green, red"]),
        ("--size 7", 1, &["size is 7", "multiple of 2"]),
        ("--size 0", 1, &["size is 0"]),
        ("--size 4000000000", 1, &["4000000000", "4096"]),
        ("--count 0", 2, &["0"]),
        ("--sampler magic", 2, &["`magic`", "`ddim`"]),
        ("--sampler ddim:eta=7", 1, &["eta is 7", "0 to 1"]),
        ("--schedule magic", 2, &["`magic`", "`karras`"]),
        ("--rng dice", 2, &["native or torch"]),
        ("--image nowhere.png", 1, &["`nowhere.png` does not exist"]),
        ("--image spec.toml", 1, &["`spec.toml`", "found text"]),
        (
            "--image pictures/00.png --strength nan",
            1,
            &["strength", "NaN"],
        ),
        (
            "--image pictures/00.png --strength 0",
            1,
            &["strength", "more than 0"],
        ),
        (
            "--image pictures/00.png --strength 1.5",
            1,
            &["strength", "1.5", "at most 1"],
        ),
        ("--strength 0.5", 2, &["required arguments"]),
        ("--mask pictures/00.png", 2, &["required arguments"]),
        (
            "--image pictures/00.png --mask nowhere.png",
            1,
            &["`nowhere.png` does not exist"],
        ),
        (
            "--image pictures/00.png --mask large.png",
            1,
            &["`large.png` is 9x8", "expected 8x8", "`pictures/00.png`"],
        ),
        (
            "--image pictures/00.png --mask pictures/00.png --resample 0",
            1,
            &["a step is taken is 0", "1 to 100"],
        ),
        (
            "--image pictures/00.png --mask pictures/00.png --strength 0",
            1,
            &["strength", "more than 0"],
        ),
        (
            "--image pictures/00.png --resample 2",
            2,
            &["required arguments"],
        ),
        ("--init spec.toml", 1, &["`spec.toml`", "safetensors"]),
        (
            "--init run/checkpoint/weights.safetensors",
            1,
            &["no tensor `noise`"],
        ),
        ("-o pictures", 1, &["`pictures` is a folder"]),
        ("-o spec.toml/a.png", 1, &["`spec.toml`", "file"]),
        ("--device gpu", 2, &["gpu", "cuda"]),
        ("--threads 0", 2, &["0"]),
    ];
    for (arguments, code, words) in cases {
        lab.fails(
            &format!("imagine --model run/model {arguments}"),
            code,
            words,
        )?;
    }
    if !cfg!(feature = "cuda") {
        let words = ["`cuda`", "--features cuda", "--device cpu"];
        lab.fails("imagine --model run/model --device cuda", 1, &words)?;
    }
    lab.fails(
        "forward pictures/00.png -o pictures",
        1,
        &["`pictures` is a folder"],
    )?;
    lab.fails("forward pictures/00.png --timesteps 1", 1, &["1 timesteps"])?;
    lab.fails(
        "data emoji --from pictures -o out",
        1,
        &["fluent-emoji-3d", "npm pack"],
    )?;
    lab.fails(
        "info pictures",
        1,
        &["`pictures`", "neither a model", "run"],
    )?;
    lab.fails("info nowhere", 1, &["`nowhere` does not exist"])
}

#[test]
fn models_that_are_broken() -> Outcome {
    let lab = Lab::trained()?;
    let draw = "imagine --model run/model";
    lab.fails(
        "imagine --model nowhere",
        1,
        &["`nowhere`", "no such folder"],
    )?;
    lab.fails(
        "imagine --model pictures",
        1,
        &["`pictures`", "unet/config.json"],
    )?;
    let weights = "unet/diffusion_pytorch_model.safetensors";
    for name in ["unet/config.json", weights, "dreamsmith.json"] {
        let name = format!("run/model/{name}");
        let bytes = fs::read(lab.path(&name))?;
        for broken in [&bytes[..bytes.len() / 2], b"", b"[]"] {
            lab.write(&name, broken)?;
            lab.fails(draw, 1, &[&name])?;
            lab.fails("info run/model", 1, &[&name])?;
        }
        lab.write(&name, bytes)?;
    }
    // Weights of another shape.
    lab.replace(
        "run/model/unet/config.json",
        "\"layers_per_block\": 1",
        "\"layers_per_block\": 2",
    )?;
    lab.fails(
        draw,
        1,
        &["diffusion_pytorch_model.safetensors", "resnets.1"],
    )
}

#[test]
fn numbers_that_run_away() -> Outcome {
    let lab = Lab::new()?;
    lab.respec("wild.toml", "warmup = 5", "warmup = 1\npeak = 1e30")?;
    let ended = lab.run("train wild.toml -o run --quiet")?;
    ended.assert_failed(
        "train",
        1,
        &["step 2", "is not finite", "learning_rate.peak"],
    );
    assert!(!lab.path("run/checkpoint").exists() && !lab.path("run/model").exists());
    Ok(())
}

/// A full disk in a mount namespace of its own, which any Linux may lend but some containers do not.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() -> Outcome {
    let lab = Lab::trained()?;
    fs::create_dir(lab.path("disk"))?;
    let on_small_disk = |size: &str, arguments: &str| -> Outcome<Option<(Ended, String)>> {
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs disk && touch ready || exit 99\n\
             {} {arguments} --quiet\n\
             code=$?; (cd disk && find . | sort) > left; exit $code",
            env!("CARGO_BIN_EXE_dreamsmith")
        );
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]);
        let output = shell.current_dir(lab.path("")).output();
        if !lab.path("ready").exists() {
            return Ok(None);
        }
        Ok(Some((
            Ended::from(output?),
            fs::read_to_string(lab.path("left"))?,
        )))
    };
    // The picture has half a million pixels, the checkpoint 400 kB.
    let draw = "imagine --model run/model --count 16 --grid --scale 24 -o disk/sheet.png";
    let Some((ended, left)) = on_small_disk("8k", draw)? else {
        // Past the test harness, which keeps what passing tests print.
        use std::io::Write;
        writeln!(
            std::io::stderr(),
            "\nSKIPPED a_full_disk: no disk can be mounted here\n"
        )?;
        return Ok(());
    };
    ended.assert_failed("imagine", 1, &["disk is full", "disk/sheet.png"]);
    assert_eq!(left, ".\n");
    let Some((ended, left)) = on_small_disk("200k", "train spec.toml -o disk/run")? else {
        return Err("a disk could be mounted before".into());
    };
    ended.assert_failed("train", 1, &["disk is full", "disk/run/"]);
    let whole = ["", "metrics.jsonl", "samples", "spec.toml"];
    let whole: Vec<String> = whole.iter().map(|name| format!("./run/{name}")).collect();
    assert_eq!(
        left.trim_end(),
        format!(".\n{}", whole.join("\n")).replace("run/\n", "run\n")
    );
    Ok(())
}
