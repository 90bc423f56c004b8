"""Magnetic tile defects as published: ``MT_Free`` and a folder of each kind of defect, with masks beside the images.

Each of these folders has its files in ``Imgs``: ``exp1_num_1.jpg`` is an image and ``exp1_num_1.png`` its mask. There
is no split. ``root`` may also contain such a folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from clipada.data.categories import category_folders, choose_held_out, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, images_in, subfolders
from clipada.data.names import plain
from clipada.types import Sample

_PREFIX, _GOOD, _FILES = "mt_", "free", "imgs"
_MASK_SUFFIX = ".png"


def is_magnetic_tile(root: Path) -> bool:
    """Return True if ``root`` has folders ``MT_Free/Imgs`` and the like, or contains one that has."""
    return bool(category_folders(root, _is_product))


def read_magnetic_tile(root: Path) -> Dataset:
    """List a data set in this layout. A fixed share of the good images, chosen by name, is kept for the test."""
    labels: list[Path] = []
    dataset = read_categories(
        root, "magnetic_tile", _is_product, partial(_product, labels=labels), "no MT_Free/Imgs or the like"
    )
    return replace(dataset, label_files=tuple(labels))


def _is_product(folder: Path) -> bool:
    return bool(_kinds(folder))


def _kinds(folder: Path) -> dict[str, Path]:
    """Return the folder of the files of each kind: ``MT_Crack/Imgs`` of ``Crack``."""
    named = [found for found in subfolders(folder) if plain(found.name).startswith(_PREFIX)]
    return {
        kind.name[len(_PREFIX) :]: files
        for kind in named
        for files in subfolders(kind)
        if plain(files.name) == _FILES and len(kind.name) > len(_PREFIX)
    }


def _product(folder: Path, notes: list[Note], labels: list[Path]) -> Iterator[Sample]:
    """Yield the samples; add to ``notes`` what is left out and decided, to ``labels`` the masks of good images."""
    name, strays = folder_name(folder), 0
    good: dict[str, Path] = {}
    defective: list[Sample] = []
    for kind, files in _kinds(folder).items():
        images, masks = _sorted_out(files)
        strays += len(masks.keys() - images.keys())
        if plain(kind) == _GOOD:
            good = {path.name: path for path in images.values()}
            labels += [masks[stem] for stem in images if stem in masks]
        else:
            defective += [
                Sample(path=path, category=name, split="test", defect=kind, mask=masks.get(stem))
                for stem, path in images.items()
            ]
    held_out = choose_held_out(good) if len(good) > 1 and defective else set()
    yield from (Sample(path=path, category=name, split="train") for key, path in good.items() if key not in held_out)
    yield from (Sample(path=path, category=name, split="test") for key, path in good.items() if key in held_out)
    yield from defective
    if strays:
        notes.append(Note(text=f"left out: {strays} masks that belong to no image", category=name))
    if held_out:
        text = f"{len(held_out)} of {len(good)} good images held out for the test, chosen by name"
        notes.append(Note(text=text, category=name, splits=True))


def _sorted_out(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the images and the masks directly inside, by their plain stems."""
    found = images_in(folder)
    masks = {plain(path.stem): path for path in found if path.suffix.lower() == _MASK_SUFFIX}
    return {plain(path.stem): path for path in found if path not in set(masks.values())}, masks
