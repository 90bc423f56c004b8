"""What a run folder holds, described without its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipada.config import Config
from clipada.errors import ConfigError, RunError
from clipada.files import read_json, sha256_of

CONFIG = "config.json"
ADAPTER = "adapter.safetensors"
ENCODERS = "encoders.safetensors"
PROTOTYPES = "prototypes.safetensors"
METRICS = "metrics.json"
SCORES = "evaluation/scores.jsonl"
CARD = "README.md"
PLAN = "training.json"
CALIBRATION = "calibration.json"
TRAINED_ON = "training-images.sha256"
FORMAT = 1

BESIDE = {"encoders_sha256": ENCODERS, "prototypes_sha256": PROTOTYPES}
"""What some runs hold beside the adapter, by the name of its hash."""

COPY_AGAIN = "copy the whole run folder again, or train again"
"""What to do about a damaged run."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a run came to be, for the record.

    Attributes:
        categories: Number of training images per category.
        layout: The layout the data set was read as.
        unreadable: Training images that were left out because they could not be read.
        seconds: Time spent training by the process that finished it.
        images_per_second: Training throughput of that process.
        losses: Last loss of each pass, coarse first.
        machine: Processor or GPU it ran on.
        normal_level: Map value, 0..1, that the peaks of 95 % of the training images stay below.
        normal_levels: The same of each category by itself.
        validation: Metrics per pass on held-out training images with synthetic anomalies; empty without a split.
        data: The data set's folder.
    """

    categories: dict[str, int]
    layout: str
    unreadable: tuple[str, ...]
    seconds: float
    images_per_second: float
    losses: tuple[float, ...]
    machine: str
    normal_level: float
    validation: dict[str, dict[str, float | None]] = field(default_factory=dict)
    data: str = ""
    normal_levels: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder's description, without its weights.

    Attributes:
        folder: Where it lies.
        config: All settings it was trained with.
        backbone_sha256: Hash of the frozen CLIP's weights it was trained on.
        training: How it came to be.
        clipada_version: The version that trained it.
        settings: ``config`` as it was written: a later version's new settings are not among them.
        encoders_sha256: Hash of the file of the tuned encoders; ``None`` where CLIP stayed frozen.
        prototypes_sha256: Hash of the file of the normal prototypes; ``None`` where there are none.
        name: What it is called; empty where that is its folder's name.
    """

    folder: Path
    config: Config
    backbone_sha256: str
    training: Training
    clipada_version: str
    settings: Mapping[str, Any] = field(repr=False, compare=False)
    encoders_sha256: str | None = None
    prototypes_sha256: str | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """What it is called."""
        return self.name or self.folder.resolve().name

    @property
    def backbone_label(self) -> str:
        """The backbone's name, or its folder's, with the first digits of its hash."""
        name = self.config.backbone.name
        label = Path(name).name if Path(name).is_absolute() else name
        return f"{label} (sha256 {self.backbone_sha256[:12]})"

    @property
    def adapter_bytes(self) -> int:
        """Size of the trained parameters on disk."""
        return (self.folder / ADAPTER).stat().st_size

    @property
    def trained_sha256(self) -> str:
        """Hash of what the training left: the adapter's file, with tuned encoders and prototypes also theirs."""
        adapter = sha256_of(self.folder / ADAPTER)
        others = [sha256 for sha256 in (self.encoders_sha256, self.prototypes_sha256) if sha256 is not None]
        return hashlib.sha256(" ".join([adapter, *others]).encode()).hexdigest() if others else adapter

    @property
    def model_sha256(self) -> str:
        """Hash of all that decides its scores: adapter, backbone, and the settings as they were written."""
        deciding = {name: self.settings.get(name) for name in ("model", "prompt", "scoring")}
        deciding |= {"block": self.config.backbone.patch_block, "backbone": self.backbone_sha256}
        deciding |= {"adapter": self.trained_sha256}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    @property
    def training_sha256s(self) -> frozenset[str] | None:
        """Hashes of the images it was trained on; ``None`` for a run that was trained before they were kept."""
        path = self.folder / TRAINED_ON
        return frozenset(path.read_text(encoding="utf-8").split()) if path.exists() else None

    @property
    def metrics(self) -> dict[str, Any] | None:
        """The content of ``metrics.json``, or ``None`` before the run was evaluated.

        Raises:
            RunError: The file is damaged.
        """
        path = self.folder / METRICS
        if not path.exists():
            return None
        remedy = "delete it, then run `clipada evaluate` again"
        content = read_json(path, remedy)
        lacking = [name for name in ("protocol", "categories", "mean") if not isinstance(content.get(name), dict)]
        if lacking:
            raise RunError(f"{path} is damaged", got="no " + ", ".join(lacking), remedy=remedy)
        return content


def read_run(folder: Path) -> Run:
    """Read a run folder's description; no weights are loaded.

    Raises:
        RunError: The folder is missing, holds no finished run, or is damaged.
    """
    path = folder / CONFIG
    if not path.exists():
        raise _no_run(folder)
    content = read_json(path, COPY_AGAIN)
    its_version = f"use clipada {content.get('clipada_version', 'of the version')} that wrote it, or train again"
    if content.get("format") != FORMAT:
        got = f"format {content.get('format')}"
        raise RunError(f"{path} is of another format", expected=f"format {FORMAT}", got=got, remedy=its_version)
    for name in (ADAPTER, *(name for key, name in BESIDE.items() if key in content)):
        if not (folder / name).is_file():
            raise RunError(f"run {folder} is not whole", expected=name, got="no such file", remedy=COPY_AGAIN)
    beside: dict[str, Any] = {key: content.get(key) for key in BESIDE}
    try:
        return Run(
            folder=folder,
            config=Config.from_dict(content["config"]),
            backbone_sha256=str(content["backbone_sha256"]),
            training=_training(content["training"]),
            clipada_version=str(content["clipada_version"]),
            settings=content["config"],
            **beside,
        )
    except ConfigError as error:
        what = f"{path} cannot be used: {error.what}"
        raise RunError(what, expected=error.expected, got=error.got, remedy=its_version) from error
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged", got=repr(error), remedy=COPY_AGAIN) from error


def _no_run(folder: Path) -> RunError:
    """The error for a folder that holds no finished run."""
    unfinished = (folder / PLAN).is_file()
    if unfinished:
        got = "an unfinished training"
    elif folder.is_dir():
        got = f"no {CONFIG}"
    else:
        got = "a file" if folder.exists() else "no such folder"
    return RunError(
        f"no run in {folder}",
        expected=f"a folder with {CONFIG} and {ADAPTER}",
        got=got,
        remedy=f"finish it with `clipada train --resume --out {folder}`"
        if unfinished
        else "train one with `clipada train`",
    )


def _training(values: dict[str, Any]) -> Training:
    plain = {name: tuple(values[name]) for name in ("unreadable", "losses")}
    return Training(**(values | plain | {"categories": dict(values["categories"])}))
