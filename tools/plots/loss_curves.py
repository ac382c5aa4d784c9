"""Draws the losses of several runs into one picture.

    pip install pillow
    python tools/plots/loss_curves.py loss.png f32=runs/a/metrics.jsonl bf16=runs/b/metrics.jsonl

Each point is the mean of 10 lines of metrics; the axis of the loss is logarithmic.
"""

import json
import math
import sys

from PIL import Image, ImageDraw, ImageFont

SIZE, LEFT, RIGHT, TOP, BOTTOM = (960, 540), 70, 20, 20, 50
COLOURS = ["#d62728", "#1f77b4", "#2ca02c", "#9467bd"]
WINDOW = 10


def curve(path):
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    parts = [lines[i : i + WINDOW] for i in range(0, len(lines), WINDOW)]
    mean = lambda part, key: sum(line[key] for line in part) / len(part)
    return [(mean(part, "step"), mean(part, "loss")) for part in parts]


def main():
    output, *runs = sys.argv[1:]
    curves = {name: curve(path) for name, path in (run.split("=", 1) for run in runs)}
    points = [point for points in curves.values() for point in points]
    last = max(step for step, _ in points)
    low = math.log10(min(loss for _, loss in points)) - 0.05
    high = math.log10(max(loss for _, loss in points)) + 0.05
    width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM

    def place(step, loss):
        share = (math.log10(loss) - low) / (high - low)
        return LEFT + width * step / last, TOP + height * (1 - share)

    image = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(16)
    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 2, 5):
            loss = digit * 10.0**exponent
            if low <= math.log10(loss) <= high:
                _, y = place(0, loss)
                draw.line([(LEFT, y), (SIZE[0] - RIGHT, y)], fill="#dddddd")
                draw.text((LEFT - 8, y), f"{loss:g}", fill="black", font=font, anchor="rm")
    for tick in range(6):
        step = last * tick / 5
        x, _ = place(step, 1)
        draw.text((x, SIZE[1] - BOTTOM + 8), f"{step:.0f}", fill="black", font=font, anchor="mt")
    draw.text((LEFT + width / 2, SIZE[1] - 6), "step", fill="black", font=font, anchor="mb")
    for i, (name, points) in enumerate(curves.items()):
        colour = COLOURS[i % len(COLOURS)]
        draw.line([place(*point) for point in points], fill=colour, width=3 - min(i, 2))
        draw.text((SIZE[0] - RIGHT - 10, TOP + 10 + 24 * i), name, fill=colour, font=font, anchor="rt")
    image.save(output)


main()
