#!/usr/bin/env python3
"""Kills dreams with SIGKILL at random moments, looks whether any file is half-written, and goes on with them.

    pip install pillow
    python tools/kills.py --kills 20

Each dream must end with the same object, to the byte, as one that nobody has killed.
"""

import argparse
import json
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib

from PIL import Image


def whole(path):
    """Fails if `path` is only a part of a file of its kind."""
    data = path.read_bytes()
    match path.suffix:
        case ".png" | ".webp":
            with Image.open(path) as image:
                for frame in range(getattr(image, "n_frames", 1)):
                    image.seek(frame)
                    image.load()
        case ".glb":
            assert data[:4] == b"glTF" and int.from_bytes(data[8:12], "little") == len(data), path
        case ".safetensors":
            header = 8 + int.from_bytes(data[:8], "little")
            ends = [t["data_offsets"][1] for name, t in json.loads(data[8:header]).items() if name != "__metadata__"]
            assert header + max(ends) == len(data), path
        case ".json":
            json.loads(data)
        case ".toml":
            tomllib.loads(data.decode())
        case ".jsonl":
            # Lines are appended: the last may lack its end, and is cut off by the next start.
            for line in data.split(b"\n")[:-1]:
                json.loads(line)


def finish(command, timeout=None):
    """Runs `command` to its end, or kills it after `timeout` seconds; whether it ended by itself."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False
    assert process.returncode == 0, errors.decode()
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, default=pathlib.Path("target/release/dreamsmith"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--every", type=int, default=25, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        spec = folder / "spec.toml"
        # A coarse object is soon made, so that moments fall into the dream as well.
        program = [options.program, "--quiet", "dream", "--cells", "64", "--texture", "64"]
        printed = subprocess.run([*program[:1], "dream", "--print-spec"], check=True, capture_output=True, text=True)
        every = f"checkpoint_every = {options.every}"
        lines = [every if line.startswith("checkpoint_every") else line for line in printed.stdout.splitlines()]
        spec.write_text("\n".join(lines))
        fresh = lambda out: [*program, "a red armchair", "--spec", spec, "--steps", str(options.steps), "-o", out]

        begin = time.perf_counter()
        finish(fresh(folder / "unbroken"))
        seconds = time.perf_counter() - begin
        wanted = (folder / "unbroken/object.glb").read_bytes()
        print(f"unbroken: {seconds:.1f} s", flush=True)
        for i in range(options.kills):
            out = folder / "killed"
            after = moments.uniform(0, seconds)
            ended = finish(fresh(out), after)
            files = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
            visible = [path for path in files if not any(part.startswith(".") for part in path.relative_to(out).parts)]
            for path in visible:
                whole(path)
            resumes = (out / "checkpoint").exists()
            if not ended:
                if not resumes:
                    shutil.rmtree(out, ignore_errors=True)
                finish([*program, "--resume", out] if resumes else fresh(out))
            same = (out / "object.glb").read_bytes() == wanted
            how = "had ended" if ended else "went on" if resumes else "had no checkpoint yet, began again"
            print(f"{i + 1}: killed after {after:.1f} s, {len(visible)} files whole, {how}: {'same' if same else 'OTHER'} object")
            assert same
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
