"""Loading of CLIP checkpoints by hub name or folder, as far as they are needed."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from torch import nn
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

from clipada.config import EMBEDDED_BACKBONE, BackboneConfig
from clipada.config.schema import shown
from clipada.errors import BackboneError, ConfigError
from clipada.models.backbones.clip import FrozenClip, Normalization

PREPROCESSOR = "preprocessor_config.json"
"""File of a checkpoint with the mean and the standard deviation of pixel values."""

HUB_PATIENCE = 5.0
"""Timeout of the hub's first answer, in seconds."""

EMBEDDED_FOLDER = Path(__file__).parent / EMBEDDED_BACKBONE
"""Folder of the embedded backbone; its README.md is its model card."""


def load_clip(config: BackboneConfig) -> FrozenClip:
    """Load a frozen CLIP by hub name or local folder, or the embedded one, in float32.

    The local cache is used before the network. Vision blocks above ``config.patch_block`` are not read from the file.

    Raises:
        BackboneError: The checkpoint cannot be found or read, or is no CLIP.
        ConfigError: The vision tower has fewer blocks than requested.
    """
    name = _resolved(config.name)
    clip_config = read_configuration(name)
    blocks = clip_config.vision_config.num_hidden_layers
    block = config.patch_block
    if block > blocks:
        raise ConfigError("setting backbone.block is out of range", expected=f"1 to {blocks}", got=str(block))
    clip_config.vision_config.num_hidden_layers = block
    vision = _load("vision tower", CLIPVisionModel, name, config=clip_config.vision_config, dtype=torch.float32)
    return _frozen(name, clip_config, vision)


def load_whole_clip(name: str) -> tuple[FrozenClip, nn.Linear]:
    """Load a frozen CLIP with all vision blocks, and the visual projection that ``FrozenClip`` does not contain.

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
    """Read a checkpoint's ``transformers`` configuration; raise ``BackboneError`` if it is no CLIP's."""
    config = _load("configuration", CLIPConfig, _resolved(name))
    if config.model_type != "clip":
        raise BackboneError(f"backbone {name} is no CLIP", expected="model_type 'clip'", got=config.model_type)
    return config


def _frozen(name: str, config: Any, vision: CLIPVisionModel) -> FrozenClip:
    """Load the text tower and the tokenizer that belong to a vision tower."""
    return FrozenClip(
        vision=vision,
        text=_load("text tower", CLIPTextModelWithProjection, name, config=config.text_config, dtype=torch.float32),
        tokenizer=_load("tokenizer", AutoTokenizer, name),
        normalization=_normalization(name),
    )


def _resolved(name: str) -> str:
    """Resolve the embedded backbone or a local folder to an absolute path; keep a hub name."""
    if name == EMBEDDED_BACKBONE:
        return str(EMBEDDED_FOLDER)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if folder.is_absolute() or name.startswith((".", "~")) or folder.exists():
        raise BackboneError(
            f"no backbone at {name}",
            expected="a folder with config.json, model.safetensors and tokenizer.json",
            got="a file" if folder.exists() else "no such folder",
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
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, its own errors and the hub's
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


def _normalization(name: str) -> Normalization:
    """Read the checkpoint's mean and standard deviation; OpenAI CLIP's if it has none.

    Raises:
        BackboneError: The file is damaged. Other values than the checkpoint's would make worse models.
    """
    file = Path(name) / PREPROCESSOR
    for offline in (True,) if Path(name).is_dir() else (True, False):
        try:
            with _quiet():
                if not offline:
                    _require_hub(name)
                values, _ = CLIPImageProcessorPil.get_image_processor_dict(name, local_files_only=offline)
        except Exception as error:  # as in ``_load``
            if file.exists() or not isinstance(error, OSError):
                raise _damaged(file, "JSON", str(error).partition("\n")[0]) from error
            continue
        if not isinstance(values, dict):
            raise _damaged(file, "a JSON object", shown(values))
        mean, std = values.get("image_mean", OPENAI_CLIP_MEAN), values.get("image_std", OPENAI_CLIP_STD)
        for field, numbers, least in (("image_mean", mean, -math.inf), ("image_std", std, 0)):
            if not _are_channels(numbers, least):
                raise _damaged(file, f"{field} of three numbers" + " above 0" * (least == 0), shown(numbers))
        return mean, std
    return OPENAI_CLIP_MEAN, OPENAI_CLIP_STD


def _are_channels(numbers: object, least: float) -> bool:
    """Return True if a value is a finite number above ``least`` for each of three channels."""
    return (
        isinstance(numbers, list | tuple)
        and len(numbers) == 3
        and all(type(number) in (int, float) and least < number and abs(number) < 1e6 for number in numbers)
    )


def _damaged(file: Path, expected: str, got: str) -> BackboneError:
    """Make the error for a damaged file of a backbone."""
    return BackboneError(f"{file} is damaged", expected=expected, got=got, remedy="copy the backbone's folder again")


def _require_hub(name: str) -> None:
    """Check once that the hub has a model: ``transformers`` retries for half a minute without a network.

    Raises:
        OSError: The hub has no such model, denies access to it, or does not answer.
    """
    url = hf_hub_url(name, "config.json")
    try:
        get_hf_file_metadata(url, timeout=HUB_PATIENCE)
    except Exception as error:  # the hub's own errors and those of its HTTP library, which changes with its version
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise OSError(f"no {url}: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ``transformers`` and the hub: unused weights are intended, and failed connections are reported once."""
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
