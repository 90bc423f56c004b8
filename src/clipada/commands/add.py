"""Add good parts of a new product, or of a product in another light, to the memory of a finished run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from clipada.calibration import find_calibration
from clipada.config import RuntimeConfig
from clipada.data.labels import refuse_defects
from clipada.data.listing import find_images
from clipada.devices import find_device, package_version
from clipada.engines.exports import DESCRIPTION
from clipada.errors import CalibrationError, DatasetError, RunError
from clipada.files import read_json, write_text
from clipada.inspection.good_parts import sort_out
from clipada.inspection.named_parts import NamedParts
from clipada.report import model_card
from clipada.report.card import images_fingerprint
from clipada.runs import (
    CALIBRATION,
    CARD,
    EXPORTS,
    METRICS,
    Change,
    Run,
    load_model,
    read_run,
    require_complete,
    writes_into_run,
)
from clipada.types import Failure, ProgressReport, unreported

REJECTED = "rejected alarms"
"""Name of the condition of rejected alarms that are given without one."""


@dataclass(frozen=True, kw_only=True)
class Revised:
    """A run whose memory has changed.

    Attributes:
        run: The run with the revision that is in force now.
        changes: What was added or removed, or for an undo, what was undone.
        known: Images that were left out because they are in the memory already.
        copies: Images left out because another one has the same content.
        unassigned: Images of rejected alarms left out because their product is not known.
        failures: Images that could not be read.
        warnings: What a user should know of the new parts.
        stale: Calibration, exports and metrics in the run folder that are of another memory, and not used any more.
        seconds: Time that it took.
    """

    run: Run
    changes: tuple[Change, ...]
    known: tuple[Path, ...] = ()
    copies: tuple[Path, ...] = ()
    unassigned: tuple[Path, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    seconds: float = 0.0


@writes_into_run
def add_parts(
    run: Path | str,
    images: Path | str | Iterable[Path | str] = (),
    *,
    product: str | None = None,
    condition: str | None = None,
    rejected: Mapping[Path, str | None] | None = None,
    backbone: str | None = None,
    runtime: RuntimeConfig | None = None,
    report: ProgressReport = unreported,
) -> Revised:
    """Add good parts to the memory of a finished run, without a training.

    Backbone, filter and the scale of scores stay, and so do the answers for all other products, but for rounding. The
    memory before is kept for ``remove_parts``. Calibration, exports and metrics of the run are of another model from
    then on, and are refused.

    Args:
        run: The run folder.
        images: Images or folders of good parts.
        product: Name of a new product; with ``condition``, of the product that the images show.
        condition: Name of a new light or camera. Without ``product``, the folders of the images name their products,
            unless the run knows only one. Images can be added to the same condition again.
        rejected: Kept images of false alarms, and the product of each, as ``History.false_alarms`` returns them; they
            are added to the condition, which is called "rejected alarms" if it has no other name.
        backbone: Present name or folder of the backbone, if it has moved since the training.
        runtime: Device, workers, and the size of the cache of tokens.
        report: Called after every step.

    Raises:
        ConfigError: The names do not say what the images show.
        ImageError: A path does not exist, or no image is found.
        DatasetError: Images are named as defects, or no image is left to add.
        RunError: The run has no memory of good parts, is damaged, or another program writes there.
        BackboneError: The backbone is missing or another one.
    """
    started, runtime = time.monotonic(), runtime or RuntimeConfig()
    described = read_run(Path(run))
    require_memory(described)
    given = [Path(image) for image in ([images] if isinstance(images, Path | str) else images)]
    paths = find_images(given) if given else []
    refuse_defects(paths)
    if rejected is not None and not (rejected or paths):
        raise DatasetError(
            "there are no rejected alarms to add",
            expected="kept images of alarms of this run's present model that were rejected",
            got="none",
            remedy="inspect with --keep-images defective, and reject alarms on the page or with `clipada history`",
        )
    if rejected and not paths:
        condition = condition or REJECTED
    named = NamedParts(described, product, condition)
    fresh, known, copies = sort_out([*paths, *(rejected or {})], described)
    late = {path: (rejected or {})[path] for path in ((rejected or {}).keys() - {*paths}) & {*fresh}}
    assigned, unassigned = named.assign([path for path in fresh if path not in late], late)
    if not assigned:
        raise _nothing_left(len(known), len(copies), len(unassigned))
    added, failures, warnings = join_memory(described, assigned, named.condition, backbone, runtime, report)
    return Revised(
        run=added.run,
        changes=added.changes,
        known=known,
        copies=copies,
        unassigned=tuple(unassigned),
        failures=tuple(failures),
        warnings=(*warnings, *_calibrated_with(described, added.sha256s)),
        stale=stale_files(added.run),
        seconds=round(time.monotonic() - started, 1),
    )


def stale_files(run: Run) -> tuple[str, ...]:
    """Return the names of calibration, exports and metrics that are of another model than the run's present one."""
    stale = []
    with suppress(CalibrationError):  # a damaged one is refused by whoever reads it
        calibration = find_calibration(run.folder / CALIBRATION)
        if calibration is not None and calibration.model_sha256 != run.model_sha256:
            stale.append(CALIBRATION)
    for path in sorted((run.folder / EXPORTS).glob(f"*/{DESCRIPTION}")):
        if read_json(path, "run `clipada export` again").get("adapter_sha256") != run.trained_sha256:
            stale.append(path.parent.relative_to(run.folder).as_posix())
    if (run.folder / METRICS).is_file() and run.metrics is None:
        stale.append(METRICS)
    return tuple(stale)


