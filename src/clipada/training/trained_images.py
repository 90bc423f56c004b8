"""Images that a run has learned from: where they are now, and if they are still the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from clipada.data import Dataset, Layout, load_dataset
from clipada.data.defects import load_defects
from clipada.data.listing import images_below, images_in
from clipada.errors import DatasetError
from clipada.images import readable_sha256
from clipada.runs import Run
from clipada.runs.additions import read_additions
from clipada.training.split import select_share, split_validation
from clipada.types import Sample

_NAME_FOLDER = "name their folder with --data"


@dataclass(frozen=True, kw_only=True)
class AddedImages:
    """Images of good parts that were added to a memory together.

    Attributes:
        product: The product.
        condition: Name of the light or camera in which they show it; empty for a new product.
        paths: The images.
    """

    product: str
    condition: str
    paths: tuple[Path, ...]


def find_dataset(run: Run, data: Path | str | None = None, otherwise: str = "") -> Dataset:
    """Load the data set that a run was trained on, with the products that are in its memory still.

    Args:
        run: The run.
        data: Its folder; ``None`` for the recorded one.
        otherwise: What a user can do instead of naming the folder, for the error.

    Raises:
        DatasetError: There is no such folder, or no image in it.
    """
    place = data or run.training.data
    if data is None and not (place and Path(place).is_dir()):
        raise DatasetError(
            f"the training images of run {run.label} are not where they were",
            expected=str(place) or "a recorded folder",
            got="no such folder" if place else "none recorded",
            remedy="; or ".join(filter(None, (_NAME_FOLDER, otherwise))),
        )
    trained = run.training.categories if run.revision is None else run.revision.trained.categories
    names = [name for name in trained if name in run.training.categories] or list(trained)
    return load_dataset(place, cast("Layout", run.training.layout), names)


def trained_images(run: Run, dataset: Dataset, otherwise: str = "") -> list[Sample]:
    """Return the images that a run was trained on, and those that validated it, in the order of the training.

    Args:
        run: The run.
        dataset: The data set that it was trained on.
        otherwise: What a user can do instead of naming another folder, for the error.

    Raises:
        DatasetError: An image is no longer there, or has changed.
    """
    hashes = replace(run, revision=None).training_sha256s
    trained = run.training.categories if run.revision is None else run.revision.trained.categories
    wanted, found = {name: trained[name] for name in dataset.categories}, dict[str, int]()
    for samples in (dataset.train, [sample for sample in dataset.samples if not sample.anomalous]):
        if hashes is None:  # an earlier version
            chosen = select_share(samples, run.config)
        else:
            chosen = [sample for sample in samples if readable_sha256(sample.path) in hashes]
        kept, _ = split_validation(chosen, run.config)
        found = {name: sum(sample.category == name for sample in kept) for name in wanted}
        if found == wanted:
            return chosen
    raise DatasetError(
        f"the training images of run {run.label} are not all in {dataset.root}",
        expected=", ".join(f"{count} of {name}" for name, count in wanted.items()),
        got=", ".join(f"{count} of {name}" for name, count in found.items()) + "; others are gone, moved or changed",
        remedy="; or ".join(filter(None, (_NAME_FOLDER, otherwise))),
    )


def added_images(run: Run, data: Path | str | None = None) -> list[AddedImages]:
    """Find the images that were added to a run since its training, in the order in which they were.

    They are known by their hashes, in the folders that they came from, and below that of the training images.

    Args:
        run: The run.
        data: A folder with images, if they have moved.

    Raises:
        DatasetError: An image is no longer there, or has changed.
        RunError: The record of an addition is damaged.
    """
    if run.revision is None:
        return []
    described = [one.described for one in read_additions(run, run.revision.parts)]
    folders = [*map(Path, dict.fromkeys(folder for one in described for folder in one.folders))]
    missing, found = {sha256 for one in described for sha256 in one.sha256s}, dict[str, Path]()
    for path in _candidates(folders, data or run.training.data):
        if not missing:
            break
        if (sha256 := readable_sha256(path)) in missing:
            missing.discard(sha256)
            found[sha256] = path
    if missing:
        lacking = next(one for one in described if missing & {*one.sha256s})
        raise DatasetError(
            f"images that were added to run {run.label} are not where they were",
            expected=f"{len(lacking.sha256s)} of {lacking.product} {lacking.condition}".rstrip(),
            got=f"{len(missing & {*lacking.sha256s})} are gone, moved or changed",
            remedy=f"put them back, or into a folder below that of the training images and {_NAME_FOLDER}",
        )
    return [
        AddedImages(product=one.product, condition=one.condition, paths=tuple(map(found.__getitem__, one.sha256s)))
        for one in described
    ]


def defects_folder(run: Run, dataset: Dataset) -> Path | None:
    """Return the folder with the photos of known defects that a run has learned from; ``None`` if there are none.

    Args:
        run: The run.
        dataset: The data set that it was trained on, which may be that folder and have moved.

    Raises:
        DatasetError: A photo is no longer there, has changed, or is a new one; or shows a product that was removed.
    """
    if not (recorded := run.training.defects_data):
        return None
    if others := run.training.defects.keys() - {*dataset.categories}:
        raise DatasetError(
            f"run {run.label} has learned from photos of defects of {', '.join(sorted(others))}, which was removed",
            expected=f"defects of {', '.join(dataset.categories)} alone",
            remedy="train a run of the products that are left, with photos of their defects",
        )
    folder, root = Path(recorded), Path(run.training.data)
    if folder.is_relative_to(root):
        folder = dataset.root.resolve() / folder.relative_to(root)
    found = {*load_defects(folder, dataset).sha256s} if folder.is_dir() else set[str]()
    if found != run.defect_sha256s:
        gone, new = len(run.defect_sha256s - found), len(found - run.defect_sha256s)
        raise DatasetError(
            f"the photos of known defects of run {run.label} are not those that it has learned from",
            expected=f"{len(run.defect_sha256s)} photos in {folder}",
            got=f"{gone} are gone or changed, {new} are new" if folder.is_dir() else "no such folder",
            remedy="restore the folder as it was; or train a run with the photos that there are",
        )
    return folder


def _candidates(folders: list[Path], root: Path | str) -> Iterator[Path]:
    """Yield the images directly in some folders, then all below a folder."""
    for folder in folders:
        yield from images_in(folder)
    if root and Path(root).is_dir():
        yield from images_below(Path(root), [])
