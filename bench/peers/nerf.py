"""Radiance fields: Dreamsmith beside plain PyTorch on the CPU, part by part, and a whole training.

Prints the ratio of the times of each row, ours over the best of PyTorch's variants, and appends
them to bench/log.md. The network of both is the hash grid of instant-ngp; see README.md.
"""

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch.nn import functional

from pytorch import LOG, ROOT, Table, dreamsmith, measure, output, without_gradient

SAMPLES, RAY = 1 << 17, 64
NETWORKS = [(32, 64, 1, 16), (32, 64, 2, 3)]
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
PRIMES = (1, 2_654_435_761, 805_459_861)
BAR = 0.25
# How vertices are read: in one operation, with one derivative for all, or with one that counts.
HOWS = ("bag", "index", "count")


class Interpolation(torch.autograd.Function):
    """Sums of weighted vertices, whose derivative is counted up entry by entry."""

    @staticmethod
    def forward(ctx, values, entries, weights):
        ctx.save_for_backward(entries, weights)
        ctx.n_entries = len(values)
        return (functional.embedding(entries, values) * weights[..., None]).sum(2)

    @staticmethod
    def backward(ctx, grad):
        entries, weights = ctx.saved_tensors
        columns = [
            torch.bincount(entries.view(-1), (weights * g[..., None]).view(-1), ctx.n_entries)
            for g in grad.unbind(2)
        ]
        return torch.stack(columns, 1).to(grad.dtype), None, None


class HashGrid(torch.nn.Module):
    """[Mueller22]: two features at each vertex of 16 grids; values of a level after the coarser ones."""

    def __init__(self, log2_entries, finest, base=16, levels=16, how="bag"):
        super().__init__()
        growth = math.log(finest / base) / (levels - 1)
        resolutions = [int(base * math.exp(growth * level) + 1e-6) for level in range(levels)]
        most = 1 << log2_entries
        entries = [min((r + 1) ** 3, most) for r in resolutions]
        dense = [(r + 1) ** 3 <= most for r in resolutions]
        factors = [(1, r + 1, (r + 1) ** 2) if d else PRIMES for r, d in zip(resolutions, dense)]
        first = [sum(entries[:level]) for level in range(levels)]
        # 32 bits are enough, wrapped around as in the paper's code, and halve the traffic.
        factors = torch.tensor(factors) & 0xFFFF_FFFF
        factors = torch.where(factors >= 1 << 31, factors - (1 << 32), factors).to(torch.int32)
        self.register_buffer("factors", factors)
        self.register_buffer("resolutions", torch.tensor(resolutions, dtype=torch.float32))
        self.register_buffer("first", torch.tensor(first, dtype=torch.int32))
        corners = torch.tensor([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])
        self.register_buffer("corners", corners.to(torch.int32))
        self.n_dense, self.mask, self.how = sum(dense), most - 1, how
        self.values = torch.nn.Parameter(1e-4 * (2 * torch.rand(sum(entries), 2) - 1))

    def cells(self, points):
        """Entries and weights of the eight vertices, both [S, levels, 8]."""
        x = points.clamp(0, 1)[:, None] * self.resolutions[:, None]
        low = torch.minimum(x.floor(), self.resolutions[:, None] - 1)
        far = x - low
        near_term = low.to(torch.int32) * self.factors
        terms = torch.stack((near_term, near_term + self.factors), 2)
        shares = torch.stack((1 - far, far), 2)
        (x, y, z), d = self.corners.unbind(1), self.n_dense
        x, y, z = (terms[:, :, side, axis] for axis, side in enumerate((x, y, z)))
        sums = (x[:, :d] + y[:, :d]) + z[:, :d]
        hashes = (x[:, d:] ^ y[:, d:] ^ z[:, d:]) & self.mask
        entries = torch.cat((sums, hashes), 1) + self.first[:, None]
        x, y, z = (shares[:, :, side, axis] for axis, side in enumerate(self.corners.unbind(1)))
        return entries, x * y * z

    def forward(self, points):
        with torch.no_grad():
            entries, weights = self.cells(points)
        if self.how == "count":
            return Interpolation.apply(self.values, entries, weights).flatten(1)
        if self.how == "bag":
            entries, weights = entries.flatten(0, 1), weights.flatten(0, 1)
            features = functional.embedding_bag(
                entries, self.values, mode="sum", per_sample_weights=weights
            )
            return features.view(len(points), -1)
        vertices = functional.embedding(entries, self.values)
        return (vertices * weights[..., None]).sum(2).flatten(1)


