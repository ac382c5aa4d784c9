#!/usr/bin/env python3
"""Draws the same pictures with dreamsmith and with diffusers, and measures how far apart they are.

    python tools/parity/ddim.py MODEL [--program target/release/dreamsmith] [--class NAME]
    python tools/parity/ddim.py MODEL --prompt "a red armchair" [--view back] [--negative grey] [--guidance 3]

MODEL is a folder that `dreamsmith train` wrote (runs/NAME/model, or models/emoji-32). Both programs read
its weights, start from the same noise, and walk down the same levels with DDIM, eta 0. Prints the mean and
the largest absolute difference of the 8-bit pixels, in 1/255. Exits 1 if the largest is above --limit.
Wants torch, diffusers, numpy and pillow, and transformers for a model of words; see README.md beside this file.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DModel
from PIL import Image
from safetensors.torch import save_file

WORDS_PIPELINE = pathlib.Path(__file__).with_name("words_pipeline.py")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--program", default="target/release/dreamsmith", help="the dreamsmith binary")
    parser.add_argument("--class", dest="label", help="a class of the model; none of them if not given")
    parser.add_argument("--prompt", help="what to draw, without weights of words; anything if not given")
    parser.add_argument("--view", choices=["front", "side", "back", "overhead"], help="from where it is seen")
    parser.add_argument("--negative", help="what not to draw")
    parser.add_argument("--guidance", type=float, default=1.0, help="1 is unguided")
    parser.add_argument("--steps", type=int, default=20, help="a divisor of the schedule's timesteps")
    parser.add_argument("--count", type=int, default=4, help="pictures, at least 1")
    parser.add_argument("--seed", type=int, default=0, help="of the noise, for torch.manual_seed")
    parser.add_argument("--limit", type=float, default=2.0, help="largest difference, in 1/255")
    args = parser.parse_args()
    args.notes = json.loads((args.model / "dreamsmith.json").read_text())
    return args


def noise_for(unet, args):
    """Unit normal values as the network sees them, [count, C, h, w]."""
    shape = args.count, unet.config.out_channels, unet.config.sample_size, unet.config.sample_size
    return torch.randn(shape, generator=torch.Generator().manual_seed(args.seed))


def draw_words(args):
    """The noise, and what a model of words draws from it."""
    pipe = DiffusionPipeline.from_pretrained(
        args.model, custom_pipeline=str(WORDS_PIPELINE), trust_remote_code=True, torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    noise = noise_for(pipe.unet, args)
    images = pipe(args.prompt or "", args.view, args.negative or "", args.guidance, args.steps, noise).images
    return noise, np.stack([np.asarray(image) for image in images])


def draw_classes(args):
    """The noise, and what a model of classes, or of anything, draws from it."""
    unet, report = UNet2DModel.from_pretrained(
        args.model, subfolder="unet", output_loading_info=True, low_cpu_mem_usage=False
    )
    amiss = {key: names for key, names in report.items() if names}
    if amiss:
        sys.exit(f"{args.model}: the weights do not fit the config: {amiss}")
    scheduler = DDIMScheduler.from_pretrained(args.model, subfolder="scheduler")
    scheduler.set_timesteps(args.steps)
    classes, labels = args.notes["classes"], None
    if args.label is not None and args.label not in classes:
        sys.exit(f"--class {args.label}: expected one of {', '.join(classes)}")
    if classes:
        # One class more than there are names: none of them.
        labels = torch.full((args.count,), len(classes) if args.label is None else classes.index(args.label))
    noise = x = noise_for(unet.eval(), args)
    with torch.inference_mode():
        for t in scheduler.timesteps:
            output = unet(x, t, class_labels=labels).sample
            # Where the model clips x0, dreamsmith takes eps from the clipped one.
            x = scheduler.step(output, t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    # Channel c p^2 + i p + j holds pixel (y p + i, x p + j) of colour c: torch's pixel_shuffle undoes that.
    pixels = torch.nn.functional.pixel_shuffle(x, args.notes["patch_size"])
    return noise, ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def draw_with_dreamsmith(args, noise):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        given, picture, model = folder / "noise.safetensors", folder / "picture.png", folder / "model"
        save_file({"noise": noise}, given)
        # The model without the stages that enlarge what it has drawn.
        model.mkdir()
        for part in args.model.iterdir():
            if part.name != "enlarge":
                (model / part.name).symlink_to(part.resolve())
        subject = args.prompt or args.label
        command = [args.program, "imagine", *([subject] if subject else []), "--json", "--quiet"]
        command += ["--view", args.view] if args.view else []
        command += ["--negative", args.negative] if args.negative else []
        command += ["--model", model, "--init", given, "-o", picture, "--count", str(len(noise))]
        command += ["--steps", str(args.steps), "--guidance", str(args.guidance)]
        command += ["--sampler", "ddim", "--schedule", "trailing"]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(f"{args.program} failed: {run.stderr.strip()}")
        files = json.loads(run.stdout)["files"]
        return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def main():
    args = arguments()
    reads_words = args.notes.get("text_tokens") is not None
    if not reads_words and (args.prompt or args.view or args.negative or args.guidance != 1):
        sys.exit(f"{args.model} reads no words: give --class, or nothing")
    noise, theirs = draw_words(args) if reads_words else draw_classes(args)
    ours = draw_with_dreamsmith(args, noise)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    mean, largest = difference.mean(), difference.max()
    negative = args.negative and f"not {args.negative}"
    subject = ", ".join(filter(None, [args.prompt or args.label or "anything", args.view, negative]))
    print(
        f"{args.model}, {subject}: {args.count} pictures of {ours.shape[2]}x{ours.shape[1]}, "
        f"{args.steps} steps, guidance {args.guidance:g}: mean {mean:.5f}/255, largest {largest}/255, "
        f"{100 * (difference > 0).mean():.2f} % of values differ, spread of the pictures {ours.std():.1f}/255"
    )
    sys.exit(0 if largest <= args.limit else 1)


if __name__ == "__main__":
    main()
