"""Tiny CLIPs with random weights and small image files."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from clipada.config import Config

WORDS = "a photo of object with defects for anomaly detection metal nut screw bolt".split()  # noqa: SIM905


def make_clip(folder: Path, *, patch: int = 8, width: int = 32, text_width: int = 24, blocks: int = 3) -> Path:
    """Write a CLIP with random weights and a tokenizer of a few words, in `transformers`' own format."""
    ids = {"<start>": 0, "<end>": 1, **{word: i for i, word in enumerate(WORDS, start=2)}}
    config = CLIPConfig(
        projection_dim=16,
        text_config={
            "hidden_size": text_width,
            "intermediate_size": 2 * text_width,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": len(ids),
            "max_position_embeddings": 77,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
            "projection_dim": 16,
        },
        vision_config={
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": blocks,
            "num_attention_heads": 2,
            "image_size": 4 * patch,
            "patch_size": patch,
            "projection_dim": 16,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>", pad_token="<end>", model_max_length=77
    )
    fast.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]})
    )
    return folder


def tiny_config(clip_folder: Path) -> Config:
    """A training of seconds on the tiny CLIP."""
    return Config().updated(
        {
            "backbone.name": str(clip_folder),
            "backbone.block": 2,
            "prompt.prefix": "a photo of a",
            "model.image_size": 32,
            "training.epochs": 3,
            "training.batch_size": 4,
            "training.milestones": (2,),
        }
    )


def save(path: Path, array: np.ndarray) -> None:
    """Write an array as an image, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PilImage.fromarray(array).save(path)


def write_products(root: Path) -> Path:
    """Two products in the MVTec AD layout: six good parts, two good and two scratched test parts each."""
    rng = np.random.default_rng(0)
    for category, base in (("plate", 90), ("disc", 170)):

        def part(scratch: bool, base: int = base) -> tuple[np.ndarray, np.ndarray]:
            image = np.clip(base + rng.normal(0, 4, (40, 48, 3)), 0, 255).astype(np.uint8)
            mask = np.zeros((40, 48), bool)
            if scratch:
                mask[10:22, 12:30] = True
                image[mask] = 250 - image[mask]
            return image, mask

        for index in range(6):
            save(root / category / "train" / "good" / f"{index:03}.png", part(False)[0])
        for index in range(2):
            save(root / category / "test" / "good" / f"{index:03}.png", part(False)[0])
            image, mask = part(True)
            save(root / category / "test" / "scratch" / f"{index:03}.png", image)
            save(root / category / "ground_truth" / "scratch" / f"{index:03}_mask.png", mask)
    return root


def write_good_parts(folder: Path, count: int, seed: int = 1) -> Path:
    """Good parts like those of ``write_products``, each its own: discs in a folder ``disc``, else plates."""
    rng = np.random.default_rng(seed)
    base = 170 if "disc" in folder.parts else 90
    for index in range(count):
        image = np.clip(base + rng.normal(0, 4, (40, 48, 3)), 0, 255)
        save(folder / f"{index:03}.png", image.astype(np.uint8))
    return folder
