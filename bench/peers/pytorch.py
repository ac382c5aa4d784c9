"""Dreamsmith beside PyTorch and diffusers: the same shapes, the same U-Net, the same minutes.

Prints the ratio of the times of each row, ours over the best of PyTorch's variants (f32 or bf16,
channels last or not), and appends them to bench/log.md. See README.md.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import diffusers
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[2]
LOG = ROOT / "bench" / "log.md"
STEP = "U-Net training step batch 32"
MEMORY = "its peak memory"
CONVOLUTIONS = [(2, 320, 64), (8, 64, 32), (8, 128, 16), (8, 256, 8)]
MATRICES = [512, 1024, 2048]
BATCHES = [1, 2, 8]
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = {"": torch.contiguous_format, " channels last": torch.channels_last}
# Ours over the best of PyTorch's, at most.
BARS = (
    {f"conv 3x3 {b}x{c}x{s}x{s} forward": 1.1 for b, c, s in CONVOLUTIONS}
    | {f"conv 3x3 {b}x{c}x{s}x{s} forward + backward": 1.0 for b, c, s in CONVOLUTIONS}
    | {f"matmul {n}": 1.1 for n in MATRICES}
    | {"attention 2x8x1024x64 forward": 0.6, "attention 2x8x1024x64 forward + backward": 0.8}
    | {"U-Net forward batch 1": 0.6, "U-Net forward batch 8": 0.8}
    | {STEP: 0.75, MEMORY: 0.8}
)


def measure(work, seconds):
    """The median time of some runs in ms, after some to warm up."""

    def runs(seconds, fewest):
        begin, times = time.perf_counter(), []
        while len(times) < fewest or time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return times

    runs(seconds / 10, 1)
    return statistics.median(runs(seconds, 3)) * 1e3


def without_gradient(work):
    def run():
        with torch.no_grad():
            work()

    return run


def convolution(batch, channels, side):
    """Yields (row, variant, work), as all of these do."""
    name = f"conv 3x3 {batch}x{channels}x{side}x{side}"
    for kind, dtype in TYPES.items():
        for layout, memory_format in LAYOUTS.items():
            place = {"dtype": dtype, "memory_format": memory_format}
            x = torch.randn(batch, channels, side, side).to(**place).requires_grad_()
            w = torch.randn(channels, channels, 3, 3).to(**place).requires_grad_()
            b = torch.randn(channels, dtype=dtype).requires_grad_()
            y = torch.randn(batch, channels, side, side).to(**place)

            def forward(x=x, w=w, b=b):
                return functional.conv2d(x, w, b, padding=1)

            def both(forward=forward, leaves=(x, w, b), y=y):
                torch.autograd.grad(forward(), leaves, y)

            yield f"{name} forward", kind + layout, without_gradient(forward)
            yield f"{name} forward + backward", kind + layout, both


def product(side):
    for kind, dtype in TYPES.items():
        a, b = torch.randn(side, side, dtype=dtype), torch.randn(side, side, dtype=dtype)
        yield f"matmul {side}", kind, without_gradient(lambda a=a, b=b: a @ b)


def attention():
    for kind, dtype in TYPES.items():
        q, k, v = (torch.randn(2, 8, 1024, 64, dtype=dtype, requires_grad=True) for _ in range(3))
        y = torch.randn(2, 8, 1024, 64, dtype=dtype)

        def forward(qkv=(q, k, v)):
            return functional.scaled_dot_product_attention(*qkv)

        def both(forward=forward, qkv=(q, k, v), y=y):
            torch.autograd.grad(forward(), qkv, y)

        yield "attention 2x8x1024x64 forward", kind, without_gradient(forward)
        yield "attention 2x8x1024x64 forward + backward", kind, both


def inputs(batch):
    return torch.randn(batch, 3, 64, 64), torch.full((batch,), 5), torch.randn(batch, 16, 384)


def unet_forward(folder):
    for kind, dtype in TYPES.items():
        for layout, memory_format in LAYOUTS.items():
            network = UNet2DConditionModel.from_pretrained(folder).eval()
            network = network.to(dtype=dtype).to(memory_format=memory_format)
            for batch in BATCHES:
                x, t, text = inputs(batch)
                x, text = x.to(dtype=dtype, memory_format=memory_format), text.to(dtype)
                work = without_gradient(lambda n=network, x=x, t=t, e=text: n(x, t, e))
                yield f"U-Net forward batch {batch}", kind + layout, work


def memory_mb(key):
    """Of this process; nan where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def training_step(folder, variant, seconds):
    """Time and memory of a step; this process should have done nothing else."""
    before = memory_mb("VmRSS:")
    network = UNet2DConditionModel.from_pretrained(folder).train()
    kind, _, layout = variant.partition(" ")
    memory_format = LAYOUTS[layout and f" {layout}"]
    network = network.to(memory_format=memory_format)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    x, t, text = inputs(32)
    x = x.contiguous(memory_format=memory_format)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bf16"):
            loss = ((network(x, t, text).sample - x) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return {"ms": measure(step, seconds), "mb": memory_mb("VmHWM:") - before}


class Table:
    """The least median of all rounds, by row and variant."""

    def __init__(self):
        self.ours, self.theirs = {}, {}

    @staticmethod
    def keep(table, row, variant, value):
        variants = table.setdefault(row, {})
        variants[variant] = min(value, variants.get(variant, float("inf")))

    def add_ours(self, said):
        for row in said["rows"]:
            self.keep(self.ours, row["name"], row["precision"], row["median_ms"])
            if "memory_mb" in row:
                self.keep(self.ours, MEMORY, row["precision"], row["memory_mb"])

    def lines(self):
        yield "| work | ours f32 | PyTorch f32 | ratio " \
            "| ours best | PyTorch best | ratio | bar | holds |"
        yield "|---|---|---|---|---|---|---|---|---|"
        for name, theirs in self.theirs.items():
            unit = "MB" if name == MEMORY else "ms"
            f32 = {variant: value for variant, value in theirs.items() if variant.startswith("f32")}
            cells, ratio = [name], None
            ours = self.ours[name]
            # What is fastest must also be small.
            fastest = {"bf16": ours["bf16"]} if name == MEMORY else ours
            for ours, others in (({"f32": ours["f32"]}, f32), (fastest, theirs)):
                kind, mine = min(ours.items(), key=lambda item: item[1])
                variant, best = min(others.items(), key=lambda item: item[1])
                ratio = mine / best
                cells += [f"{mine:.2f} {unit} {kind}", f"{best:.2f} {unit} {variant}"]
                cells += [f"{ratio:.2f}"]
            bar = BARS.get(name)
            cells += [f"{bar}", "yes" if ratio <= bar else "**no**"] if bar else ["", ""]
            yield "| " + " | ".join(cells) + " |"


def output(command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def dreamsmith(options, *arguments):
    command = [str(options.program), "bench", "--json", "--quiet"]
    return json.loads(output([*command, "--threads", str(options.threads), *arguments]))


def agreement(folder):
    """Relative error of PyTorch's output for the example that lies beside the weights."""
    example = load_file(folder / "example.safetensors")
    network = UNet2DConditionModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = network(example["sample"], example["timestep"], example["text"]).sample
    return float((output - example["output"]).norm() / output.norm())


def compare(options, folder):
    """Alternates between the two, group by group, so that what slows the machine slows both."""
    table, said = Table(), None
    groups = [(f"{b}x{c}x{s}x{s}", partial(convolution, b, c, s)) for b, c, s in CONVOLUTIONS]
    groups += [(f"matmul {n}", partial(product, n)) for n in MATRICES]
    groups += [("attention", attention), ("U-Net forward", partial(unet_forward, folder))]
    seconds = ["--seconds", str(options.seconds), "--unet", str(folder)]
    for number in range(options.rounds):
        for name, theirs in groups:
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            said = dreamsmith(options, "--filter", name, *seconds)
            table.add_ours(said)
            for row, variant, work in theirs():
                Table.keep(table.theirs, row, variant, measure(work, options.seconds))
        for kind in TYPES:
            print(f"round {number + 1}: {STEP} {kind}", file=sys.stderr, flush=True)
            table.add_ours(dreamsmith(options, "--filter", STEP, "--precision", kind, *seconds))
            for layout in LAYOUTS:
                command = [sys.executable, __file__, "--step", kind + layout, "--unet", str(folder)]
                command += ["--seconds", str(options.seconds), "--threads", str(options.threads)]
                step = json.loads(output(command))
                Table.keep(table.theirs, STEP, kind + layout, step["ms"])
                Table.keep(table.theirs, MEMORY, kind + layout, step["mb"])
    return table, said


def report(options, table, said, error):
    commit = output(["git", "describe", "--always", "--dirty", "--abbrev=12"]).strip()
    machine = said["machine"]
    peaks = "peak {peak_f32_gflop_per_s:.0f} GFLOP/s f32, {peak_bf16_gflop_per_s:.0f} bf16"
    peaks += ", memory {memory_gb_per_s:.0f} GB/s"
    return "\n".join(
        [
            f"## {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit}",
            "",
            f"{machine['cpu']}, {machine['isa']}, {options.threads} threads; {peaks.format(**machine)}. "
            f"dreamsmith {said['version']}, PyTorch {torch.__version__}, diffusers {diffusers.__version__}, "
            f"Python {platform.python_version()}. Median of {options.seconds} s a row, the lesser of "
            f"{options.rounds} rounds. The U-Nets agree to {error:.1e} in f32.",
            "",
            *table.lines(),
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/dreamsmith")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row and variant")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-log", action="store_true", help="do not append to bench/log.md")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--unet", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.program = options.program.absolute()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    if options.step:
        print(json.dumps(training_step(options.unet, options.step, options.seconds)))
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        dreamsmith(options, "--save-unet", str(folder))
        error = agreement(folder)
        table, said = compare(options, folder)
    section = report(options, table, said, error)
    print(section)
    if not options.no_log:
        with LOG.open("a") as log:
            log.write("\n" + section)


if __name__ == "__main__":
    main()
