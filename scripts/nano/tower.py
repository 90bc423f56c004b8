"""CLIP model to train: `transformers`' own modules, and heads that only the training needs."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Generator, Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from clipada.randomness import derived_generator
from nano.captions import GROUPS, all_texts
from nano.first_values import set_first_values, set_first_words
from nano.scenes import Palette, draw_scenes
from nano.spectra import CHANNELS, log_spectra

START, END = "<|startoftext|>", "<|endoftext|>"
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""Pattern of CLIP's tokenizer that splits text into words."""

CONTEXT = 77
MERGES = 700
"""Largest number of merges of the byte-pair tokenizer."""

PATCH, IMAGE_SIZE = 8, 256
WIDTH, BLOCKS, HEADS, EMBEDDING = 128, 4, 4, 128
TEXT_WIDTH, TEXT_BLOCKS, TEXT_HEADS = 128, 3, 2

MIDDLE = 2
"""Block, counted from 1, whose patches are aligned in addition to those of the last."""

SAMPLED = 64
"""Number of scenes that determine the mean and deviation of spectra."""

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
"""Normalization of pixel values 0..1."""


def build_tokenizer(generator: Generator) -> CLIPTokenizer:
    """Learn a byte-pair tokenizer of CLIP's kind from captions and prompt words; any other word falls back to bytes."""
    texts = all_texts(generator, draw_scenes(1024, (16, 16), Palette.training(), generator))
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = normalizers.Lowercase()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=2000, end_of_word_suffix="</w>", show_progress=False)
    learner.train_from_iterator(texts, trainer)
    with tempfile.TemporaryDirectory() as folder:
        _, merges_file = learner.model.save(folder)
        lines = Path(merges_file).read_text(encoding="utf-8").splitlines()
    merges: Any = [tuple(line.split(" ")) for line in lines if not line.startswith("#")][:MERGES]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)


def build_clip(tokenizer: CLIPTokenizer, seed: int) -> CLIPModel:
    """Build an untrained nano."""
    text = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 4 * TEXT_WIDTH,
        "num_hidden_layers": TEXT_BLOCKS,
        "num_attention_heads": TEXT_HEADS,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": EMBEDDING,
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": HEADS,
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH,
        "hidden_act": "quick_gelu",
        "projection_dim": EMBEDDING,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = CLIPConfig(projection_dim=EMBEDDING, text_config=text, vision_config=vision)
        clip: CLIPModel = CLIPModel._from_config(config, attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    set_first_values(clip.vision_model, derived_generator(seed, "first values"))
    set_first_words(clip.text_model, derived_generator(seed, "first words"))
    return clip


class Learner(nn.Module):
    """Nano with the heads of its patch objectives.

    `spectra_mean` and `spectra_std` are the mean and deviation of some scenes' spectra.

    Shapes: ``n`` images of ``h x w`` patches, vision width ``D``, embedding width ``E``.
    """

    spectra_mean: Tensor
    spectra_std: Tensor

    def __init__(self, clip: CLIPModel, tokenizer: CLIPTokenizer, seed: int) -> None:
        super().__init__()
        self.clip, self.tokenizer = clip, tokenizer
        with torch.random.fork_rng():
            torch.manual_seed(seed + 1)
            self.middle = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, EMBEDDING, bias=False))
            self.plain = nn.Linear(WIDTH, sum(map(len, GROUPS.values())))
            self.occupancy = nn.Linear(WIDTH, 16)
            self.clean = nn.Linear(WIDTH, 48)
            self.spectrum, self.middle_spectrum = nn.Linear(WIDTH, CHANNELS), nn.Linear(WIDTH, CHANNELS)
        self.patch_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.binary_bias = nn.Parameter(torch.tensor(-1.0))
        self.familiar = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor([math.log(10.0), 0.5])) for name in ("last", "middle")}
        )
        sample = draw_scenes(SAMPLED, (IMAGE_SIZE // 2,) * 2, Palette.training(), derived_generator(seed, "spectra"))
        spectra = log_spectra(sample.images, PATCH)
        self.register_buffer("spectra_mean", spectra.mean((0, 1)))
        self.register_buffer("spectra_std", spectra.std((0, 1)))

    def see(self, images: Tensor, corner: tuple[int, int] = (0, 0)) -> tuple[Tensor, Tensor]:
        """Return the raw outputs of block ``MIDDLE`` and the last block, class token first: ``(n, 1 + h * w, D)`` each.

        Args:
            images: ``(n, 3, H, W)`` of range 0..1; both sides at most ``IMAGE_SIZE``.
            corner: Row and column, in the full grid of positions, of the upper left patch.
        """
        vision = self.clip.vision_model
        pixels = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        patches = vision.embeddings.patch_embedding(pixels)
        height, width = patches.shape[2:]
        table = vision.embeddings.position_embedding.weight
        side = IMAGE_SIZE // PATCH
        places = table[1:].view(side, side, -1)[corner[0] : corner[0] + height, corner[1] : corner[1] + width]
        first = (vision.embeddings.class_embedding + table[0]).expand(len(images), 1, -1)
        tokens = vision.pre_layrnorm(torch.cat((first, patches.flatten(2).mT + places.flatten(0, 1)), 1))
        middle = tokens
        for number, block in enumerate(vision.encoder.layers, start=1):
            tokens = block(tokens, None)
            if number == MIDDLE:
                middle = tokens
        return middle, tokens

    def standardized(self, spectra: Tensor) -> Tensor:
        """Standardize spectra ``(..., CHANNELS)`` with the mean and deviation of scenes."""
        return (spectra - self.spectra_mean) / self.spectra_std

    def embed(self, tokens: Tensor) -> Tensor:
        """Project tokens of the last block into the text embedding space, normalized: ``(..., E)``."""
        return F.normalize(self.clip.visual_projection(self.clip.vision_model.post_layernorm(tokens)), dim=-1)

    def read(self, texts: list[str]) -> Tensor:
        """Encode texts as unit vectors, ``(n, E)``."""
        ids = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")["input_ids"]
        features = self.clip.text_model(input_ids=ids).pooler_output
        return F.normalize(self.clip.text_projection(features), dim=-1)
