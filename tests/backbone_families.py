"""Tiny checkpoints with random weights of every family of backbones, in `transformers`' own format."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    DeiTConfig,
    DeiTModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    IJepaConfig,
    IJepaModel,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    ViTConfig,
    ViTModel,
)

from tiny import WORDS, make_clip

SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
WIDE = {**SIZES, "intermediate_size": 64}
TEXT = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": len(WORDS) + 2,
    "max_position_embeddings": 32,
    "projection_size": 24,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}

FAMILIES = {
    "dinov2": lambda: Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2)),
    "dinov2-gated": lambda: Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, use_swiglu_ffn=True)),
    "dinov2-registers": lambda: Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(**SIZES, mlp_ratio=2, num_register_tokens=3)
    ),
    "dinov3": lambda: DINOv3ViTModel(DINOv3ViTConfig(**WIDE, num_register_tokens=4)),
    "dinov3-gated": lambda: DINOv3ViTModel(DINOv3ViTConfig(**WIDE, num_register_tokens=4, use_gated_mlp=True)),
    "vit": lambda: ViTModel(ViTConfig(**WIDE), add_pooling_layer=False),
    "deit": lambda: DeiTModel(DeiTConfig(**WIDE), add_pooling_layer=False),
    "ijepa": lambda: IJepaModel(IJepaConfig(**WIDE), add_pooling_layer=False),
    "siglip": lambda: SiglipModel(SiglipConfig(text_config=TEXT, vision_config={**WIDE, "vision_use_head": True})),
    "siglip2": lambda: Siglip2Model(
        Siglip2Config(text_config=TEXT, vision_config={**WIDE, "num_patches": 16, "vision_use_head": True})
    ),
}
"""Builders of every family but CLIP, by name."""


def make_backbone(folder: Path, name: str) -> Path:
    """Write a checkpoint of a family into ``folder``."""
    if name == "clip":
        return make_clip(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FAMILIES[name]()
        for key, parameter in model.named_parameters():
            scale = "lambda1" in key or "norm" in key
            torch.nn.init.normal_(parameter, mean=float(scale), std=0.2 if scale else 0.1)
    model.save_pretrained(folder)
    normalization = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(normalization))
    if name.startswith("siglip"):
        ids = {"<unk>": 0, "<eos>": 1, **{word: i for i, word in enumerate(WORDS, start=2)}}
        tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>", pad_token="<eos>", model_max_length=32
        )
        fast.save_pretrained(folder)
    return folder
