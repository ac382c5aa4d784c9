#!/usr/bin/env python3
"""Dreams of a list of prompts, with seed 0 and none left out, and the sheet of each.

    pip install pillow
    python tools/plots/dreams.py specs/eval/dreams.toml -o docs/gallery3d
    python tools/plots/dreams.py specs/eval/prompts.toml -o runs/sheets --dreams runs/dreams -- --steps 500

A dream whose object exists already is not dreamt again. What stands behind `--` goes to `dreamsmith dream`.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tomllib

from PIL import Image


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", type=pathlib.Path, help="TOML file whose lists are all prompts")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, help="folder for the sheets")
    parser.add_argument("--dreams", type=pathlib.Path, default=pathlib.Path("runs/dreams"), help="folder for the dreams")
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/dreamsmith"))
    parser.add_argument("--precision", default="bf16")
    # argparse takes no options for arguments, not even behind `--`.
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    return parser.parse_args(given[:end]), given[end + 1 :]


def main():
    options, others = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    lists = tomllib.loads(options.prompts.read_text()).values()
    prompts = [prompt for prompts in lists for prompt in prompts]
    for i, prompt in enumerate(prompts):
        name = re.sub(r"[^a-z0-9]+", "-", prompt.lower())
        dream = options.dreams / name
        if not (dream / "object.glb").exists():
            what = ["--resume", dream] if (dream / "checkpoint").exists() else [prompt, "-o", dream, *others]
            subprocess.run([options.program, "--quiet", "--precision", options.precision, "dream", *what], check=True)
        # Few colours: a sheet is a third as large, and looks the same.
        sheet = Image.open(dream / "sheet.png").convert("RGB")
        sheet.quantize(256, dither=Image.Dither.NONE).save(options.output / f"{name}.png", optimize=True)
        print(f"{i + 1} of {len(prompts)}: {prompt}", flush=True)


if __name__ == "__main__":
    main()
