"""Names of the files in a run folder, and the table of those that decide its verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CONFIG = "config.json"
ADAPTER = "adapter.safetensors"
ENCODERS = "encoders.safetensors"
PROTOTYPES = "prototypes.safetensors"
MEMORY = "memory.safetensors"
FILTER = "filter.safetensors"
DEFECTS = "defects.safetensors"
ROI = "roi.json"
ALIGNMENT = "alignment.json"
METRICS = "metrics.json"
SCORES = "evaluation/scores.jsonl"
CARD = "README.md"
PLAN = "training.json"
CHECKPOINT = "checkpoint.safetensors"
CALIBRATION = "calibration.json"
TRAINED_ON = "training-images.sha256"
LEARNED_DEFECTS = "defect-images.sha256"
INPUT_CHECK = "input-check.safetensors"
EXPORTS = "exports"
REVISIONS = "revisions"
MANIFEST = "manifest.json"

BESIDE = {
    "encoders_sha256": ENCODERS,
    "prototypes_sha256": PROTOTYPES,
    "memory_sha256": MEMORY,
    "filter_sha256": FILTER,
    "defects_sha256": DEFECTS,
    "roi_sha256": ROI,
    "alignment_sha256": ALIGNMENT,
}
"""Optional files beside the adapter, by the name of their hash in ``config.json``."""

REVISED = (MEMORY, INPUT_CHECK, TRAINED_ON)
"""Files of which a revision has its own, in a folder below ``revisions``."""

BEFORE = "before.json"
"""File in a revision's folder: the ``config.json`` that it replaced."""

ADDED = "added-{}.safetensors"
"""File in a revision's folder: good parts that it added to the memory."""

_IN_REVISIONS = tuple(f"{REVISIONS}/*/{name}" for name in (MEMORY, TRAINED_ON, CALIBRATION, BEFORE, ADDED.format("*")))

CHECKED_BY_READER = (
    *(CONFIG, ADAPTER, *BESIDE.values(), TRAINED_ON, LEARNED_DEFECTS, CALIBRATION),
    *(f"{EXPORTS}/*/*", *_IN_REVISIONS),
)
"""Deciding files whose hash is compared with the manifest by whoever reads them."""

DECIDING = (*CHECKED_BY_READER, INPUT_CHECK, f"{REVISIONS}/*/{INPUT_CHECK}")
"""All files that decide a verdict, as patterns below the run folder: the manifest lists their hashes.

A new kind of file is one entry here. It is then sealed by each writer, uploaded and downloaded, checked by ``clipada
verify``, and its hash is checked whenever a model is loaded, unless it is in ``CHECKED_BY_READER``.
"""

PUBLISHED = (*(name for name in DECIDING if not name.startswith((EXPORTS, REVISIONS))), MANIFEST, METRICS, CARD)
"""Files of a run that are uploaded and downloaded, those of the revision in force; exports are optional."""


def deciding_files(folder: Path, patterns: tuple[str, ...] = DECIDING) -> Iterator[str]:
    """Yield the names below a run folder of the files there that decide a verdict, dangling links included."""
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            name = path.relative_to(folder)
            unfinished = any(part.startswith(".") for part in name.parts)  # e.g. an export that is being written
            if not unfinished and not path.is_dir():
                yield name.as_posix()
