#!/usr/bin/env python3
"""Encodes sentences with crates/nets and with transformers, and measures how far apart they are.

    cargo build --release --workspace --examples
    python tools/parity/text.py ENCODER [--program target/release/examples/encode_text] [--f16 COPY]

ENCODER is a folder of transformers: config.json, model.safetensors, tokenizer.json. Prints the relative error
of the states and of the pooled vectors over 20 sentences, and exits 1 if either is above --limit. With --f16
the encoder is first copied to COPY in half precision, and both programs read the copy; the cosines between
its pooled vectors and those of ENCODER are printed too. Wants torch, transformers and safetensors.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

SENTENCES = [
    "a red armchair",
    "a photo of a green wooden chair, front view",
    "3D emoji of a smiling cat with heart eyes",
    "overhead view of a round coffee table on a grey background",
    "",
    "bed",
    "An ANCIENT, weathered oak bookshelf (19th century); slightly tilted!",
    "Dreams may be whispered where the river bends & the willows listen...",
    "café, naïve, Zürich, façade, smörgåsbord",
    "红色的椅子",
    "赤い肘掛け椅子と小さな猫",
    "🪑🛋️ emoji only 😀",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "1,234.56 + 7e-3 = x² ≈ 42%",
    "don't can't won't it's they're",
    "[SEP] is what I typed, [MASK] too",
    "tabs\tand\nnewlines   and spaces",
    "the blue lamp stands on the yellow desk beside a black office chair with five wheels",
    "A very long sentence about furniture: " + "sofa, lamp, table, chair, desk, shelf, " * 12,
    "красное кресло и синяя лампа",
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=pathlib.Path)
    parser.add_argument("--program", default="target/release/examples/encode_text", help="the example, built")
    parser.add_argument("--f16", type=pathlib.Path, metavar="COPY", help="where to write a copy in half precision")
    parser.add_argument("--limit", type=float, default=1e-4, help="largest relative error")
    return parser.parse_args()


def reference(encoder, tokenizer):
    """States, mask and mean over the mask, as sentence-transformers pools."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer)
    model = transformers.AutoModel.from_pretrained(encoder, dtype=torch.float32).eval()
    batch = tokenizer(SENTENCES, padding=True, truncation=True, max_length=512, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].float()
    states = states * mask[..., None]
    return dict(states=states, mask=mask, pooled=states.sum(1) / mask.sum(1, keepdim=True))


def ours(args, scratch):
    prompts, out = scratch / "prompts.json", scratch / "out.safetensors"
    prompts.write_text(json.dumps(SENTENCES))
    half = ["--f16", args.encoder, args.f16] if args.f16 else [args.encoder]
    subprocess.run([args.program, *half, prompts, out], check=True)
    return load_file(out)


def main():
    args = arguments()
    whole = reference(args.encoder, args.encoder)
    with tempfile.TemporaryDirectory() as scratch:
        found = ours(args, pathlib.Path(scratch))
    wanted = reference(args.f16 / "text_encoder", args.f16 / "tokenizer") if args.f16 else whole
    if found["mask"].shape != wanted["mask"].shape or not torch.equal(found["mask"], wanted["mask"]):
        sys.exit(f"other tokens: {found['mask'].sum(1).tolist()}, wanted {wanted['mask'].sum(1).tolist()}")
    errors = {}
    for name in ["states", "pooled"]:
        errors[name] = ((found[name] - wanted[name]).norm() / wanted[name].norm()).item()
        largest = (found[name] - wanted[name]).abs().max().item()
        print(f"{name:7} relative error {errors[name]:.2e}, largest difference {largest:.2e}")
    if args.f16:
        cosines = torch.nn.functional.cosine_similarity(found["pooled"], whole["pooled"])
        print(f"f16 against f32: least cosine of the pooled vectors {cosines.min().item():.7f}")
    sys.exit(max(errors.values()) > args.limit)


if __name__ == "__main__":
    main()
