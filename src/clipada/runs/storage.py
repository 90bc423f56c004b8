"""Saving, loading and verification of a run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipada.config import Config
from clipada.devices import package_version
from clipada.errors import BackboneError, RunError
from clipada.files import sha256_of, write_json, write_text
from clipada.runs.contents import (
    ADAPTER,
    ALIGNMENT,
    BESIDE,
    CONFIG,
    DEFECTS,
    ENCODERS,
    FILTER,
    LEARNED_DEFECTS,
    MEMORY,
    PROTOTYPES,
    ROI,
    TRAINED_ON,
)
from clipada.runs.description import COPY_AGAIN, FORMAT, Run
from clipada.runs.known_defects import read_known_defects, write_known_defects
from clipada.runs.memory import read_head, write_head
from clipada.runs.roi import load_roi
from clipada.runs.sealing import seal
from clipada.runs.tensors import load_parameters, read_tensors, write_parameters
from clipada.runs.training import Training
from clipada.runs.verification import require_sealed

if TYPE_CHECKING:
    from torch import Tensor

    from clipada.models.backbones import Backbone
    from clipada.models.clip_ada import ClipAda
    from clipada.models.memory_head import MemoryHead
    from clipada.models.prototypes import Prototypes


def save_run(folder: Path, model: ClipAda, config: Config, training: Training) -> Run:
    """Write the adapter, the tuned encoders and the prototypes if any, and the settings into ``folder``, and seal it.

    Regions of interest and references are those that are there already.

    ``config.json`` is written last but for the manifest, which marks a complete run.
    """
    sha256 = model.backbone.origin_sha256
    prototypes = {} if model.memory is None else model.memory.tensors()
    write_parameters(folder / ADAPTER, model.adapter_parameters(), backbone_sha256=sha256)
    beside: dict[str, Mapping[str, Tensor]] = {ENCODERS: model.encoder_parameters(), PROTOTYPES: prototypes}
    for name, tensors in beside.items():
        if tensors:
            write_parameters(folder / name, tensors, backbone_sha256=sha256)
    if model.head is not None:
        write_head(folder / MEMORY, folder / FILTER, model.head, sha256)
    known = None if model.head is None else model.head.known
    if model.head is not None and known is not None:
        write_known_defects(folder / DEFECTS, known, model.head.products, sha256)
    filtered = model.head is not None and model.head.filter is not None
    run = Run(
        folder=folder,
        config=config,
        backbone_sha256=sha256,
        training=training,
        clipada_version=package_version(),
        settings=config.to_dict(),
        encoders_sha256=sha256_of(folder / ENCODERS) if beside[ENCODERS] else None,
        prototypes_sha256=sha256_of(folder / PROTOTYPES) if prototypes else None,
        memory_sha256=sha256_of(folder / MEMORY) if model.head is not None else None,
        filter_sha256=sha256_of(folder / FILTER) if filtered else None,
        defects_sha256=sha256_of(folder / DEFECTS) if known is not None else None,
        roi_sha256=sha256_of(folder / ROI) if (folder / ROI).is_file() else None,
        alignment_sha256=sha256_of(folder / ALIGNMENT) if (folder / ALIGNMENT).is_file() else None,
    )
    others = {key: getattr(run, key) for key in BESIDE if getattr(run, key) is not None}
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "clipada_version": run.clipada_version,
            "backbone_sha256": run.backbone_sha256,
            "config": run.settings,
            "training": asdict(training),
            **others,
            "sealed": True,
        },
    )
    return replace(run, manifest=seal(folder))


def write_training_sha256s(folder: Path, paths: Iterable[Path]) -> None:
    """Write the hashes of the training images, so that a calibration can check that it does not use them."""
    hashes = set()
    for path in paths:
        with suppress(OSError):  # an image that cannot be read was not trained on
            hashes.add(sha256_of(path))
    _write_hashes(folder / TRAINED_ON, hashes)


def write_defect_sha256s(folder: Path, sha256s: Iterable[str]) -> None:
    """Write the hashes of the photos of known defects, so that an evaluation can leave them out."""
    _write_hashes(folder / LEARNED_DEFECTS, set(sha256s))


def _write_hashes(path: Path, hashes: set[str]) -> None:
    write_text(path, "".join(f"{one}\n" for one in sorted(hashes)))


def load_model(run: Run, backbone: str | None = None) -> ClipAda:
    """Load a run's model and verify that the backbone is the one it was trained on.

    Args:
        run: The run.
        backbone: Present name or folder of the backbone, if it has moved since the training.

    Raises:
        BackboneError: The backbone cannot be loaded or has other weights.
        RunError: The adapter is missing, damaged, does not fit, or is not the one that the run was sealed with.
    """
    from clipada.models.backbones import load_backbone
    from clipada.models.clip_ada import build_model

    settings = run.config.backbone if backbone is None else replace(run.config.backbone, name=backbone)
    try:
        loaded = load_backbone(settings)
    except BackboneError as error:
        if backbone is not None:
            raise
        raise BackboneError(
            error.what,
            expected=error.expected,
            got=error.got,
            remedy=f"pass --backbone with the path of {run.backbone_label} on this machine",
        ) from error
    found = loaded.sha256()
    if found != run.backbone_sha256:
        raise BackboneError(
            f"backbone {settings.name} is not the one this run was trained on",
            expected=run.backbone_label,
            got=f"sha256 {found[:12]}",
            remedy="pass --backbone with the right checkpoint",
        )
    model = build_model(run.config, loaded, _prototypes(run, loaded.width))
    load_parameters(run.folder / ADAPTER, model.adapter_parameters(), COPY_AGAIN)
    require_sealed(run, ADAPTER)
    if run.encoders_sha256 is not None:
        load_parameters(run.verified(ENCODERS, run.encoders_sha256), model.encoder_parameters(), COPY_AGAIN)
    return model if run.memory_sha256 is None else model.with_head(_head(run, loaded))


def _head(run: Run, backbone: Backbone) -> MemoryHead:
    """Read the detector over a memory after checking that its files have not changed."""
    memory = run.verified(MEMORY, run.memory_sha256 or "")
    filter_file = None if run.filter_sha256 is None else run.verified(FILTER, run.filter_sha256)
    head = read_head(memory, filter_file, run.config, backbone, run.training.recall, load_roi(run))
    if run.defects_sha256 is not None:
        path, blocks = run.verified(DEFECTS, run.defects_sha256), len(backbone.blocks)
        head.known = read_known_defects(path, head.products, blocks * backbone.block_width, blocks)
    return head


def _prototypes(run: Run, width: int) -> Prototypes | None:
    """Read the prototypes of patches of a width; ``None`` if the run has none."""
    if run.prototypes_sha256 is None:
        return None
    from clipada.models.prototypes import Prototypes

    path = run.verified(PROTOTYPES, run.prototypes_sha256)
    tensors = read_tensors(path, COPY_AGAIN)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    rows = next(iter(found.get("centres", ())), 0)
    wanted: dict[str, tuple[int, ...]] = {"centres": (rows, width), "channel_mean": (width,), "channel_std": (width,)}
    wanted |= {"distance_mean": (), "distance_std": ()}
    if found != wanted or not rows:
        what = f"{path.stem} {path} does not fit its config.json"
        raise RunError(what, expected=str(wanted), got=str(found), remedy=COPY_AGAIN)
    return Prototypes(**tensors)
