#!/usr/bin/env python3
"""Golden values for crates/nets, from diffusers.

    python tools/golden/nets.py            # writes testdata/nets/<case>/ and testdata/nets/full_size.json

Each case is a tiny U-Net with random weights, saved as a diffusers folder (config.json and
diffusion_pytorch_model.safetensors), with inputs and outputs beside it in io.safetensors, all f32.
full_size.json holds, for configs of published models, the number of tensors and parameters and a
hash of all names and shapes, found on torch's meta device without allocating anything.
"""

import json
import pathlib
import shutil

import diffusers
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "nets"

TINY = dict(sample_size=8, block_out_channels=[4, 8], layers_per_block=1, norm_num_groups=2)
PLAIN = dict(down_block_types=["DownBlock2D", "DownBlock2D"], up_block_types=["UpBlock2D", "UpBlock2D"])
CROSS = dict(
    down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"],
    cross_attention_dim=6,
    attention_head_dim=2,
)
IF = dict(
    TINY,
    act_fn="gelu",
    time_embedding_act_fn="gelu",
    in_channels=3,
    out_channels=6,
    down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
    attention_head_dim=4,
    cross_attention_dim=32,
    cross_attention_norm="group_norm",
    encoder_hid_dim=16,
    encoder_hid_dim_type="text_proj",
    addition_embed_type="text",
    addition_embed_type_num_heads=4,
    resnet_time_scale_shift="scale_shift",
)