def mlp(inputs, width, layers, outputs):
    sizes = [inputs, *[width] * layers, outputs]
    parts = []
    for a, b in zip(sizes, sizes[1:]):
        parts += [torch.nn.Linear(a, b, bias=False), torch.nn.ReLU()]
        torch.nn.init.xavier_uniform_(parts[-2].weight)
    return torch.nn.Sequential(*parts[:-1])


def volume_weights(ray, first, density, lengths):
    """Of samples that lie one ray after the other; `ray` [S] is the ray of each, `first` [R] where it begins."""
    thickness = density * lengths
    # A sum over all rays is long: in f64, it is as good as one over each.
    before = torch.cumsum(thickness.double(), 0) - thickness
    before = (before - before[first.clamp(max=len(ray) - 1)][ray]).float()
    return torch.exp(-before) * -torch.expm1(-thickness)


def accumulate(ray, n_rays, weights, values):
    sums = torch.zeros(n_rays, values.shape[1])
    return sums.index_add(0, ray, weights[:, None] * values)


def adam(parameters, rate=1e-2):
    return torch.optim.Adam(parameters, rate, (0.9, 0.99), 1e-15, fused=True)


def compiled(work, wanted):
    return torch.compile(work, dynamic=True) if wanted else work


def encoding():
    """Yields (row, variant, work), as all of these do."""
    points = torch.rand(SAMPLES, 3)
    for how in HOWS:
        for kind in ("", " compiled"):
            grid = HashGrid(17, 2048, how=how)
            encode = compiled(grid, kind)
            optimizer, grad = adam(grid.parameters()), torch.randn(SAMPLES, 32)

            def step(encode=encode, optimizer=optimizer, grad=grad):
                encode(points).backward(grad)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

            name, variant = "hash grid 16x2 2^17", f"f32 {how}{kind}"
            yield f"{name}, encoding", variant, without_gradient(partial(encode, points))
            yield f"{name}, step", variant, step


def network(sizes):
    inputs, width, layers, outputs = sizes
    name = f"MLP {inputs} -> {layers} x {width} -> {outputs}"
    for precision, dtype in TYPES.items():
        for kind in ("", " compiled"):
            plain = mlp(*sizes).to(dtype)
            net = compiled(plain, kind)
            x = torch.randn(SAMPLES, inputs, dtype=dtype, requires_grad=True)
            y = torch.randn(SAMPLES, outputs, dtype=dtype)

            def both(net=net, leaves=(x, *plain.parameters()), x=x, y=y):
                torch.autograd.grad(net(x), leaves, y)

            yield f"{name} forward", precision + kind, without_gradient(partial(net, x))
            yield f"{name} forward + backward", precision + kind, both


def rendering():
    n_rays = SAMPLES // RAY
    density = torch.randn(SAMPLES).abs().requires_grad_()
    colors = torch.randn(SAMPLES, 3, requires_grad=True)
    lengths, grad = torch.full((SAMPLES,), 0.02), torch.randn(n_rays, 3)
    ray, first = torch.arange(n_rays).repeat_interleave(RAY), torch.arange(n_rays) * RAY

    def packed(density, colors):
        return accumulate(ray, n_rays, volume_weights(ray, first, density, lengths), colors)

    def padded(density, colors):
        thickness = (density * lengths).view(n_rays, RAY)
        before = torch.cumsum(thickness, 1) - thickness
        weights = torch.exp(-before) * -torch.expm1(-thickness)
        return (weights[..., None] * colors.view(n_rays, RAY, 3)).sum(1)

    for how, render in (("packed", packed), ("padded", padded)):
        for kind in ("", " compiled"):
            work = compiled(render, kind)

            def step(work=work):
                torch.autograd.grad(work(density, colors), (density, colors), grad)

            yield f"volume rendering, {RAY} samples a ray, step", f"f32 {how}{kind}", step


