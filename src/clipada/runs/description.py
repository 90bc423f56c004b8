"""Description of a run folder, read without its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clipada.config import Config
from clipada.config.schema import build, build_known, shown
from clipada.errors import ConfigError, RunError
from clipada.files import read_json, sha256_of
from clipada.runs.contents import ADAPTER, BESIDE, CONFIG, LEARNED_DEFECTS, MANIFEST, METRICS, PLAN, REVISED, TRAINED_ON
from clipada.runs.manifest import Manifest, find_manifest
from clipada.runs.records import completed_settings, damaged, no_run, read_hashes
from clipada.runs.revisions import Revision
from clipada.runs.training import Training
from clipada.runs.verification import require_sealed
from clipada.types import ModelIdentity

FORMAT = 1

COPY_AGAIN = "copy the whole run folder again, or train again"
"""Remedy for a damaged run."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder's description, without its weights.

    Attributes:
        folder: Its path.
        config: All settings of the training.
        backbone_sha256: Hash of the frozen backbone's weights it was trained on.
        training: Record of the training.
        clipada_version: The version that trained it.
        settings: ``config`` as it was written, without settings that later versions added.
        encoders_sha256: Hash of the file of the tuned encoders; ``None`` if the backbone stayed frozen.
        prototypes_sha256: Hash of the file of the normal prototypes; ``None`` without any.
        memory_sha256: Hash of the file of the memory of good parts; ``None`` without one.
        filter_sha256: Hash of the file of the memory's filter; ``None`` without one.
        defects_sha256: Hash of the file of what was learned from known defects; ``None`` without any.
        roi_sha256: Hash of the file of the regions of interest; ``None`` without any.
        alignment_sha256: Hash of the file of the references to which images are aligned; ``None`` without any.
        revision: The revision in force; ``None`` if the memory is that of the training.
        name: Its name on the hub; empty for a local run, which is named by its folder.
        manifest: The files that it is sealed with; ``None`` for a run of a version that did not seal it.
    """

    folder: Path
    config: Config
    backbone_sha256: str
    training: Training
    clipada_version: str
    settings: Mapping[str, Any] = field(repr=False, compare=False)
    encoders_sha256: str | None = None
    prototypes_sha256: str | None = None
    memory_sha256: str | None = None
    filter_sha256: str | None = None
    defects_sha256: str | None = None
    roi_sha256: str | None = None
    alignment_sha256: str | None = None
    revision: Revision | None = None
    name: str = ""
    manifest: Manifest | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """Name of the run: on the hub, else that of its folder."""
        return self.name or self.folder.resolve().name

    def stored(self, name: str) -> str:
        """Return the name, relative to the folder, of the file that is in force: the revision's or the training's."""
        return name if self.revision is None or name not in REVISED else f"{self.revision.folder}/{name}"

    def path(self, name: str) -> Path:
        """Return the path of the file that is in force, as ``stored`` names it."""
        return self.folder / self.stored(name)

    def verified(self, name: str, sha256: str) -> Path:
        """Return the path of the file that is in force after checking that its bytes are those recorded.

        Raises:
            RunError: They are others.
        """
        path = self.path(name)
        found = sha256_of(path)
        if found != sha256:
            what = f"{path} is not the file of this run"
            raise RunError(what, expected=f"sha256 {sha256}", got=f"sha256 {found}", remedy=COPY_AGAIN)
        return path

    def present(self) -> Run:
        """Return the run with the manifest that is now in its folder.

        Raises:
            RunError: The manifest is damaged.
        """
        return replace(self, manifest=find_manifest(self.folder))

    @property
    def manifest_sha256(self) -> str | None:
        """Hash of the manifest, which names the files that decide a verdict; ``None`` for a run that is not sealed."""
        return None if self.manifest is None else self.manifest.sha256

    def identity(self, engine: str) -> ModelIdentity:
        """Return what a verdict says of its model, computed by an engine such as ``"torch fp32"``."""
        return ModelIdentity(
            run=self.label,
            sha256=self.model_sha256,
            backbone_sha256=self.backbone_sha256,
            engine=engine,
            manifest_sha256=self.manifest_sha256,
        )

    @property
    def backbone_label(self) -> str:
        """Name of the backbone or of its folder, with the first digits of its hash."""
        name = self.config.backbone.name
        label = Path(name).name if Path(name).is_absolute() else name
        return f"{label} (sha256 {self.backbone_sha256[:12]})"

    @property
    def adapter_bytes(self) -> int:
        """Size of the trained parameters on disk."""
        return (self.folder / ADAPTER).stat().st_size

    @property
    def trained_sha256(self) -> str:
        """Hash of all trained parameters: the adapter's file, and the files of tuned encoders and prototypes if any.

        For a sealed run it is that of the sealed files: whoever reads them compares them with the manifest.
        """
        sealed = None if self.manifest is None else self.manifest.files.get(ADAPTER)
        adapter = sha256_of(self.folder / ADAPTER) if sealed is None else sealed.sha256
        others = [sha256 for key in BESIDE if (sha256 := getattr(self, key)) is not None]
        return hashlib.sha256(" ".join([adapter, *others]).encode()).hexdigest() if others else adapter

    @property
    def model_sha256(self) -> str:
        """Hash of everything that determines scores: adapter, backbone, and the settings as they were written."""
        deciding = {name: self.settings.get(name) for name in ("model", "prompt", "scoring")}
        blocks, tokens = self.config.backbone.read_blocks, self.config.backbone.tokens
        deciding |= {"block": blocks[0] if len(blocks) == 1 else blocks, "backbone": self.backbone_sha256}
        deciding |= {"adapter": self.trained_sha256} | ({} if tokens == "raw" else {"tokens": tokens})
        if self.memory_sha256 is not None:
            deciding |= {name: self.settings.get(name) for name in ("memory", "filter")}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    @property
    def training_sha256s(self) -> frozenset[str] | None:
        """Hashes of the training images; ``None`` for a run of a version that did not record them.

        Raises:
            RunError: The file is damaged, or is not the one that the run was sealed with.
        """
        return self._hashes(TRAINED_ON)

    @property
    def defect_sha256s(self) -> frozenset[str]:
        """Hashes of the photos of known defects that the training was shown; none of a run without any.

        Raises:
            RunError: The file is damaged, or is not the one that the run was sealed with.
        """
        return self._hashes(LEARNED_DEFECTS) or frozenset()

    def _hashes(self, name: str) -> frozenset[str] | None:
        path = self.path(name)
        hashes = read_hashes(path, COPY_AGAIN) if path.exists() else None
        require_sealed(self, self.stored(name))
        return hashes

    @property
    def metrics(self) -> dict[str, Any] | None:
        """Content of ``metrics.json``, or ``None`` if the run has not been evaluated since its memory changed.

        Raises:
            RunError: The file is damaged.
        """
        from clipada.runs.metrics import read_metrics  # imports SciPy, which most commands do not need

        path = self.folder / METRICS
        found = read_metrics(path) if path.exists() else None
        model = None if found is None else found["protocol"].get("model_sha256")
        unknown = model is None and self.revision is None  # older versions did not record it
        return found if unknown or model == self.model_sha256 else None


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """Fields of ``config.json``; the nested ones are built on their own."""

    config: dict[str, Any]
    backbone_sha256: str
    training: dict[str, Any]
    clipada_version: str
    encoders_sha256: str | None = None
    prototypes_sha256: str | None = None
    memory_sha256: str | None = None
    filter_sha256: str | None = None
    defects_sha256: str | None = None
    roi_sha256: str | None = None
    alignment_sha256: str | None = None
    revision: Revision | None = None
    sealed: bool = False


def read_run(folder: Path, *, finished: bool = True, config: str = CONFIG) -> Run:
    """Read a run folder's description; no weights are loaded.

    Args:
        folder: The run folder.
        finished: False to accept also a run whose manifest is missing, because its training was killed before the end.
        config: File in the folder with the description, which an earlier revision has in another place.

    Raises:
        RunError: The folder is missing, contains no finished run, or is damaged, or ``config.json`` is not the one that
            the run was sealed with.
    """
    found, sealed = _described(folder, config)
    run = replace(found, manifest=find_manifest(folder))
    unfinished = run.manifest is None and (folder / PLAN).is_file()
    if sealed and run.manifest is None and (finished or not unfinished):
        raise _no_manifest(folder, unfinished)
    require_sealed(run, config)
    return run


def require_readable(folder: Path) -> None:
    """Check that a folder contains a run, whatever its manifest says.

    Raises:
        RunError: As for ``read_run``.
    """
    _described(folder)


def is_finished(folder: Path) -> bool:
    """Return True if a folder contains a finished run, which may be damaged: its last file is there."""
    if not ((folder / CONFIG).exists() and (folder / ADAPTER).exists()):
        return False
    return (folder / MANIFEST).exists() or not (folder / PLAN).exists()


def _described(folder: Path, config_name: str = CONFIG) -> tuple[Run, bool]:
    """Read a run folder's description without its manifest; return also whether it was written to be sealed."""
    path = folder / config_name
    if not path.exists():
        raise no_run(folder)
    content = read_json(path, COPY_AGAIN)
    version = content["clipada_version"] if isinstance(content.get("clipada_version"), str) else "of the version"
    its_version = f"use clipada {version} that wrote it, or train again"
    if content.get("format") != FORMAT:
        got = f"format {shown(content.get('format'))}"
        raise RunError(f"{path} is of another format", expected=f"format {FORMAT}", got=got, remedy=its_version)
    try:
        facts: _Facts = build_known(_Facts, content, "")
        training: Training = build(Training, facts.training, "training.", "field")
    except ConfigError as error:
        raise damaged(path, error, COPY_AGAIN) from error
    try:
        config = completed_settings(Config.from_dict(facts.config))
    except ConfigError as error:
        what = f"{path} cannot be used: {error.what}"
        raise RunError(what, expected=error.expected, got=error.got, remedy=its_version) from error
    run = Run(
        folder=folder,
        config=config,
        backbone_sha256=facts.backbone_sha256,
        training=training,
        clipada_version=facts.clipada_version,
        settings=facts.config,
        encoders_sha256=facts.encoders_sha256,
        prototypes_sha256=facts.prototypes_sha256,
        memory_sha256=facts.memory_sha256,
        filter_sha256=facts.filter_sha256,
        defects_sha256=facts.defects_sha256,
        roi_sha256=facts.roi_sha256,
        alignment_sha256=facts.alignment_sha256,
        revision=facts.revision,
    )
    for name in map(run.stored, (ADAPTER, *(name for key, name in BESIDE.items() if key in content))):
        if not (folder / name).is_file():
            raise RunError(f"run {folder} is incomplete", expected=name, got="no such file", remedy=COPY_AGAIN)
    return run, facts.sealed


def _no_manifest(folder: Path, unfinished: bool) -> RunError:
    """Make the error for a run that was sealed, or was about to be, and has no manifest."""
    if unfinished:
        got, remedy = "an unfinished training", f"finish it with `clipada train --resume --out {folder}`"
    else:
        got = f"no {MANIFEST}"
        remedy = f"{COPY_AGAIN}; or accept the files as they are with `clipada verify {folder} --seal`"
    return RunError(f"run {folder} is incomplete", expected=MANIFEST, got=got, remedy=remedy)
