#!/usr/bin/env python3
"""A sheet of what a model draws: a column for each prompt, a row for each of the seeds from 0 on, none left out.

    pip install pillow
    python tools/plots/gallery.py specs/eval/gallery.toml -o docs/gallery/words.png
    python tools/plots/gallery.py specs/eval/gallery.toml --model runs/base-32/model -o base.png
"""

import argparse
import pathlib
import subprocess
import tempfile
import textwrap
import tomllib

from PIL import Image, ImageDraw, ImageFont

GAP, LINE = 4, 17


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=pathlib.Path, help="TOML file with a list `prompts`")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="the PNG to write")
    parser.add_argument("--model", type=pathlib.Path, help="model folder; the shipped one if not given")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--side", type=int, default=128, help="pixels of each picture on the sheet")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/dreamsmith"))
    return parser.parse_args()


def draw(options, prompt, folder):
    """The pictures of one prompt, in the order of the seeds."""
    command = [options.program, "imagine", prompt, "--count", str(options.seeds), "--seed", "0", "--quiet"]
    command += ["--model", options.model] if options.model else []
    subprocess.run([*command, "-o", folder / "picture.png"], check=True)
    pictures = [Image.open(folder / f"picture-{seed}.png").convert("RGB") for seed in range(options.seeds)]
    return [picture.resize((options.side,) * 2, Image.LANCZOS) for picture in pictures]


def main():
    options = arguments()
    prompts = tomllib.loads(options.prompts.read_text())["prompts"]
    letters = options.side // 8
    words = [textwrap.wrap(prompt, letters) for prompt in prompts]
    head = max(map(len, words)) * LINE + GAP
    step = options.side + GAP
    sheet = Image.new("RGB", (len(prompts) * step + GAP, options.seeds * step + head), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for x, (prompt, lines) in enumerate(zip(prompts, words)):
        for i, line in enumerate(lines):
            pen.text((x * step + GAP, i * LINE + 2), line, "black", font)
        with tempfile.TemporaryDirectory() as folder:
            for y, picture in enumerate(draw(options, prompt, pathlib.Path(folder))):
                sheet.paste(picture, (x * step + GAP, y * step + head))
        print(f"{x + 1} of {len(prompts)}: {prompt}", flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(options.output)


if __name__ == "__main__":
    main()