class Views:
    """All rays of the posed pictures of a Blender file, in the cube of half side `bound`."""

    def __init__(self, folder, split, bound):
        spec = json.loads((folder / f"transforms_{split}.json").read_text())
        origins, dirs, pixels = [], [], []
        for frame in spec["frames"]:
            picture = Image.open(folder / f"{frame['file_path']}.png").convert("RGBA")
            rgba = torch.from_numpy(numpy.array(picture)).float() / 255
            height, width = rgba.shape[:2]
            focal = width / 2 / math.tan(spec["camera_angle_x"] / 2)
            y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
            x, y = (x + 0.5 - width / 2) / focal, -(y + 0.5 - height / 2) / focal
            pose = torch.tensor(frame["transform_matrix"])
            dir = torch.stack((x, y, -torch.ones_like(x)), -1) @ pose[:3, :3].T
            dirs.append(functional.normalize(dir, dim=-1).view(-1, 3))
            origins.append((pose[:3, 3] / bound).expand(width * height, 3))
            pixels.append(rgba.view(-1, 4))
        self.n_pictures = len(pixels)
        self.origins, self.dirs, self.pixels = map(torch.cat, (origins, dirs, pixels))


class Occupancy:
    """Which cells of the box [-1, 1]^3 hold anything [Mueller22, appendix C]."""

    def __init__(self, spec, step):
        self.n, self.share, self.length = spec["resolution"], spec["share"], step
        self.decay, self.threshold = spec["decay"], spec["threshold"]
        self.full_updates, self.updates = spec["full_updates"], 0
        self.opacity = torch.zeros(self.n**3)
        self.set(torch.ones(self.n**3, dtype=torch.bool))

    def set(self, occupied):
        self.occupied = occupied
        # Cells near occupied ones, as far as half a stride of samples reaches.
        reach = math.ceil(STRIDE / 2 * self.length / (2 / self.n)) + 1
        grid = occupied.view(1, 1, self.n, self.n, self.n).float()
        for axis in range(3):
            kernel, padding = [1, 1, 1], [0, 0, 0]
            kernel[axis], padding[axis] = 2 * reach + 1, reach
            grid = functional.max_pool3d(grid, kernel, 1, padding)
        self.near = grid.view(-1) > 0

    def cell(self, points):
        x, y, z = ((points + 1) * (self.n / 2)).clamp(0, self.n - 1).int().unbind(-1)
        return (z * self.n + y) * self.n + x

    def update(self, density):
        n_cells = self.n**3
        if self.updates < self.full_updates:
            cells = torch.arange(n_cells)
        else:
            n = n_cells // self.share
            occupied = self.occupied.nonzero().view(-1)
            some = occupied[torch.randint(max(len(occupied), 1), (n,))] if len(occupied) else occupied
            cells = torch.cat((torch.randint(n_cells, (n,)), some))
        corner = torch.stack((cells % self.n, cells // self.n % self.n, cells // self.n**2), 1)
        points = (corner + torch.rand(len(cells), 3)) * (2 / self.n) - 1
        seen = torch.cat([-torch.expm1(-density(part) * self.length) for part in points.split(1 << 16)])
        self.opacity *= self.decay
        self.opacity[cells] = torch.maximum(self.opacity[cells], seen)
        self.updates += 1
        self.set(self.opacity > min(float(self.opacity.mean()), self.threshold))


STRIDE = 8


def march(origins, dirs, grid, jitter):
    """Samples at a fixed step in occupied cells: the ray of each [S], its depth [S] and its point [S, 3]."""
    a, b = (-1 - origins) / dirs, (1 - origins) / dirs
    near = torch.minimum(a, b).amax(1).clamp(min=0)
    far = torch.maximum(a, b).amin(1)
    # Strides of samples first, whose middle is near an occupied cell, then the samples of these.
    n = math.ceil(float((far - near).max().clamp(min=0)) / (STRIDE * grid.length))
    middle = (torch.arange(n) + 0.5) * STRIDE * grid.length + near[:, None]
    points = origins[:, None] + middle[..., None] * dirs[:, None]
    inside = middle - STRIDE / 2 * grid.length < far[:, None]
    ray, stride = (inside & grid.near[grid.cell(points)]).nonzero(as_tuple=True)
    step = stride[:, None] * STRIDE + torch.arange(STRIDE)
    depth = near[ray, None] + (step + jitter[ray, None]) * grid.length
    points = origins[ray, None] + depth[..., None] * dirs[ray, None]
    kept = (depth < far[ray, None]) & grid.occupied[grid.cell(points)]
    return ray[:, None].expand_as(depth)[kept], depth[kept], points[kept]


def harmonics(dirs):
    x, y, z = dirs.unbind(1)
    xx, yy, zz = x * x, y * y, z * z
    columns = [0.28209479 * torch.ones_like(x), -0.48860251 * y, 0.48860251 * z, -0.48860251 * x]
    columns += [1.0925485 * x * y, -1.0925485 * y * z, 0.31539157 * (3 * zz - 1), -1.0925485 * x * z]
    columns += [0.54627422 * (xx - yy), -0.5900436 * y * (3 * xx - yy), 2.8906114 * x * y * z]
    columns += [-0.45704580 * y * (5 * zz - 1), 0.37317633 * z * (5 * zz - 3)]
    columns += [-0.45704580 * x * (5 * zz - 1), 1.4453057 * z * (xx - yy), -0.5900436 * x * (xx - 3 * yy)]
    return torch.stack(columns, 1)


class Field(torch.nn.Module):
    def __init__(self, spec, how):
        super().__init__()
        grid = spec["grid"]
        sizes = grid["log2_entries"], grid["finest_resolution"], grid["base_resolution"]
        self.grid = HashGrid(*sizes, grid["levels"], how)
        self.density = mlp(2 * grid["levels"], spec["density_width"], 1, 16)
        self.color = mlp(32, spec["color_width"], 2, 3)

    def geometry(self, points):
        code = self.density(self.grid(points / 2 + 0.5)).float()
        return torch.exp(code[:, 0].clamp(max=12)), code

    def forward(self, points, dirs, ray):
        density, code = self.geometry(points)
        # Of each ray once.
        color = self.color(torch.cat((code, harmonics(dirs)[ray]), 1))
        return density, torch.sigmoid(color.float())


class Training:
    """The plain twin of `dreamsmith reconstruct`, of the same spec."""

    def __init__(self, spec, folder, steps, variant):
        kind, how, *compile = variant.split()
        field, self.spec = spec["field"], spec
        self.march_spec = field["march"]
        self.views = Views(folder, "train", spec["bound"]["half_side"])
        self.field = Field(field["network"], how)
        self.look = compiled(self.field, compile)
        self.geometry = compiled(self.field.geometry, compile)
        step = 2 * math.sqrt(3) / self.march_spec["diagonal_samples"]
        self.grid = Occupancy(field["occupancy"], step)
        self.optimizer = adam(self.field.parameters())
        self.precision = partial(torch.autocast, "cpu", torch.bfloat16, enabled=kind == "bf16")
        self.steps, self.done, self.n_rays = steps, 0, 1024

    def density(self, points):
        with torch.no_grad(), self.precision():
            return self.geometry(points)[0]

    def see(self, origins, dirs, jitter):
        """Colours and final transmittances of rays, and the samples looked at, as many as the spec has."""
        with torch.no_grad():
            ray, depth, points = march(origins, dirs, self.grid, jitter)
            n = len(ray)
            if n == 0:
                return torch.zeros(len(origins), 3), torch.ones(len(origins), 1), 0
            lengths = torch.full_like(depth, self.grid.length)
            first = torch.searchsorted(ray, torch.arange(len(origins)))
            thickness = (self.density(points) * lengths).double()
            before = torch.cumsum(thickness, 0) - thickness
            before = before - before[first.clamp(max=n - 1)][ray]
            seen = before < -math.log(self.march_spec["least_transmittance"])
            ray, points, lengths = ray[seen], points[seen], lengths[seen]
            first = torch.searchsorted(ray, torch.arange(len(origins)))
        with self.precision():
            density, colors = self.look(points, dirs, ray)
        weights = volume_weights(ray, first, density, lengths)
        sums = accumulate(ray, len(origins), weights, torch.cat((colors, torch.ones(len(ray), 1)), 1))
        return sums[:, :3], 1 - sums[:, 3:], n

    def step(self):
        if self.done and self.done % self.spec["field"]["occupancy"]["every"] == 0:
            self.grid.update(self.density)
        optimizer, progress = self.spec["optimizer"], self.done / self.steps
        for group in self.optimizer.param_groups:
            rise = min((self.done + 1) / max(optimizer["warm_up"], 1), 1)
            group["lr"] = rise * optimizer["peak"] ** (1 - progress) * optimizer["floor"] ** progress
        pick = torch.randint(len(self.views.pixels), (self.n_rays,))
        rgba, behind = self.views.pixels[pick], torch.rand(self.n_rays, 3)
        origins, dirs = self.views.origins[pick], self.views.dirs[pick]
        color, left, n = self.see(origins, dirs, torch.rand(self.n_rays))
        wanted = rgba[:, :3] * rgba[:, 3:] + behind * (1 - rgba[:, 3:])
        error, delta = (color + left * behind - wanted).abs(), self.spec["loss"]["delta"]
        loss = torch.where(error > delta, 2 * delta * error - delta**2, error**2).mean()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.done += 1
        # As many rays as will have the asked samples.
        wanted = self.march_spec["samples"] / max(n, 1) * self.n_rays
        self.n_rays = int(min(max(wanted, 64), self.march_spec["rays"]))
        return n

    def psnr(self, folder):
        views = Views(folder, "test", self.spec["bound"]["half_side"])
        squares = []
        with torch.no_grad():
            for picture in torch.arange(len(views.pixels)).chunk(views.n_pictures):
                square = 0
                for part in picture.split(1 << 12):
                    half = torch.full((len(part),), 0.5)
                    color, left, _ = self.see(views.origins[part], views.dirs[part], half)
                    rgba = views.pixels[part]
                    wanted = rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]
                    square += float(((color + left - wanted) ** 2).sum())
                squares.append(square / 3 / len(picture))
        return -10 * sum(map(math.log10, squares)) / len(squares)


def calibrated(spec, folder, steps):
    """The fastest of PyTorch's variants on this machine, by a few steps once rays are in their stride."""
    rates = {}
    for kind in TYPES:
        for how in HOWS:
            for compile in ("", " compiled"):
                training = Training(spec, folder, steps, f"{kind} {how}{compile}")
                for _ in range(6):
                    training.step()
                start, n = time.perf_counter(), sum(training.step() for _ in range(6))
                rates[f"{kind} {how}{compile}"] = n / (time.perf_counter() - start)
    for variant, rate in rates.items():
        print(f"training, {variant}: {rate / 1e6:.3f} M samples/s", file=sys.stderr, flush=True)
    return max(rates, key=rates.get)


def train(options):
    """Both learn the same pictures, by steps of as many samples; ours may take more of them to reach the same PSNR."""
    with tempfile.TemporaryDirectory() as out:
        folder = options.data.absolute()
        our_steps = options.our_steps or options.steps
        shared = ["reconstruct", str(folder), "--bound", str(options.bound), "--steps", str(our_steps)]
        command = [str(options.program), *shared, "--json", "--quiet", "--threads", str(options.threads)]
        spec = json.loads(output([*command, "--print-spec"]))
        variant = options.variant or calibrated(spec, folder, options.steps)
        ours = json.loads(output([*command, "-o", f"{out}/run"]))
    torch.manual_seed(0)
    training = Training(spec, folder, options.steps, variant)
    if variant.endswith("compiled"):
        Training(spec, folder, options.steps, variant).step()
    start, n = time.perf_counter(), 0
    for step in range(options.steps):
        n += training.step()
        if step % 100 == 99:
            print(f"PyTorch: step {step + 1}, {time.perf_counter() - start:.0f} s", file=sys.stderr)
    seconds = time.perf_counter() - start
    theirs = {"seconds": seconds, "psnr": training.psnr(folder), "samples_per_second": n / seconds}
    yield f"Training on `{folder.name}`: steps of {spec['field']['march']['samples']} samples, PyTorch {variant}."
    yield ""
    yield "| | steps | time | samples/s | test PSNR |"
    yield "|---|---|---|---|---|"
    for name, steps, it in (("ours", our_steps, ours), ("PyTorch", options.steps, theirs)):
        rate = it["samples_per_second"] / 1e6
        yield f"| {name} | {steps} | {it['seconds']:.1f} s | {rate:.2f} M | {it['psnr']:.2f} dB |"
    ratio = ours["seconds"] / theirs["seconds"]
    yield ""
    yield f"Ratio of the times {ratio:.3f}, bar {BAR}: {'holds' if ratio <= BAR else '**does not hold**'}."


def parts(options):
    table, said = Table(), None
    groups = [("hash grid 16x2 2^17", encoding), ("volume rendering", rendering)]
    groups += [(f"MLP {i} -> {n} x {w} -> {o}", partial(network, (i, w, n, o))) for i, w, n, o in NETWORKS]
    for number in range(options.rounds):
        for name, theirs in groups:
            print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
            said = dreamsmith(options, "--filter", name, "--seconds", str(options.seconds))
            table.add_ours(said)
            for row, variant, work in theirs():
                Table.keep(table.theirs, row, variant, measure(work, options.seconds))
    return table, said


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, default=ROOT / "target/release/dreamsmith")
    parser.add_argument("--data", type=Path, help="posed pictures with transforms_train.json; a training on them")
    parser.add_argument("--bound", type=float, default=1.0, help="half side of the cube that the field fills")
    parser.add_argument("--steps", type=int, default=1000, help="of the training")
    parser.add_argument("--our-steps", type=int, help="of our training, if not as many")
    parser.add_argument("--variant", help="of PyTorch in the training, as `f32 bag compiled`; else the fastest")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row and variant")
    parser.add_argument("--rounds", type=int, default=2, help="of the parts; 0 leaves them out")
    parser.add_argument("--no-log", action="store_true", help="do not append to bench/log.md")
    options = parser.parse_args()
    options.program = options.program.absolute()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    lines = []
    if options.rounds:
        table, said = parts(options)
        lines += [f"{said['machine']['cpu']}, {said['machine']['isa']}.", "", *table.lines(), ""]
    if options.data:
        lines += [*train(options), ""]
    commit = output(["git", "describe", "--always", "--dirty", "--abbrev=12"]).strip()
    section = "\n".join(
        [
            f"## Radiance fields, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, commit {commit}",
            "",
            f"PyTorch {torch.__version__}, Python {platform.python_version()}, {options.threads} threads.",
            *lines,
        ]
    )
    print(section)
    if not options.no_log:
        with LOG.open("a") as log:
            log.write("\n" + section)


if __name__ == "__main__":
    main()
