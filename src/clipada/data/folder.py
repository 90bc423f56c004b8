"""Plain folder layout: images of good parts and, optionally, ``anomalous`` ones with their ``masks``.

A product is a folder with images directly inside or in ``good`` or ``normal``. ``root`` is one product or a folder of
products.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipada.data.categories import category_folders, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, images_below, images_in, pair_masks, subfolders
from clipada.errors import DatasetError
from clipada.types import Sample

HELD_OUT = 0.2
"""Share of a product's good images that become normal test images if there are anomalous ones."""

_GOOD = ("good", "normal")
_ANOMALOUS = "anomalous"
_MASKS = "masks"
_KNOWN = frozenset({*_GOOD, _ANOMALOUS, _MASKS})


def is_folder(root: Path) -> bool:
    """Return True if ``root`` is a product or contains one."""
    return bool(category_folders(root, _is_product))


def read_folder(root: Path) -> Dataset:
    """List a data set in this layout.

    Raises:
        DatasetError: Masks are ambiguous, or a folder of anomalous images is called good.
    """
    return read_categories(root, "folder", _is_product, _product, "no images directly inside or in good")


def _is_product(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (*_GOOD, _ANOMALOUS)) or bool(images_in(folder))


def _product(folder: Path, notes: list[Note]) -> Iterator[Sample]:
    """Yield the samples of one product; add to ``notes`` the files left out and the decisions made."""
    name = folder_name(folder)
    remarks: list[str] = []
    good = _good_images(folder, remarks)
    anomalous = list(_anomalous(folder, name, remarks))
    held_out = _held_out(folder, good, remarks) if anomalous else set()
    others = [found.name for found in subfolders(folder) if found.name not in _KNOWN]
    remarks += [f"left out: folder {other}, which is none of {', '.join(sorted(_KNOWN))}" for other in others]
    notes += [Note(text=text, category=name) for text in remarks]
    yield from (Sample(path=path, category=name, split="train") for path in good if path not in held_out)
    yield from (Sample(path=path, category=name, split="test") for path in good if path in held_out)
    yield from anomalous


def _good_images(folder: Path, remarks: list[str]) -> list[Path]:
    """Return the images of good parts: those in ``good`` and ``normal`` if these exist, else those directly inside."""
    direct = images_in(folder)
    named = [folder / name for name in _GOOD if (folder / name).is_dir()]
    if not named:
        return direct
    if direct:
        remarks.append(f"left out: {len(direct)} images beside the folder {named[0].name}")
    return [path for good in named for path in images_below(good)]


def _anomalous(folder: Path, category: str, remarks: list[str]) -> Iterator[Sample]:
    """Yield the anomalous images with their masks; a subfolder is named after its kind of defect."""
    images, masks = _by_place(folder / _ANOMALOUS), _by_place(folder / _MASKS)
    strays = 0
    for place in sorted(images.keys() | masks.keys()):
        defect = place.parts[0] if place.parts else _ANOMALOUS
        if defect == "good":
            raise DatasetError(
                f"anomalous images called good in {folder / _ANOMALOUS}",
                expected="folders named after kinds of defects",
                got="good",
                remedy=f"move good parts to {folder / 'good'}",
            )
        paired, unused = pair_masks(images[place], masks[place])
        strays += len(unused)
        for path in images[place]:
            yield Sample(path=path, category=category, split="test", defect=defect, mask=paired.get(path))
    if strays:
        remarks.append(f"left out: {strays} masks that belong to no image")


def _by_place(folder: Path) -> defaultdict[Path, list[Path]]:
    """Group the images below ``folder`` by their parent folder relative to it; none if it does not exist."""
    places: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in images_below(folder) if folder.is_dir() else []:
        places[path.parent.relative_to(folder)].append(path)
    return places


def _held_out(folder: Path, good: Sequence[Path], remarks: list[str]) -> set[Path]:
    """Choose a fixed share of the good images, at least one but never all, by a hash of their names."""
    if len(good) < 2:
        remarks.append("no good image held out for the test, as there are fewer than two")
        return set()
    number = max(1, round(HELD_OUT * len(good)))
    remarks.append(f"{number} of {len(good)} good images held out for the test, chosen by name")
    ranked = sorted(good, key=lambda path: hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).digest())
    return set(ranked[:number])
