"""The MVTec AD layout: ``<category>/train/good``, ``<category>/test/<defect>``, ``<category>/ground_truth/<defect>``.

Many data sets are available in this layout, VisA too; ``root`` may also be a single category.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from clipada.data.categories import category_folders, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, images_in, pair_masks, subfolders
from clipada.types import Sample

GOOD = "good"


def is_mvtec(root: Path) -> bool:
    """Return True if ``root`` is a category in this layout or contains one."""
    return bool(category_folders(root, _is_category))


def read_mvtec(root: Path) -> Dataset:
    """List a data set in this layout. Normal test images are those in ``test/good``."""
    return read_categories(root, "mvtec", _is_category, _category, "no train/good or test")


def _is_category(folder: Path) -> bool:
    return (folder / "train" / GOOD).is_dir() or bool(subfolders(folder / "test"))


def _category(folder: Path, notes: list[Note]) -> Iterator[Sample]:
    """Yield the samples of one category; add to ``notes`` the files left out."""
    name = folder_name(folder)
    for path in images_in(folder / "train" / GOOD):
        yield Sample(path=path, category=name, split="train")
    for path in images_in(folder / "test" / GOOD):
        yield Sample(path=path, category=name, split="test")
    tested = {found.name for found in subfolders(folder / "test")} - {GOOD}
    masked = {found.name for found in subfolders(folder / "ground_truth")} - {GOOD}
    strays = 0
    for defect in sorted(tested | masked):
        images = images_in(folder / "test" / defect)
        masks, unused = pair_masks(images, images_in(folder / "ground_truth" / defect))
        strays += len(unused)
        for path in images:
            yield Sample(path=path, category=name, split="test", defect=defect, mask=masks.get(path))
    if strays:
        notes.append(Note(text=f"left out: {strays} masks that belong to no image", category=name))
    notes += [
        Note(text=f"left out: train/{other.name}, as only train/good is trained on", category=name)
        for other in subfolders(folder / "train")
        if other.name != GOOD
    ]
