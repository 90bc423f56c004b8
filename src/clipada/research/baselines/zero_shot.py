"""Zero-shot text prompts: WinCLIP (Jeong et al., CVPR 2023, arXiv 2303.14814), windows included."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipada.config import ZeroShotConfig
from clipada.errors import ConfigError
from clipada.models.backbones import FrozenClip, load_whole_clip
from clipada.models.clip_ada import upsample
from clipada.research.baselines.engine import BaselineEngine, Detector, DetectorOutput
from clipada.research.baselines.fitting import FitContext
from clipada.types import Progress

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
"""Templates of the prompt ensemble, each filled with every state (section 4.1 and the appendix of WinCLIP)."""

WINDOWS_AT_ONCE = 512
"""Windows per batch of the vision tower."""


class ZeroShot(Detector):
    """Detector that compares the image and each of its windows with texts for normal and anomalous.

    Args:
        clip: The frozen backbone, with all its vision blocks.
        projection: Projects the class token into the text embedding space.
        prototypes: ``(C, 2, E)``, of unit length: the normal and the anomalous ensemble of each product name.
        config: All settings.
    """

    prototypes: Tensor

    def __init__(self, clip: FrozenClip, projection: nn.Linear, prototypes: Tensor, config: ZeroShotConfig) -> None:
        super().__init__()
        self.clip = clip
        self.projection = projection
        self.config = config
        self.register_buffer("prototypes", prototypes)

    def forward(self, images: Tensor) -> DetectorOutput:
        """Return the harmonic mean of the maps of all scales, and as image score the whole image's (section 4.2)."""
        height, width = self.clip.grid(images.shape[-2:])
        tokens = self.embed(images)
        scores = self.anomaly(self.encode(tokens))
        scales = [scores.unsqueeze(1).expand(-1, height * width)]
        for side in self.config.windows:
            members = windows(height, width, side).to(images.device)
            embeddings = self.encode_windows(tokens, members)
            scales.append(harmonic_map(self.anomaly(embeddings), members, height * width))
        maps = (1 / torch.stack([1 / scale for scale in scales]).mean(dim=0)).view(-1, height, width)
        return DetectorOutput(upsample(maps, images.shape[-2:]), scores)

    def embed(self, images: Tensor) -> Tensor:
        """Compute the input tokens of the vision tower, class token first, positions added: ``(B, 1 + h w, D)``."""
        inputs = self.clip.to_whole_patches(self.clip.normalize(images))
        tokens: Tensor = self.clip.vision.embeddings(inputs, interpolate_pos_encoding=True)
        return tokens

    def encode(self, tokens: Tensor) -> Tensor:
        """Encode sequences ``(B, L, D)`` that begin with a class token into unit-length embeddings ``(B, E)``."""
        tower = self.clip.vision
        hidden = tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state[:, 0]
        return F.normalize(self.projection(tower.post_layernorm(hidden)), dim=-1)

    def encode_windows(self, tokens: Tensor, members: Tensor) -> Tensor:
        """Encode windows: all patch tokens outside a window are masked, that is, left out of the sequence.

        Args:
            tokens: ``(B, 1 + h w, D)``, from ``embed``.
            members: ``(n, k)``: the patches of each window, from 0.

        Returns:
            ``(B, n, E)``, of unit length.
        """
        chosen = torch.cat([torch.zeros_like(members[:, :1]), members + 1], dim=1)
        parts = torch.split(chosen, max(1, WINDOWS_AT_ONCE // len(tokens)))
        encoded = [self.encode(tokens[:, part].flatten(0, 1)).view(len(tokens), len(part), -1) for part in parts]
        return torch.cat(encoded, dim=1)

    def anomaly(self, embeddings: Tensor) -> Tensor:
        """Compute the probability of the anomalous texts, ``(..., E)`` to ``(...)``, greater than 0 (equation 1).

        It is a softmax over the normal and the anomalous ensembles of all names, summed over the anomalous ones.
        """
        cosines = embeddings @ self.prototypes.flatten(0, 1).T
        shares = (cosines / self.config.temperature).softmax(dim=-1)
        return torch.sum(shares[..., 1::2], dim=-1)


def windows(height: int, width: int, side: int) -> Tensor:
    """List all squares of ``side x side`` patches: ``(n, side^2)``, positions in the grid row by row, from 0.

    Raises:
        ConfigError: The grid is smaller than the square.
    """
    if side > min(height, width):
        raise ConfigError(
            "setting zero_shot.windows does not suit the image", expected=f"up to {min(height, width)}", got=str(side)
        )
    grid = torch.arange(height * width).view(height, width)
    return grid.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def harmonic_map(scores: Tensor, members: Tensor, patches: int) -> Tensor:
    """Compute each patch's harmonic mean over the windows that contain it (equation 2 of WinCLIP).

    Args:
        scores: ``(B, n)``, greater than 0.
        members: ``(n, k)``: the patches of each window.
        patches: Number of patches.

    Returns:
        ``(B, patches)``.
    """
    covers = torch.zeros(len(members), patches, device=scores.device).scatter_(1, members, 1.0)
    return covers.sum(dim=0) / ((1 / scores) @ covers)


def ensemble(clip: FrozenClip, states: tuple[str, ...], word: str) -> Tensor:
    """Average the unit-length embeddings of every state in every template: ``(E,)``, normalized to unit length."""
    prompts = [template.format(state.format(word)) for state in states for template in TEMPLATES]
    embeddings = torch.stack([embed_prompt(clip, prompt) for prompt in prompts])
    return F.normalize(F.normalize(embeddings, dim=-1).mean(dim=0), dim=-1)


def embed_prompt(clip: FrozenClip, prompt: str) -> Tensor:
    """Compute the text tower's projected output for a prompt, ``(E,)``.

    Raises:
        ConfigError: The prompt is longer than CLIP's context.
    """
    ids = [clip.tokenizer.bos_token_id, *clip.word_ids(prompt), clip.tokenizer.eos_token_id]
    if len(ids) > clip.context_length:
        expected = f"{clip.context_length} tokens at most"
        raise ConfigError(f"the prompt {prompt!r} is too long", expected=expected, got=f"{len(ids)} tokens")
    return clip.encode_text(clip.embed_ids(ids))


def fit_zero_shot(context: FitContext, /, settings: ZeroShotConfig) -> BaselineEngine:
    """Embed the prompts; no image is read and nothing is drawn at random. All vision blocks are used.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigError: A prompt is too long, or a window larger than the image.
    """
    size, device = context.image_size, context.torch_device
    clip, projection = load_whole_clip(context.backbone.name)
    clip.to(device)
    for side in settings.windows:
        windows(*clip.grid((size, size)), side)
    names = [name.replace("_", " ") for name in context.dataset.categories]
    words = names if settings.name_categories else [settings.word]
    prototypes = []
    with torch.inference_mode():
        for done, word in enumerate(words, start=1):
            states = NORMAL_STATES, ANOMALOUS_STATES
            prototypes.append(torch.stack([ensemble(clip, some, word) for some in states]))
            context.report(Progress(stage="embedding prompts", done=done, total=len(words)))
    return BaselineEngine(ZeroShot(clip, projection, torch.stack(prototypes), settings), size, device)
