#!/usr/bin/env python3
"""Compares the mesh renderer with Mitsuba 3, an independent one: mask and albedo of 24 furniture models.

    pip install mitsuba numpy pillow
    python tools/mitsuba_compare.py --furniture DIR --program target/release/dreamsmith

DIR holds the unpacked Debian package sweethome3d-furniture. The OBJ files are read here by code of its
own, so that the comparison also covers the program's reader. Models with materials that light passes
through are not chosen: Mitsuba's albedo shows the first surface only.

Bars: mask IoU >= 0.99, albedo >= 30 dB (sRGB, where both masks are full).
"""

import argparse
import io
import math
import pathlib
import posixpath
import subprocess
import sys
import tempfile
import zipfile

import mitsuba as mi
import numpy as np
from PIL import Image

SIZE, FOV, AZIMUTH, ELEVATION, SAMPLES = 256, 40.0, 35.0, 25.0, 144


def srgb_to_linear(x):
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x):
    x = np.clip(x, 0, 1)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def read_materials(archive, name):
    """{material: (linear base colour, linear texture [H, W, 3] or None)}; None if one is not opaque."""
    folder, found, current = posixpath.dirname(name), {}, None
    names = {n.lower(): n for n in archive.namelist()}
    for line in archive.read(name).decode("latin1").splitlines():
        words = line.split()
        if not words:
            continue
        key, rest = words[0].lower(), words[1:]
        if key == "newmtl":
            current = line.split(None, 1)[1].strip()
            found[current] = [np.ones(3) * srgb_to_linear(np.array(0.8)), None]
        elif key == "kd":
            found[current][0] = srgb_to_linear(np.array([float(x) for x in rest[:3]]))
        elif key == "d" and float(rest[-1]) < 1 or key == "tr" and float(rest[-1]) > 0 or key == "map_d":
            return None
        elif key == "map_kd":
            path = posixpath.normpath(posixpath.join(folder, line.split(None, 1)[1].strip().replace("\\", "/")))
            if path.lower() not in names:
                return None
            picture = Image.open(io.BytesIO(archive.read(names[path.lower()])))
            if "A" in picture.getbands() or "transparency" in picture.info:
                return None
            found[current][1] = srgb_to_linear(np.asarray(picture.convert("RGB")) / 255.0)
    return found


def read_obj(archive, name):
    """Positions, uvs, and the triangles of each material as (position, uv) index pairs."""
    verts, uvs, groups, material, libraries = [], [], {}, None, []
    for line in archive.read(name).decode("latin1").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            verts.append([float(x) for x in words[1:4]])
        elif words[0] == "vt":
            uvs.append([float(x) for x in words[1:3]])
        elif words[0] == "mtllib":
            libraries.append(line.split(None, 1)[1].strip())
        elif words[0] == "usemtl":
            material = line.split(None, 1)[1].strip()
        elif words[0] == "f":
            corners = []
            for corner in words[1:]:
                parts = corner.split("/")
                index = int(parts[0])
                uv = int(parts[1]) if len(parts) > 1 and parts[1] else 0
                index = index - 1 if index > 0 else len(verts) + index
                corners.append((index, uv - 1 if uv > 0 else len(uvs) + uv if uv < 0 else -1))
            group = groups.setdefault(material, [])
            points = np.array([verts[index] for index, _ in corners])
            group.extend(tuple(corners[i] for i in ear) for ear in ears(points))
    return np.array(verts), np.array(uvs + [[0, 0]]), groups, libraries


def ears(points):
    """Cuts a polygon, which may be concave, into triangles."""
    left = list(range(len(points)))
    following = np.roll(points, -1, 0)
    normal = np.cross(points, following).sum(0)
    # Along the longest axis of the normal the polygon is seen as flat.
    axis = int(np.abs(normal).argmax())
    flat = np.delete(points, axis, 1)
    turn = math.copysign(1, normal[axis]) * (-1 if axis == 1 else 1)

    def side(a, b, c):
        (ax, ay), (bx, by), (cx, cy) = flat[a], flat[b], flat[c]
        return turn * ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))

    while len(left) > 3:
        for i in range(len(left)):
            a, b, c = left[i - 1], left[i], left[(i + 1) % len(left)]
            others = (o for o in left if o not in (a, b, c))
            if side(a, b, c) > 0 and not any(
                    side(a, b, o) >= 0 and side(b, c, o) >= 0 and side(c, a, o) >= 0 for o in others):
                break
        else:
            i = 1
        yield left[i - 1], left[i], left[(i + 1) % len(left)]
        del left[i]
    yield tuple(left)


def fitted(verts, groups):
    """Into the ball of radius 1, as the program does it."""
    used = np.unique([c[0] for group in groups.values() for face in group for c in face])
    middle = (verts[used].min(0) + verts[used].max(0)) / 2
    return (verts - middle) / np.linalg.norm(verts[used] - middle, axis=1).max()


def shape(path, triangles, verts, uvs, color, texture):
    corners = np.array(triangles).reshape(-1, 2)
    mesh = mi.Mesh("part", len(corners), len(triangles), has_vertex_texcoords=True)
    parameters = mi.traverse(mesh)
    uv = uvs[corners[:, 1]]
    parameters["vertex_positions"] = verts[corners[:, 0]].astype(np.float32).ravel()
    parameters["vertex_texcoords"] = np.stack([uv[:, 0], 1 - uv[:, 1]], 1).astype(np.float32).ravel()
    parameters["faces"] = np.arange(len(corners), dtype=np.uint32)
    parameters.update()
    mesh.write_ply(path)
    if texture is None:
        reflectance = {"type": "rgb", "value": [float(c) for c in color]}
    else:
        # As in the program, a texture counts alone: Kd beside it is an exporter's leftover.
        bitmap = mi.Bitmap(texture.astype(np.float32))
        reflectance = {"type": "bitmap", "bitmap": bitmap, "raw": True}
    bsdf = {"type": "twosided", "inner": {"type": "diffuse", "reflectance": reflectance}}
    return {"type": "ply", "filename": path, "face_normals": True, "flip_tex_coords": False, "bsdf": bsdf}