# name: (class, config, inputs beside sample and timestep)
CASES = {
    "uncond": (
        UNet2DModel,
        dict(
            TINY,
            down_block_types=["DownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "UpBlock2D"],
            attention_head_dim=2,
        ),
        {},
    ),
    "uncond_class": (
        UNet2DModel,
        dict(
            TINY,
            **PLAIN,
            num_class_embeds=5,
            attention_head_dim=None,
            downsample_padding=0,
            freq_shift=1,
            flip_sin_to_cos=False,
            act_fn="relu",
        ),
        dict(class_labels="label"),
    ),
    "uncond_resnet_resampling": (
        UNet2DModel,
        dict(
            TINY,
            down_block_types=["AttnDownBlock2D", "AttnDownBlock2D"],
            up_block_types=["AttnUpBlock2D", "AttnUpBlock2D"],
            attention_head_dim=4,
            downsample_type="resnet",
            upsample_type="resnet",
            resnet_time_scale_shift="scale_shift",
            mid_block_scale_factor=1.4142135,
            class_embed_type="timestep",
            center_input_sample=True,
            time_embedding_dim=12,
        ),
        dict(class_labels="label"),
    ),
    "uncond_resnet_blocks": (
        UNet2DModel,
        dict(
            TINY,
            down_block_types=["ResnetDownsampleBlock2D", "DownBlock2D"],
            up_block_types=["UpBlock2D", "ResnetUpsampleBlock2D"],
            add_attention=False,
            act_fn="mish",
        ),
        {},
    ),
    "sd1": (UNet2DConditionModel, dict(TINY, **CROSS), dict(mask=True, height=7, width=6)),
    "sd2": (
        UNet2DConditionModel,
        dict(
            TINY,
            down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            cross_attention_dim=6,
            attention_head_dim=[1, 4],
            use_linear_projection=True,
            dual_cross_attention=False,
            upcast_attention=True,
        ),
        {},
    ),
    "sd_upscaler": (
        UNet2DConditionModel,
        dict(
            TINY,
            **{
                **CROSS,
                "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
                "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            },
            in_channels=7,
            only_cross_attention=[True, True],
            num_class_embeds=9,
            use_linear_projection=True,
        ),
        dict(class_labels="label", mask=True),
    ),
    "sdxl": (
        UNet2DConditionModel,
        dict(
            TINY,
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
            cross_attention_dim=6,
            attention_head_dim=[2, 4],
            use_linear_projection=True,
            transformer_layers_per_block=[1, 2],
            addition_embed_type="text_time",
            addition_time_embed_dim=4,
            projection_class_embeddings_input_dim=6 * 4 + 5,
        ),
        dict(text_time=5),
    ),
    "asymmetric": (
        UNet2DConditionModel,
        dict(
            {**TINY, "layers_per_block": [1, 2]},
            **CROSS,
            transformer_layers_per_block=[[2], 1],
            reverse_transformer_layers_per_block=[1, [0, 2]],
            mid_block_type="UNetMidBlock2D",
            conv_in_kernel=1,
            conv_out_kernel=5,
            downsample_padding=0,
        ),
        dict(height=5, width=5),
    ),
    "if1": (UNet2DConditionModel, IF, dict(text=16, mask=True)),
    "if2": (
        UNet2DConditionModel,
        dict(
            IF,
            in_channels=6,
            class_embed_type="timestep",
            only_cross_attention=True,
            mid_block_only_cross_attention=False,
            resnet_skip_time_act=True,
            resnet_out_scale_factor=1.4142135,
            mid_block_scale_factor=1.4142135,
        ),
        dict(class_labels="number", text=16),
    ),
    "class_projection": (
        UNet2DConditionModel,
        dict(
            TINY,
            **CROSS,
            class_embed_type="projection",
            projection_class_embeddings_input_dim=3,
            class_embeddings_concat=True,
        ),
        dict(class_labels=3),
    ),
    "class_simple_projection": (
        UNet2DConditionModel,
        dict(TINY, **CROSS, class_embed_type="simple_projection", projection_class_embeddings_input_dim=3),
        dict(class_labels=3),
    ),
    "class_identity": (
        UNet2DConditionModel,
        dict(TINY, **CROSS, class_embed_type="identity", mid_block_type=None),
        dict(class_labels=16),
    ),
}

SD = dict(
    sample_size=64,
    down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
    up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    block_out_channels=[320, 640, 1280, 1280],
)
DEEPFLOYD = dict(
    act_fn="gelu",
    time_embedding_act_fn="gelu",
    addition_embed_type="text",
    addition_embed_type_num_heads=64,
    attention_head_dim=64,
    cross_attention_norm="group_norm",
    encoder_hid_dim=4096,
    encoder_hid_dim_type="text_proj",
    mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    resnet_time_scale_shift="scale_shift",
    out_channels=6,
)

# Written from the published configs as remembered: the widths matter less here than that every key
# of a model of full size means the same to both programs.
FULL_SIZE = {
    "stable-diffusion-1.5": dict(SD, cross_attention_dim=768, attention_head_dim=8),
    "stable-diffusion-2.1": dict(
        SD, sample_size=96, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True, upcast_attention=True
    ),
    "stable-diffusion-xl": dict(
        sample_size=128,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        block_out_channels=[320, 640, 1280],
        attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048,
        transformer_layers_per_block=[1, 2, 10],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    ),
    "if-1-m": dict(
        DEEPFLOYD,
        sample_size=64,
        in_channels=3,
        block_out_channels=[192, 384, 576, 768],
        layers_per_block=3,
        cross_attention_dim=768,
        down_block_types=["ResnetDownsampleBlock2D"] + ["SimpleCrossAttnDownBlock2D"] * 3,
        up_block_types=["SimpleCrossAttnUpBlock2D"] * 3 + ["ResnetUpsampleBlock2D"],
    ),
    "if-2-m": dict(
        DEEPFLOYD,
        sample_size=256,
        in_channels=6,
        block_out_channels=[128, 256, 512, 768, 1024],
        layers_per_block=[2, 2, 4, 4, 4],
        cross_attention_dim=1024,
        class_embed_type="timestep",
        resnet_skip_time_act=True,
        resnet_out_scale_factor=1.4142135,
        mid_block_scale_factor=1.4142135,
        down_block_types=["ResnetDownsampleBlock2D"] * 3 + ["SimpleCrossAttnDownBlock2D"] * 2,
        up_block_types=["SimpleCrossAttnUpBlock2D"] * 2 + ["ResnetUpsampleBlock2D"] * 3,
    ),
}


def write_case(name, seed):
    cls, config, extra = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    model = cls(**config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Away from the ones and zeros that norms begin with, and large enough to matter.
            parameter.mul_(0.8).add_(0.15 * torch.randn(parameter.shape, generator=generator))

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    batch = 2
    io = dict(
        sample=normal(batch, model.config.in_channels, extra.get("height", 8), extra.get("width", 8)),
        timestep=torch.tensor([7.0, 731.0]),
    )
    arguments = dict(io)
    if cls is UNet2DConditionModel:
        io["encoder_hidden_states"] = normal(batch, 5, extra.get("text", model.config.cross_attention_dim))
        arguments["encoder_hidden_states"] = io["encoder_hidden_states"]
    match extra.get("class_labels"):
        case None:
            pass
        case "label":
            arguments["class_labels"] = torch.tensor([3, 1])
            io["class_labels"] = torch.tensor([3.0, 1.0])
        case "number":
            arguments["class_labels"] = io["class_labels"] = torch.tensor([250.0, 40.0])
        case features:
            arguments["class_labels"] = io["class_labels"] = normal(batch, features)
    if extra.get("mask"):
        io["mask"] = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
        arguments["encoder_attention_mask"] = io["mask"]
    if features := extra.get("text_time"):
        added = dict(
            text_embeds=normal(batch, features),
            time_ids=torch.tensor([[512.0, 512, 0, 0, 512, 512], [1024, 768, 3, 9, 1024, 1024]]),
        )
        io.update(added)
        arguments["added_cond_kwargs"] = added
    with torch.no_grad():
        io["output"] = model(**arguments).sample.contiguous()

    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    save_file(io, folder / "io.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name:28} {sum(p.numel() for p in model.parameters()):7} parameters, {size // 1024:3} KiB")


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return value


def full_size(config):
    with torch.device("meta"):
        model = UNet2DConditionModel(**config)
    shapes = {name: list(p.shape) for name, p in model.state_dict().items()}
    lines = "".join(f"{name} {'x'.join(map(str, shape))}\n" for name, shape in sorted(shapes.items()))
    return dict(
        config=config,
        n_tensors=len(shapes),
        n_parameters=sum(p.numel() for p in model.parameters()),
        fnv1a=f"{fnv1a(lines):016x}",
    )


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(CASES):
        write_case(name, seed)
    found = {name: full_size(config) for name, config in FULL_SIZE.items()}
    for name, model in found.items():
        print(f"{name:28} {model['n_parameters']:11} parameters in {model['n_tensors']} tensors")
    (OUT / "full_size.json").write_text(json.dumps(found, indent=2) + "\n")
    (OUT / "README.md").write_text(
        "# Golden values for crates/nets\n\n"
        f"Written by `tools/golden/nets.py` with diffusers {diffusers.__version__} and torch {torch.__version__}.\n\n"
        "Each folder is a tiny random-weight U-Net as diffusers saves it, with `io.safetensors`: the\n"
        "inputs (class labels and masks as f32) and the `output`. `full_size.json`: configs of published\n"
        "models with the count and an FNV-1a hash of the lines `name 320x4x3x3`, sorted by name.\n"
    )


if __name__ == "__main__":
    main()
