#!/usr/bin/env python3
"""Enlarges the same picture with dreamsmith and with diffusers, and measures how far apart they are.

    python tools/parity/enlarge.py STAGE PICTURE [--program target/release/dreamsmith] [--noise 0.05]

STAGE is a model folder that enlarges (runs/NAME/model, or models/NAME/enlarge), PICTURE a small square PNG.
Both programs read its weights, draw PyTorch's noise, and walk down the same levels with Euler's steps. Prints
the mean and the largest absolute difference of the 8-bit pixels, in 1/255. Exits 1 if the largest is above
--limit. Wants torch, diffusers, numpy and pillow; see README.md beside this file.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from diffusers import EDMEulerScheduler, UNet2DModel
from PIL import Image

# What a network is told of the strongest noise on the small picture.
NOISE_LEVELS = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--program", default="target/release/dreamsmith", help="the dreamsmith binary")
    parser.add_argument("--noise", type=float, default=0.0, help="on the small picture")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the noise, for torch.manual_seed")
    parser.add_argument("--limit", type=float, default=2.0, help="largest difference, in 1/255")
    return parser.parse_args()


def enlarge_with_diffusers(args, task, patch):
    unet = UNet2DModel.from_pretrained(args.stage, subfolder="unet", low_cpu_mem_usage=False).float().eval()
    scheduler = EDMEulerScheduler.from_pretrained(args.stage, subfolder="scheduler")
    # What is left beside a noisy picture varies by that noise too.
    sigma_data = math.hypot(scheduler.config.sigma_data, args.noise)
    scheduler.register_to_config(sigma_data=sigma_data)
    scheduler.set_timesteps(args.steps)
    small = np.asarray(Image.open(args.picture).convert("RGB"), np.float32)
    # Bicubic with a = -1/2, which torch takes where it filters; PIL rounds between columns and rows.
    plain = torch.nn.functional.interpolate(
        torch.from_numpy(small).permute(2, 0, 1)[None], scale_factor=task["factor"], mode="bicubic", antialias=True
    )
    seen = torch.nn.functional.pixel_unshuffle(plain.round().clamp(0, 255) / 127.5 - 1, patch)
    generator = torch.Generator().manual_seed(args.seed)
    if args.noise:
        seen = seen + args.noise * torch.randn(seen.shape, generator=generator)
    level = torch.tensor([round(args.noise / task["noise"] * NOISE_LEVELS)])
    # What the plain enlargement lacks, with noise on it.
    rest = scheduler.sigmas[0] * torch.randn(seen.shape, generator=generator)
    with torch.inference_mode():
        for sigma, following in zip(scheduler.sigmas[:-1], scheduler.sigmas[1:]):
            x = torch.cat([scheduler.precondition_inputs(rest, sigma), seen], 1)
            output = unet(x, scheduler.precondition_noise(sigma), class_labels=level).sample
            denoised = scheduler.precondition_outputs(rest, output, sigma)
            # The whole picture is kept in its range.
            denoised = (seen + denoised).clamp(-1, 1) - seen
            rest = rest + (following - sigma) * (rest - denoised) / sigma
    pixels = torch.nn.functional.pixel_shuffle(seen + rest, patch)
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte()[0].permute(1, 2, 0).numpy()


def enlarge_with_dreamsmith(args):
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder, "picture.png")
        command = [args.program, "imagine", "--quiet", "--model", args.stage, "--image", args.picture, "-o", picture]
        command += ["--noise", str(args.noise), "--seed", str(args.seed), "--rng", "torch"]
        command += ["--sampler", "euler", "--schedule", "karras", "--steps", str(args.steps)]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(f"{args.program} failed: {run.stderr.strip()}")
        return np.asarray(Image.open(picture).convert("RGB"))


def main():
    args = arguments()
    notes = json.loads((args.stage / "dreamsmith.json").read_text())
    if notes["task"]["kind"] != "enlarge":
        sys.exit(f"{args.stage} draws: give a model that enlarges")
    if notes["sample"]["threshold"] != {"kind": "static", "bound": 1.0}:
        sys.exit(f"{args.stage}: only a static threshold of 1 is written out here")
    theirs = enlarge_with_diffusers(args, notes["task"], notes["patch_size"])
    ours = enlarge_with_dreamsmith(args)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    mean, largest = difference.mean(), difference.max()
    print(
        f"{args.stage}: {args.picture} at {ours.shape[1]}x{ours.shape[0]}, {args.steps} steps, noise {args.noise:g}: "
        f"mean {mean:.5f}/255, largest {largest}/255, {100 * (difference > 0).mean():.2f} % of values differ"
    )
    sys.exit(0 if largest <= args.limit else 1)


if __name__ == "__main__":
    main()
