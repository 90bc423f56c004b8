"""Files of a checkpoint: found in a folder, in the local cache or on the hub, and read part by part."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import GatedRepoError
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD  # type: ignore[attr-defined]
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

from clipada.config import EMBEDDED_BACKBONE
from clipada.config.schema import shown
from clipada.errors import BackboneError, check_name
from clipada.models.backbones.base import Normalization

PREPROCESSOR = "preprocessor_config.json"
"""File of a checkpoint with the mean and the standard deviation of pixel values."""

HUB_PATIENCE = 5.0
"""Timeout of the hub's first answer, in seconds."""

EMBEDDED_FOLDER = Path(__file__).parent / EMBEDDED_BACKBONE
"""Folder of the embedded backbone; its README.md is its model card."""


class CheckpointSource(NamedTuple):
    """Place of a checkpoint: a folder's absolute path or a hub name, and the revision on the hub."""

    name: str
    revision: str | None

    @property
    def is_folder(self) -> bool:
        """True for a local folder."""
        return Path(self.name).is_dir()


def resolved(name: str) -> str:
    """Resolve the embedded backbone or a local folder to an absolute path; keep a hub name."""
    if name == EMBEDDED_BACKBONE:
        return str(EMBEDDED_FOLDER)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder.resolve())
    if folder.is_absolute() or name.startswith((".", "~")) or folder.exists():
        raise BackboneError(
            f"no backbone at {name}",
            expected="a folder with config.json, model.safetensors and, with a text tower, tokenizer.json",
            got="a file" if folder.exists() else "no such folder",
            remedy=f"{check_name(folder)} (or give a hub name such as openai/clip-vit-base-patch16)",
        )
    return name


def load_part(part: str, kind: Any, source: CheckpointSource, **options: Any) -> Any:
    """Load one part with ``transformers``: from the cache if it is there, else from the hub."""
    failure: Exception | None = None
    name = source.name
    if not source.is_folder:
        options["revision"] = source.revision or "main"
    for offline in (True,) if source.is_folder else (True, False):
        try:
            with _quiet():
                if not offline:
                    require_hub(source)
                return kind.from_pretrained(name, local_files_only=offline, **options)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, its own errors and the hub's
            failure = error
    raise BackboneError(
        f"cannot load the {part} of backbone {name}",
        expected="a `transformers` vision backbone: a hub name, a folder, or a name in the local cache",
        got=str(failure).strip().splitlines()[0] if str(failure).strip() else type(failure).__name__,
        remedy=_remedy(source, failure),
    ) from failure


def _remedy(source: CheckpointSource, failure: Exception | None) -> str:
    """Return the way out of a failed load."""
    if source.is_folder:
        return "the folder needs config.json, model.safetensors, preprocessor_config.json and, with a text tower, " + (
            "tokenizer.json"
        )
    chain = [failure] if failure else []
    while chain and chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)  # type: ignore[arg-type]
    download = f"`hf download {source.name} --local-dir FOLDER`"
    if any(isinstance(error, GatedRepoError) for error in chain):
        return (
            f"accept its license at https://huggingface.co/{source.name} and log in with `hf auth login`; or run "
            f"{download} where you are logged in, copy FOLDER here and pass --backbone FOLDER"
        )
    return (
        "if it is a folder, check the path; else on a machine with internet run "
        f"{download}, copy FOLDER here and pass --backbone FOLDER"
    )


def read_normalization(source: CheckpointSource) -> Normalization:
    """Read the checkpoint's mean and standard deviation; OpenAI CLIP's if it has none.

    Raises:
        BackboneError: The file is damaged. Other values than the checkpoint's would make worse models.
    """
    file = Path(source.name) / PREPROCESSOR
    options = {} if source.is_folder else {"revision": source.revision or "main"}
    for offline in (True,) if source.is_folder else (True, False):
        try:
            with _quiet():
                if not offline:
                    require_hub(source)
                values, _ = CLIPImageProcessorPil.get_image_processor_dict(
                    source.name, local_files_only=offline, **options
                )
        except Exception as error:  # as in ``load_part``
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


def require_hub(source: CheckpointSource) -> None:
    """Check once that the hub has a model: ``transformers`` retries for half a minute without a network.

    Raises:
        OSError: The hub has no such model, denies access to it, or does not answer.
    """
    url = hf_hub_url(source.name, "config.json", revision=source.revision)
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
