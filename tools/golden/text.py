#!/usr/bin/env python3
"""Golden values for the text encoders of crates/nets, from transformers.

    python tools/golden/text.py            # writes testdata/text/<case>/

Each case is a tiny encoder with random weights and a tokenizer of our own making, saved as transformers saves
them, with the states of PROMPTS beside them in io.safetensors: `states`, `penultimate`, `mask` and `pooled`,
all f32. The reference pads and masks in its own way; states of what it masks are set to 0.
"""

import json
import pathlib
import shutil

import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "text"

PROMPTS = [
    "a red chair",
    "",
    "Two RED chairs, and a 3D lamp!",
    "ein Stühlchen 🪑 椅子",
]

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def wordpiece():
    """Lower case, words, pieces of words; [CLS] before and [SEP] after."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LETTERS, *(f"##{c}" for c in LETTERS), *"0123456789!,", "##d", "##s"]
    pieces += ["red", "chair", "lamp", "and", "two", "椅", "st", "##uhl"]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    # As the files of sentence-transformers do; both are the encoder's business here.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    return tokenizer, dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")


def unigram():
    """Pieces of sentences, `▁` for a space; </s> after."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁a", "▁red", "▁chair", "s", "▁two", "▁and", "▁3", "D", "chen", "椅子"]
    pieces += [c for c in LETTERS + LETTERS.upper() + "!,"]
    pieces = list(dict.fromkeys(pieces))
    scores = [0.0, 0.0, 0.0, *(-2.0 - 0.1 * i for i in range(len(pieces) - 3))]
    tokenizer = tokenizers.Tokenizer(models.Unigram(list(zip(pieces, scores)), unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer, dict(unk_token="<unk>", pad_token="<pad>", eos_token="</s>")


def byte_pairs(pad):
    """CLIP's: lower case, bytes as letters, `</w>` at the end of a word; a start and an end around."""

    def make():
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = [("r", "e"), ("re", "d</w>"), ("c", "h"), ("a", "i"), ("ai", "r</w>"), ("ch", "air</w>"), ("t", "w")]
        pieces = ["!", *alphabet, *(c + "</w>" for c in alphabet), *("".join(pair) for pair in merges)]
        pieces += ["<|startoftext|>", "<|endoftext|>"]
        vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
        end = "<|endoftext|>"
        tokenizer = tokenizers.Tokenizer(
            models.BPE(vocab, merges, unk_token=end, end_of_word_suffix="</w>", continuing_subword_prefix="")
        )
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        words = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(words, behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.RobertaProcessing(
            (end, vocab[end]),
            ("<|startoftext|>", vocab["<|startoftext|>"]),
            trim_offsets=False,
            add_prefix_space=False,
        )
        return tokenizer, dict(unk_token=end, pad_token=pad, bos_token="<|startoftext|>", eos_token=end)

    return make


def bert(**config):
    return transformers.BertModel(
        transformers.BertConfig(
            **dict(
                vocab_size=96,
                hidden_size=12,
                num_hidden_layers=2,
                num_attention_heads=3,
                intermediate_size=20,
                max_position_embeddings=40,
            )
            | config
        )
    )


def t5(**config):
    sizes = dict(vocab_size=80, d_model=12, d_kv=5, d_ff=18, num_layers=2, num_heads=3, dropout_rate=0.0)
    # So small that texts of a few tokens reach the rows for long distances, and the last of them.
    sizes |= dict(relative_attention_num_buckets=12, relative_attention_max_distance=10)
    return transformers.T5EncoderModel(transformers.T5Config(**sizes | config))


CLIP_TOKENS = 40


def clip(cls, **config):
    sizes = dict(vocab_size=522, hidden_size=12, intermediate_size=20, projection_dim=10, num_hidden_layers=2)
    sizes |= dict(num_attention_heads=3, max_position_embeddings=CLIP_TOKENS, bos_token_id=519, eos_token_id=520)
    return cls(transformers.CLIPTextConfig(**sizes | config))


OPENAI = dict(eos_token_id=2, hidden_act="quick_gelu")
OPENCLIP = dict(hidden_act="gelu", num_attention_heads=2)

# name: (tokenizer, model)
CASES = {
    "bert": (wordpiece, bert),
    "bert_variant": (wordpiece, lambda: bert(hidden_act="gelu_new", layer_norm_eps=1e-3, num_attention_heads=2)),
    "t5_v1_0": (unigram, t5),
    "t5_v1_1": (unigram, lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False, num_layers=3)),
    "clip_openai": (byte_pairs("<|endoftext|>"), lambda: clip(transformers.CLIPTextModel, **OPENAI)),
    "clip_openclip": (byte_pairs("!"), lambda: clip(transformers.CLIPTextModelWithProjection, **OPENCLIP)),
}


def mean_pooled(states, mask):
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def masked_values(tokenizer, model):
    batch = tokenizer(PROMPTS, padding=True, truncation=False, return_tensors="pt")
    batch.pop("token_type_ids", None)
    found = model(**batch, output_hidden_states=True)
    mask = batch["attention_mask"].float()
    return dict(
        states=found.last_hidden_state * mask[..., None],
        penultimate=found.hidden_states[-2] * mask[..., None],
        pooled=mean_pooled(found.last_hidden_state, mask),
        mask=mask,
    )


def clip_values(tokenizer, model):
    """As the pipelines of diffusers: always filled up, no mask."""
    batch = tokenizer(PROMPTS, padding="max_length", max_length=CLIP_TOKENS, truncation=True, return_tensors="pt")
    found = model(batch["input_ids"], output_hidden_states=True)
    return dict(
        states=found.last_hidden_state,
        penultimate=found.hidden_states[-2],
        pooled=found.text_embeds if "text_embeds" in found else found.pooler_output,
        mask=torch.ones(batch["input_ids"].shape),
    )


def write_case(name, seed):
    make_tokenizer, make_model = CASES[name]
    tokenizer, special = make_tokenizer()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)
    torch.manual_seed(seed)
    model = make_model().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # Away from the ones and zeros that norms begin with, and large enough to matter.
            parameter.mul_(2.0).add_(0.15 * torch.randn(parameter.shape))
        io = clip_values(tokenizer, model) if name.startswith("clip") else masked_values(tokenizer, model)

    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file({key: value.contiguous() for key, value in io.items()}, folder / "io.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    n_tokens = io["mask"].sum(1).int().tolist()
    print(f"{name:16} {sum(p.numel() for p in model.parameters()):7} parameters, {size // 1024:3} KiB, {n_tokens} tokens")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(CASES):
        write_case(name, seed)
    (OUT / "prompts.json").write_text(json.dumps(PROMPTS, ensure_ascii=False, indent=2) + "\n")
    (OUT / "README.md").write_text(
        "# Golden values for the text encoders of crates/nets\n\n"
        f"Written by `tools/golden/text.py` with transformers {transformers.__version__}, tokenizers "
        f"{tokenizers.__version__} and torch {torch.__version__}.\n\n"
        "Each folder is a tiny random-weight encoder with a tokenizer of our own, as transformers saves them, with\n"
        "`io.safetensors`: what it makes of `prompts.json`.\n"
    )


if __name__ == "__main__":
    main()