def mitsuba_picture(shapes):
    azimuth, elevation = math.radians(AZIMUTH), math.radians(ELEVATION)
    distance = 1 / math.sin(math.radians(FOV) / 2)
    eye = [distance * math.sin(azimuth) * math.cos(elevation), distance * math.sin(elevation),
           distance * math.cos(azimuth) * math.cos(elevation)]
    scene = {
        "type": "scene",
        "integrator": {"type": "aov", "aovs": "albedo:albedo", "inner": {"type": "direct"}},
        "light": {"type": "point", "position": eye, "intensity": 1.0},
        "sensor": {
            "type": "perspective", "fov": FOV, "near_clip": 0.01, "far_clip": 100.0,
            "to_world": mi.ScalarTransform4f().look_at(origin=eye, target=[0, 0, 0], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": SIZE, "height": SIZE, "pixel_format": "rgba",
                     "rfilter": {"type": "box"}},
            "sampler": {"type": "multijitter", "sample_count": SAMPLES},
        },
    }
    scene.update({f"shape{i}": shape for i, shape in enumerate(shapes)})
    values = np.array(mi.render(mi.load_dict(scene)))
    mask = values[..., 3]
    return mask, values[..., 4:7] / np.maximum(mask, 1e-6)[..., None]


def our_picture(program, mesh, folder):
    path = folder / "ours.png"
    subprocess.run([program, "render", mesh, "-o", path, "--quiet", "--channel", "albedo", "--size", str(SIZE),
                    "--fov", str(FOV), "--azimuth", str(AZIMUTH), "--elevation", str(ELEVATION)], check=True)
    rgba = np.asarray(Image.open(path).convert("RGBA")) / 255.0
    return rgba[..., 3], rgba[..., :3]


def choose(folder, count):
    """Opaque models, evenly spread over all archives, half of them with textures."""
    plain, textured = [], []
    for path in sorted(pathlib.Path(folder).rglob("*.sh3f")):
        archive = zipfile.ZipFile(path)
        for name in sorted(n for n in archive.namelist() if n.endswith(".obj")):
            material_files = [n for n in archive.namelist()
                              if posixpath.dirname(n) == posixpath.dirname(name) and n.endswith(".mtl")]
            text = b"".join(archive.read(n) for n in material_files)
            (textured if b"map_Kd" in text else plain).append((path, name))
    for group in (textured, plain):
        step = max(1, len(group) // (count * 2))
        yield from group[step // 2::step]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--furniture", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--pictures", type=pathlib.Path, help="write ours, Mitsuba's and the difference here")
    parser.add_argument("--only", default="", help="only models whose name holds this")
    args = parser.parse_args()
    mi.set_variant("scalar_rgb")
    wanted = {True: args.count // 2, False: args.count - args.count // 2}
    compared = failed = 0
    print(f"{'model':48} {'faces':>7} {'IoU':>7} {'albedo dB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for path, name in choose(args.furniture, args.count):
            archive = zipfile.ZipFile(path)
            verts, uvs, groups, libraries = read_obj(archive, name)
            files = [posixpath.join(posixpath.dirname(name), library) for library in libraries]
            if len(files) != 1 or files[0] not in archive.namelist() or not groups:
                continue
            materials = read_materials(archive, files[0])
            if materials is None or any(key not in materials for key in groups):
                continue
            is_textured = any(materials[key][1] is not None for key in groups)
            if wanted[is_textured] == 0:
                continue
            wanted[is_textured] -= 1
            if args.only not in name:
                continue
            verts = fitted(verts, groups)
            shapes = [shape(f"{folder}/{i}.ply", faces, verts, uvs, *materials[key])
                      for i, (key, faces) in enumerate(groups.items())]
            mask, albedo = mitsuba_picture(shapes)
            our_mask, our_albedo = our_picture(args.program, f"{path}!{name}", pathlib.Path(folder))
            iou = np.minimum(mask, our_mask).sum() / np.maximum(mask, our_mask).sum()
            inside = (mask > 0.999) & (our_mask > 0.999)
            error = np.mean((linear_to_srgb(albedo) - our_albedo)[inside] ** 2)
            db = -10 * math.log10(max(error, 1e-12))
            is_bad = iou < 0.99 or db < 30
            compared += 1
            failed += is_bad
            n_faces = sum(len(faces) for faces in groups.values())
            label = f"{path.stem}!{posixpath.basename(name)}"
            print(f"{label:48} {n_faces:7} {iou:7.4f} {db:9.2f}{'  BELOW' if is_bad else ''}", flush=True)
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                theirs = linear_to_srgb(albedo) * mask[..., None]
                ours = our_albedo * our_mask[..., None]
                row = np.concatenate([ours, theirs, np.abs(ours - theirs) * 4], 1)
                Image.fromarray((np.clip(row, 0, 1) * 255).astype(np.uint8)).save(
                    args.pictures / f"{path.stem}-{posixpath.basename(name)}.png")
    print(f"{compared} models, {failed} below a bar")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
