"""Zero-shot text prompts: WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814), windows included."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.config import BackboneConfig, ZeroShotConfig
from clipada.data import Dataset
from clipada.devices import find_device
from clipada.errors import ConfigError
from clipada.models.backbones import FrozenClip, load_whole_clip
from clipada.models.clip_ada import upsample
from clipada.research.baselines.engine import BaselineEngine, Detector, Findings
from clipada.research.baselines.fitting import FitProgress, Report, unreported

NORMAL_STATES = (
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
)
ANOMALOUS_STATES = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")
TEMPLATES = (
    "a cropped photo of the {}.",
    "a cropped photo of a {}.",
    "a close-up photo of a {}.",
    "a close-up photo of the {}.",
    "a bright photo of a {}.",
    "a bright photo of the {}.",
    "a dark photo of the {}.",
    "a dark photo of a {}.",
    "a jpeg corrupted photo of a {}.",
    "a jpeg corrupted photo of the {}.",
    "a blurry photo of the {}.",
    "a blurry photo of a {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of a small {}.",
    "a photo of the small {}.",
    "a photo of a large {}.",
    "a photo of the large {}.",
    "a photo of the {} for visual inspection.",
    "a photo of a {} for visual inspection.",
    "a photo of the {} for anomaly detection.",
    "a photo of a {} for anomaly detection.",
)
"""The compositional prompt ensemble: every state in every template (section 4.1 and the appendix of WinCLIP)."""

WINDOWS_AT_ONCE = 512
"""Windows that pass the vision tower together."""


class ZeroShot(Detector):
    """Asks of the image, and of every window of it, whether text calls it normal or anomalous.

    Args:
        clip: The frozen backbone, with all its vision blocks.
        projection: Of the class token, into the space of the texts.
        prototypes: ``(C, 2, E)``, of unit length: the normal and the anomalous ensemble of each name.
        config: All settings.
    """

    prototypes: Tensor

    def __init__(self, clip: FrozenClip, projection: nn.Linear, prototypes: Tensor, config: ZeroShotConfig) -> None:
        super().__init__()
        self.clip = clip
        self.projection = projection
        self.config = config
        self.register_buffer("prototypes", prototypes)

    def forward(self, images: Tensor) -> Findings:
        """The harmonic mean of the maps of all scales; as image score that of the whole image (section 4.2)."""
        height, width = self.clip.grid(images.shape[-2:])
        tokens = self.embed(images)
        scores = self.anomaly(self.encode(tokens))
        scales = [scores.unsqueeze(1).expand(-1, height * width)]
        for side in self.config.windows:
            members = windows(height, width, side).to(images.device)
            embeddings = self.encode_windows(tokens, members)
            scales.append(harmonic_map(self.anomaly(embeddings), members, height * width))
        maps = (1 / torch.stack([1 / scale for scale in scales]).mean(dim=0)).view(-1, height, width)
        return Findings(upsample(maps, images.shape[-2:]), scores)

    def embed(self, images: Tensor) -> Tensor:
        """What enters the vision tower, class token first, positions added: ``(B, 1 + h w, D)``."""
        inputs = self.clip.to_whole_patches(self.clip.normalise(images))
        tokens: Tensor = self.clip.vision.embeddings(inputs, interpolate_pos_encoding=True)
        return tokens

    def encode(self, tokens: Tensor) -> Tensor:
        """The projected class tokens, of unit length, ``(B, E)``, of sequences ``(B, L, D)`` that begin with them."""
        tower = self.clip.vision
        hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state[:, 0]
        return F.normalize(self.projection(tower.post_layernorm(hidden)), dim=-1)

    def encode_windows(self, tokens: Tensor, members: Tensor) -> Tensor:
        """Embeddings of windows: all patch tokens but a window's own are masked, which is to say left out.

        Args:
            tokens: ``(B, 1 + h w, D)``, as ``embed`` gives them.
            members: ``(n, k)``: the patches of each window, counted from 0.

        Returns:
            ``(B, n, E)``, of unit length.
        """
        whose = torch.cat([torch.zeros_like(members[:, :1]), members + 1], dim=1)
        parts = torch.split(whose, max(1, WINDOWS_AT_ONCE // len(tokens)))
        encoded = [self.encode(tokens[:, part].flatten(0, 1)).view(len(tokens), len(part), -1) for part in parts]
        return torch.cat(encoded, dim=1)

    def anomaly(self, embeddings: Tensor) -> Tensor:
        """The probability of the anomalous texts, ``(..., E)`` to ``(...)``, each more than 0 (equation 1).

        A softmax over the normal and the anomalous ensemble of every name; anomalous is what all anomalous ones have
        together.
        """
        cosines = embeddings @ self.prototypes.flatten(0, 1).T
        shares = (cosines / self.config.temperature).softmax(dim=-1)
        return torch.sum(shares[..., 1::2], dim=-1)


def windows(height: int, width: int, side: int) -> Tensor:
    """All squares of ``side x side`` patches: ``(n, side^2)``, positions in the grid row by row, counted from 0.

    Raises:
        ConfigError: The grid is smaller.
    """
    if side > min(height, width):
        raise ConfigError(
            "setting zero_shot.windows does not suit the image", expected=f"up to {min(height, width)}", got=str(side)
        )
    grid = torch.arange(height * width).view(height, width)
    return grid.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def harmonic_map(scores: Tensor, members: Tensor, patches: int) -> Tensor:
    """Each patch's harmonic mean of the windows it lies in (equation 2 of WinCLIP).

    Args:
        scores: ``(B, n)``, more than 0.
        members: ``(n, k)``: the patches of each window.
        patches: How many patches there are.

    Returns:
        ``(B, patches)``.
    """
    covers = torch.zeros(len(members), patches, device=scores.device).scatter_(1, members, 1.0)
    return covers.sum(dim=0) / ((1 / scores) @ covers)


def ensemble(clip: FrozenClip, states: tuple[str, ...], word: str) -> Tensor:
    """The mean of the unit embeddings of every state in every template, ``(E,)``, of unit length again."""
    prompts = [template.format(state.format(word)) for state in states for template in TEMPLATES]
    embeddings = torch.stack([embed_prompt(clip, prompt) for prompt in prompts])
    return F.normalize(F.normalize(embeddings, dim=-1).mean(dim=0), dim=-1)


def embed_prompt(clip: FrozenClip, prompt: str) -> Tensor:
    """The text tower's projected output for a prompt, ``(E,)``.

    Raises:
        ConfigError: The prompt is longer than CLIP's context.
    """
    ids = [clip.tokenizer.bos_token_id, *clip.word_ids(prompt), clip.tokenizer.eos_token_id]
    if len(ids) > clip.context_length:
        expected = f"{clip.context_length} tokens at most"
        raise ConfigError(f"the prompt {prompt!r} is too long", expected=expected, got=f"{len(ids)} tokens")
    return clip.encode_text(clip.embed_ids(ids))


def fit_zero_shot(
    dataset: Dataset,
    backbone: BackboneConfig,
    image_size: int,
    /,
    *,
    settings: ZeroShotConfig | None = None,
    seed: int = 0,  # noqa: ARG001
    device: str = "auto",
    workers: int = 0,  # noqa: ARG001
    report: Report = unreported,
    checkpoints: Path | None = None,  # noqa: ARG001
) -> BaselineEngine:
    """Embed the prompts; no image is looked at, nothing is drawn, and ``backbone.block`` does not matter.

    See ``Fit`` for the arguments.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigError: A prompt is too long, or a window larger than the image.
    """
    config = ZeroShotConfig() if settings is None else settings
    place = find_device(device)
    clip, projection = load_whole_clip(backbone.name)
    clip.to(place)
    for side in config.windows:
        windows(*clip.grid((image_size, image_size)), side)
    words = [name.replace("_", " ") for name in dataset.categories] if config.name_categories else [config.word]
    prototypes = []
    with torch.inference_mode():
        for done, word in enumerate(words, start=1):
            prototypes.append(
                torch.stack([ensemble(clip, states, word) for states in (NORMAL_STATES, ANOMALOUS_STATES)])
            )
            report(FitProgress(stage="embedding prompts", done=done, total=len(words)))
    return BaselineEngine(ZeroShot(clip, projection, torch.stack(prototypes), config), image_size, place)
