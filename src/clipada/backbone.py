"""The frozen CLIP: images to patch tokens of one block, and access to the text tower."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPTextModelWithProjection,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
)
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from clipada.config import EMBEDDED_BACKBONE, BackboneConfig, Tune
from clipada.errors import BackboneError, ConfigError

HUB_PATIENCE = 5.0
"""Seconds that the hub has to begin to answer."""

EMBEDDED_FOLDER = Path(__file__).parent / EMBEDDED_BACKBONE
"""Where the embedded backbone lies; its README.md is its model card."""

Normalisation = tuple[Sequence[float], Sequence[float]]

_IDLE = ("post_layernorm", "token_embedding")
"""What no gradient reaches: the patch tokens are raw, and the prompt holds the embeddings of its words."""


class FrozenClip(nn.Module):
    """A CLIP that does not learn, unless an encoder is tuned: its vision tower up to one block, and its text tower.

    Shapes: ``B`` images, ``H x W`` pixels, patch ``p``, grid ``h = round(H / p)``, ``w = round(W / p)``, vision width
    ``D`` (768 for ViT-B/16), text width ``T`` (512) and embedding width ``E`` (512).

    Args:
        vision: The vision tower, already cut after the block wanted.
        text: The text tower with its projection.
        tokenizer: The tokenizer that belongs to it.
        normalisation: Mean and standard deviation per channel of the pixel values, 0..1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vision: CLIPVisionModel,
        text: CLIPTextModelWithProjection,
        tokenizer: Any,
        normalisation: Normalisation = (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
    ) -> None:
        super().__init__()
        self.vision = vision
        self.text = text
        self.tokenizer = tokenizer
        mean, std = normalisation
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        vision_config: Any = vision.config
        text_config: Any = text.config
        self.width: int = vision_config.hidden_size
        self.patch_size: int = vision_config.patch_size
        self.text_width: int = text_config.hidden_size
        self.embedding_width: int = text_config.projection_dim
        self.context_length: int = text_config.max_position_embeddings
        self._origin: str | None = None
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Stay in evaluation mode, whatever the model around does."""
        return super().train(False)

    def tune(self, encoders: Tune) -> None:
        """Let encoders learn, but for what has no part in the maps: the word table and the vision tower's last norm."""
        if encoders == "none":
            return
        self._origin = self.sha256()
        for name, parameter in self.named_parameters():
            tower = "image" if name.startswith("vision.") else "text"
            parameter.requires_grad_(encoders in (tower, "both") and not any(part in name for part in _IDLE))

    @property
    def origin_sha256(self) -> str:
        """The hash of the weights as they were loaded, whatever was tuned since."""
        return self._origin or self.sha256()

    def normalise(self, images: Tensor) -> Tensor:
        """RGB pixel values 0..1, ``(B, 3, H, W)``, to CLIP's input ``X`` of the same shape."""
        return (images - self.mean) / self.std

    def grid(self, size: Sequence[int]) -> tuple[int, int]:
        """The token grid ``(h, w)`` of an image of ``size`` ``(H, W)``."""
        height, width = (max(1, round(side / self.patch_size)) for side in size)
        return height, width

    def forward(self, inputs: Tensor) -> Tensor:
        """Patch tokens ``F``: the block's raw output, without the class token and without a final LayerNorm.

        Args:
            inputs: ``X``, ``(B, 3, H, W)``, normalised. Sides that the patch size does not divide are resized to the
                nearest that it does; position embeddings are interpolated to the grid (bicubic).

        Returns:
            ``(B, h * w, D)``, rows of the grid one after another.
        """
        tokens: Tensor = self.vision(self.to_whole_patches(inputs), interpolate_pos_encoding=True).last_hidden_state
        return tokens[:, 1:]

    def to_whole_patches(self, inputs: Tensor) -> Tensor:
        """Inputs ``(B, 3, H, W)``, resized to ``(B, 3, h p, w p)`` where patches do not divide them."""
        whole = [side * self.patch_size for side in self.grid(inputs.shape[-2:])]
        if list(inputs.shape[-2:]) == whole:
            return inputs
        return F.interpolate(inputs, size=whole, mode="bilinear", align_corners=False, antialias=True)

    def word_ids(self, words: str) -> list[int]:
        """Token ids of ``words``, without start and end."""
        ids: list[int] = self.tokenizer(words, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        return ids

    def embed_ids(self, ids: Sequence[int]) -> Tensor:
        """Word embeddings ``(len(ids), T)``, before positions are added."""
        table: Tensor = self.text.text_model.embeddings.token_embedding.weight
        return table[torch.tensor(ids, dtype=torch.long, device=table.device)]

    def encode_text(self, words: Tensor) -> Tensor:
        """The projected output at the last position of one sequence of word embeddings.

        The text tower is causal: what follows the end-of-text token never changes its output, so the sequence may stop
        there instead of being padded.

        Args:
            words: ``(L, T)``, from start-of-text to end-of-text, ``L`` up to the context length.

        Returns:
            ``(E,)``
        """
        tower = self.text.text_model
        hidden = tower.embeddings(inputs_embeds=words.unsqueeze(0))
        length = words.shape[0]
        causal = torch.full((length, length), float("-inf"), device=words.device).triu(1)
        hidden = tower.encoder(inputs_embeds=hidden, attention_mask=causal[None, None]).last_hidden_state
        embedding: Tensor = self.text.text_projection(tower.final_layer_norm(hidden[:, -1]))
        return embedding.squeeze(0)

    def sha256(self) -> str:
        """Hash of every weight that is used and of the normalisation, in float32, whatever their file or dtype."""
        digest = hashlib.sha256()
        for name, tensor in sorted((self.state_dict() | dict(self.named_buffers(recurse=False))).items()):
            digest.update(name.encode())
            digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
        return digest.hexdigest()


def load_clip(config: BackboneConfig) -> FrozenClip:
    """Load a frozen CLIP by hub name or local folder, or the embedded one, in float32.

    The local cache is asked before the network. Vision blocks above ``config.block`` are not read from the file.

    Raises:
        BackboneError: The checkpoint cannot be found, read, or is no CLIP.
        ConfigError: The vision tower has fewer blocks than asked for.
    """
    name = _resolved(config.name)
    clip_config = read_configuration(name)
    blocks = clip_config.vision_config.num_hidden_layers
    if config.block > blocks:
        raise ConfigError("setting backbone.block is out of range", expected=f"1 to {blocks}", got=str(config.block))
    clip_config.vision_config.num_hidden_layers = config.block
    vision = _load("vision tower", CLIPVisionModel, name, config=clip_config.vision_config, dtype=torch.float32)
    return _frozen(name, clip_config, vision)


def load_whole_clip(name: str) -> tuple[FrozenClip, nn.Linear]:
    """Load a frozen CLIP with all its vision blocks, and what ``FrozenClip`` does without: the visual projection.

    Args:
        name: Hub name, local folder, or the embedded backbone's name.

    Returns:
        The CLIP, and the projection ``D -> E`` of the class token after the final LayerNorm ``vision.post_layernorm``.

    Raises:
        BackboneError: As ``load_clip``.
    """
    name = _resolved(name)
    clip_config = read_configuration(name)
    clip_config.vision_config.projection_dim = clip_config.projection_dim
    tower = _load(
        "vision tower", CLIPVisionModelWithProjection, name, config=clip_config.vision_config, dtype=torch.float32
    )
    projection: nn.Linear = tower.visual_projection.requires_grad_(False)
    return _frozen(name, clip_config, tower.vision_model), projection


def read_configuration(name: str) -> Any:
    """A checkpoint's configuration in ``transformers``' own words; raises ``BackboneError`` unless it is a CLIP's."""
    config = _load("configuration", CLIPConfig, _resolved(name))
    if config.model_type != "clip":
        raise BackboneError(f"backbone {name} is no CLIP", expected="model_type 'clip'", got=config.model_type)
    return config


def _frozen(name: str, config: Any, vision: CLIPVisionModel) -> FrozenClip:
    """A vision tower, with the text tower and all else that belongs to it."""
    return FrozenClip(
        vision=vision,
        text=_load("text tower", CLIPTextModelWithProjection, name, config=config.text_config, dtype=torch.float32),
        tokenizer=_load("tokenizer", AutoTokenizer, name),
        normalisation=_normalisation(name),
    )


def _resolved(name: str) -> str:
    """The absolute path of the embedded backbone or of a local folder, or a hub name as it is."""
    if name == EMBEDDED_BACKBONE:
        return str(EMBEDDED_FOLDER)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if folder.is_absolute() or name.startswith((".", "~")) or folder.exists():
        raise BackboneError(
            f"no backbone at {name}",
            expected="a folder with config.json, model.safetensors and tokenizer.json",
            got="a file" if folder.exists() else "nothing there",
            remedy="check the path, or give a hub name such as openai/clip-vit-base-patch16",
        )
    return name


def _load(part: str, kind: Any, name: str, **options: Any) -> Any:
    """Load one part with ``transformers``: from the cache if it is there, else from the hub."""
    failure: Exception | None = None
    for offline in (True,) if Path(name).is_dir() else (True, False):
        try:
            with _quiet():
                if not offline:
                    _require_hub(name)
                return kind.from_pretrained(name, local_files_only=offline, **options)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, its own and the hub's
            failure = error
    raise BackboneError(
        f"cannot load the {part} of backbone {name}",
        expected="a `transformers` CLIP: a hub name, a folder, or a name in the local cache",
        got=str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__,
        remedy="if it is a folder, check the path; else on a machine with internet run "
        f"`hf download {name} --local-dir FOLDER`, copy FOLDER here and pass --backbone FOLDER"
        if not Path(name).is_dir()
        else "the folder needs config.json, model.safetensors, tokenizer.json and preprocessor_config.json",
    ) from failure


def _normalisation(name: str) -> Normalisation:
    """The checkpoint's own mean and standard deviation, or OpenAI CLIP's where it states none."""
    for offline in (True,) if Path(name).is_dir() else (True, False):
        try:
            with _quiet():
                if not offline:
                    _require_hub(name)
                values, _ = CLIPImageProcessorPil.get_image_processor_dict(name, local_files_only=offline)
        except OSError:
            continue
        return values.get("image_mean", OPENAI_CLIP_MEAN), values.get("image_std", OPENAI_CLIP_STD)
    return OPENAI_CLIP_MEAN, OPENAI_CLIP_STD


def _require_hub(name: str) -> None:
    """Ask the hub for a model, once: ``transformers`` asks again and again, for half a minute without a network.

    Raises:
        OSError: The hub has no such model, does not give it, or does not answer.
    """
    url = hf_hub_url(name, "config.json")
    try:
        get_hf_file_metadata(url, timeout=HUB_PATIENCE)
    except Exception as error:  # the hub's own and its HTTP library's, which is another in each of its versions
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise OSError(f"no {url}: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ``transformers`` and the hub from reporting what is left out on purpose, and each try to connect."""
    noisy = [logging.getLogger("transformers"), logging.getLogger("huggingface_hub")]
    levels = [logger.level for logger in noisy]
    bars = is_progress_bar_enabled()
    for logger in noisy:
        logger.setLevel(logging.CRITICAL)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
        if bars:
            enable_progress_bar()  # type: ignore[no-untyped-call]
