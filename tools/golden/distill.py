"""Golden values for crates/lift: the gradient of score distillation on a fixed case, in f64 and by the paper's own formulas.

    python tools/golden/distill.py testdata/lift

In variance-preserving coordinates: x_t = alpha x + sigma eps; a network of velocities v = a x_t + b t / T + c, where c
tells the text from none; eps_hat = alpha v + sigma x_t; guided eps_hat = none + s (text - none); the gradient is
w (eps_hat - eps) (DreamFusion, eq. 3).
"""

import math
import pathlib
import sys

import numpy as np

TIMESTEPS = 1000
SHAPE = (2, 3, 2, 2)
A, B, TEXT, NONE = 0.3, -0.5, 0.2, -0.1
SCALES = (1.0, 7.5, 100.0)
TIMES = (20, 500, 979)


def alpha_bars():
    """The cosine schedule (Nichol and Dhariwal, eq. 17), betas at most 0.999."""
    f = lambda t: math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = [min(1 - f((i + 1) / TIMESTEPS) / f(i / TIMESTEPS), 0.999) for i in range(TIMESTEPS)]
    return np.cumprod(1 - np.array(betas))


def pattern(step, shift):
    return np.sin(step * np.arange(math.prod(SHAPE)) + shift).reshape(SHAPE)


def gradient(x, eps, t, scale, weight):
    bar = alpha_bars()[t]
    alpha, sigma = math.sqrt(bar), math.sqrt(1 - bar)
    noisy = alpha * x + sigma * eps
    said = lambda c: alpha * (A * noisy + B * t / TIMESTEPS + c) + sigma * noisy
    guided = said(NONE) + scale * (said(TEXT) - said(NONE))
    return {"variance": 1 - bar, "even": 1.0}[weight] * (guided - eps)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    x, eps = pattern(0.7, 0.1), pattern(1.9, 0.4)
    lines = ["# Made by tools/golden/distill.py; its head says from what.", ""]
    for t in TIMES:
        for scale in SCALES:
            for weight in ("variance", "even"):
                values = ", ".join(f"{value:.9e}" for value in gradient(x, eps, t, scale, weight).ravel())
                lines += ["[[case]]", f"timestep = {t}", f"scale = {scale}", f'weight = "{weight}"']
                lines += [f"gradient = [{values}]", ""]
    (folder / "sds.toml").write_text("\n".join(lines))
    (folder / "README.md").write_text(
        "# Golden values of crates/lift\n\n`sds.toml` is made by `tools/golden/distill.py`, in f64 by the formulas of the"
        " paper; its head says from what.\nRewritten only on purpose.\n"
    )


main()