def require_memory(run: Run) -> None:
    """Raise ``RunError`` unless a run has a memory of good parts."""
    if run.memory_sha256 is None:
        raise RunError(
            f"run {run.folder} has no memory of good parts that could change",
            expected="a run of the preset quick or accurate, or with memory.rows",
            got="a model that learned its products by training",
            remedy="train again with all products, e.g. with `clipada train --preset accurate`",
        )


@dataclass(frozen=True, kw_only=True)
class Added:
    """Result of an addition.

    Attributes:
        run: The run with the new revision in force.
        changes: The changes.
        sha256s: Hashes of the images.
    """

    run: Run
    changes: tuple[Change, ...]
    sha256s: frozenset[str] = field(repr=False)


def join_memory(
    run: Run,
    assigned: Mapping[str, Sequence[Path]],
    condition: str,
    backbone: str | None,
    runtime: RuntimeConfig,
    report: ProgressReport,
) -> tuple[Added, list[Failure], list[str]]:
    """Study the images of each product, and put the revision with them in force; the caller has the folder's lock."""
    from clipada.runs.composing import revise
    from clipada.training.growth import GoodParts, Growth, read_good_parts

    require_complete(run)
    growth = Growth(run, load_model(run, backbone).to(find_device(runtime.device)), runtime, report)
    additions, failures = [], list[Failure]()
    for product, paths in assigned.items():
        views, sha256s = read_good_parts(run, product, paths, runtime.decoders)
        failures += views.failures
        if views.paths:
            parts = GoodParts(product=product, condition=condition, views=views, sha256s=tuple(sha256s))
            additions.append(growth.study(parts))
    if not additions:
        raise DatasetError("no image can be read", got=str(failures[0].error.what), remedy="check the files")
    changes = tuple(
        change_of(run, "added", one.described.product, condition, one.images, one.described.sha256s)
        for one in additions
    )
    revision = run.revision
    kept, removed = ((), ()) if revision is None else (revision.parts, revision.removed)
    revised, composition = revise(run, kept, additions, removed, changes)
    write_text(revised.folder / CARD, model_card(revised))
    warnings = growth.warnings + [
        f"{count} of {revised.training.categories[name]} images of {name} are more like another product: say which "
        "product an image shows where you can (`group` in Python and HTTP)"
        for name, count in composition.mistaken().items()
    ]
    hashes = frozenset(sha256 for one in additions for sha256 in one.described.sha256s)
    return Added(run=revised, changes=changes, sha256s=hashes), failures, warnings


def change_of(run: Run, action: str, product: str, condition: str, images: int, sha256s: Sequence[str] = ()) -> Change:
    """Describe a change that the next revision of a run makes."""
    from clipada.runs.revising import next_revision

    return Change(
        revision=next_revision(run),
        action=action,  # type: ignore[arg-type]
        product=product,
        condition=condition,
        images=images,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        clipada_version=package_version(),
        fingerprint=images_fingerprint(sha256s) if sha256s else "",
    )


def _calibrated_with(run: Run, sha256s: frozenset[str]) -> list[str]:
    """Return a warning if images are in the run's calibration, and none otherwise."""
    try:
        calibration = find_calibration(run.folder / CALIBRATION)
    except CalibrationError:
        return []
    both = len(sha256s & {image.sha256 for image in calibration.images}) if calibration else 0
    said = f"{both} of the images are in the present calibration: the next one needs others instead"
    return [said] if both else []


def _nothing_left(known: int, copies: int, unassigned: int) -> DatasetError:
    """Make the error for images none of which can be added."""
    return DatasetError(
        "no image is left to add",
        expected="good parts that are not in the memory yet, of products of the run",
        got=f"{known} that are in the memory already, {copies} copies, {unassigned} of unknown products",
        remedy="name other images; for rejected alarms, inspect with --keep-images defective",
    )
