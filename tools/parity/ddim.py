#!/usr/bin/env python3
"""Draws the same pictures with dreamsmith and with diffusers, and measures how far apart they are.

    python tools/parity/ddim.py MODEL [--program target/release/dreamsmith] [--class NAME]

MODEL is a folder that `dreamsmith train` wrote (runs/NAME/model, or models/emoji-32). Both programs read
its weights, start from the same noise, and walk down the same levels with DDIM, eta 0. Prints the mean and
the largest absolute difference of the 8-bit pixels, in 1/255. Exits 1 if the mean is above --limit.
Wants torch, diffusers, numpy and pillow; see README.md beside this file.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from PIL import Image
from safetensors.torch import save_file


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--program", default="target/release/dreamsmith", help="the dreamsmith binary")
    parser.add_argument("--class", dest="label", help="a class of the model; none of them if not given")
    parser.add_argument("--steps", type=int, default=25, help="a divisor of the schedule's timesteps")
    parser.add_argument("--count", type=int, default=4, help="pictures, at least 1")
    parser.add_argument("--seed", type=int, default=0, help="of the noise, for torch.manual_seed")
    parser.add_argument("--limit", type=float, default=2.0, help="largest mean difference, in 1/255")
    return parser.parse_args()


def load(folder):
    """The network, the scheduler and dreamsmith's own notes; a tensor too many or too few is an error."""
    unet, report = UNet2DModel.from_pretrained(
        folder, subfolder="unet", output_loading_info=True, low_cpu_mem_usage=False
    )
    amiss = {key: names for key, names in report.items() if names}
    if amiss:
        sys.exit(f"{folder}: the weights do not fit the config: {amiss}")
    # Trailing steps, and a last step to no noise at all, as dreamsmith's levels end; the rest as trained.
    scheduler = DDIMScheduler.from_pretrained(
        folder, subfolder="scheduler", timestep_spacing="trailing", set_alpha_to_one=True
    )
    return unet.eval(), scheduler, json.loads((folder / "dreamsmith.json").read_text())


def draw_with_diffusers(unet, scheduler, noise, steps, label):
    scheduler.set_timesteps(steps)
    labels = None if label is None else torch.full((len(noise),), label)
    x = noise
    with torch.inference_mode():
        for t in scheduler.timesteps:
            output = unet(x, t, class_labels=labels).sample
            # Where the model clips x0, dreamsmith takes eps from the clipped one.
            x = scheduler.step(output, t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    return x


def draw_with_dreamsmith(args, noise, size):
    with tempfile.TemporaryDirectory() as folder:
        given, picture = pathlib.Path(folder, "noise.safetensors"), pathlib.Path(folder, "picture.png")
        save_file({"noise": noise}, given)
        command = [args.program, "imagine", *([args.label] if args.label else []), "--json", "--quiet"]
        command += ["--model", args.model, "--init", given, "-o", picture, "--size", str(size)]
        command += ["--count", str(len(noise)), "--steps", str(args.steps)]
        command += ["--sampler", "ddim", "--schedule", "trailing", "--guidance", "1"]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(f"{args.program} failed: {run.stderr.strip()}")
        files = json.loads(run.stdout)["files"]
        return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def to_bytes(x):
    """[B, 3, H, W] in [-1, 1] to [B, H, W, 3] in 0 to 255."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def main():
    args = arguments()
    unet, scheduler, notes = load(args.model)
    patch, classes = notes.get("patch_size", 1), notes.get("classes", [])
    if scheduler.config.num_train_timesteps % args.steps:
        sys.exit(f"--steps {args.steps}: diffusers' DDIM wants a divisor of {scheduler.config.num_train_timesteps}")
    if args.label is not None and args.label not in classes:
        sys.exit(f"--class {args.label}: expected one of {', '.join(classes)}")
    label = None
    if classes:
        # One class more than there are names: none of them.
        label = len(classes) if args.label is None else classes.index(args.label)
    side = unet.config.sample_size
    noise = torch.randn(
        (args.count, unet.config.in_channels, side, side), generator=torch.Generator().manual_seed(args.seed)
    )
    theirs = draw_with_diffusers(unet, scheduler, noise, args.steps, label)
    # Channel c p^2 + i p + j holds pixel (y p + i, x p + j) of colour c: torch's pixel_shuffle undoes that.
    theirs = to_bytes(torch.nn.functional.pixel_shuffle(theirs, patch))
    ours = draw_with_dreamsmith(args, noise, side * patch)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    mean, largest = difference.mean(), difference.max()
    print(
        f"{args.model}, {args.label or 'no class'}: {args.count} pictures of {side * patch}x{side * patch}, "
        f"{args.steps} steps: mean {mean:.5f}/255, largest {largest}/255, "
        f"{100 * (difference > 0).mean():.2f} % of values differ, spread of the pictures {ours.std():.1f}/255"
    )
    sys.exit(0 if mean <= args.limit else 1)


if __name__ == "__main__":
    main()
