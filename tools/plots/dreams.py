#!/usr/bin/env python3
"""Dreams of a list of prompts, with seed 0 and none left out, and the sheet of each.

    pip install pillow
    python tools/plots/dreams.py specs/eval/dreams.toml -o docs/gallery3d
    python tools/plots/dreams.py specs/eval/prompts.toml -o runs/sheets --dreams runs/dreams -- --steps 500

A dream whose object exists already is not dreamt again. What stands behind `--` goes to `dreamsmith dream`. With
`--all FILE` one picture shows every object from one side, in colour and in clay.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tomllib

from PIL import Image

# Views on a sheet, of which the second is shown, and objects in a row.
VIEWS, SHOWN, COLUMNS = 8, 1, 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=pathlib.Path, help="TOML file whose lists are all prompts")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="folder for the sheets")
    parser.add_argument("--dreams", type=pathlib.Path, default=pathlib.Path("runs/dreams"), help="folder for the dreams")
    parser.add_argument("--all", type=pathlib.Path, help="a picture of all objects")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/dreamsmith"))
    parser.add_argument("--precision", default="bf16")
    # argparse takes no options for arguments, not even behind `--`.
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    return parser.parse_args(given[:end]), given[end + 1 :]


def together(sheets):
    """Each sheet's view in colour above that in clay, in rows of eight objects."""
    side = sheets[0].width // VIEWS
    rows = -(-len(sheets) // COLUMNS)
    picture = Image.new("RGB", (side * min(COLUMNS, len(sheets)), 2 * side * rows), "white")
    for i, sheet in enumerate(sheets):
        view = sheet.crop((SHOWN * side, 0, (SHOWN + 1) * side, 2 * side))
        picture.paste(view, (i % COLUMNS * side, i // COLUMNS * 2 * side))
    return picture


def main():
    options, others = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    lists = tomllib.loads(options.prompts.read_text()).values()
    prompts = [prompt for prompts in lists for prompt in prompts]
    sheets = []
    for i, prompt in enumerate(prompts):
        name = re.sub(r"[^a-z0-9]+", "-", prompt.lower())
        dream = options.dreams / name
        if not (dream / "object.glb").exists():
            what = ["--resume", dream] if (dream / "checkpoint").exists() else [prompt, "-o", dream, *others]
            subprocess.run([options.program, "--quiet", "--precision", options.precision, "dream", *what], check=True)
        sheets.append(Image.open(dream / "sheet.png").convert("RGB"))
        # Few colours: a sheet is a third as large, and looks the same.
        sheets[-1].quantize(256, dither=Image.Dither.NONE).save(options.output / f"{name}.png", optimize=True)
        print(f"{i + 1} of {len(prompts)}: {prompt}", flush=True)
    if options.all:
        together(sheets).save(options.all, optimize=True)


if __name__ == "__main__":
    main()
