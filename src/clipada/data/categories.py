"""Category folders, shared by the layouts without a table of files: one per category, or a single category alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from clipada.data.dataset import Dataset, Layout, Note
from clipada.data.listing import subfolders
from clipada.types import Sample

IsCategory = Callable[[Path], bool]

HELD_OUT = 0.2
"""Share of a category's good images that become normal test images where the layout has no split."""


def category_folders(root: Path, is_category: IsCategory) -> list[Path]:
    """Return the folders of the categories, or ``root`` itself if it is a category."""
    return [root] if is_category(root) else [folder for folder in subfolders(root) if is_category(folder)]


def read_categories(
    root: Path,
    layout: Layout,
    is_category: IsCategory,
    list_category: Callable[[Path, list[Note]], Iterator[Sample]],
    lacking: str,
) -> Dataset:
    """List the categories below ``root``.

    Args:
        root: The data set's folder, or that of a single category.
        layout: The layout's name.
        is_category: Function that returns true for a folder that is a category in this layout.
        list_category: Function that lists one category's samples and adds notes on files left out and on decisions.
        lacking: Reason why a folder is left out, e.g. ``"no train/good or test"``.
    """
    notes: list[Note] = []
    folders = category_folders(root, is_category)
    samples = tuple(sample for folder in folders for sample in list_category(folder, notes))
    if folders != [root]:
        others = [folder.name for folder in subfolders(root) if folder not in folders]
        notes += [Note(text=f"left out: {name}, which has {lacking}") for name in others]
    return Dataset(root=root, layout=layout, samples=samples, notes=tuple(notes))


def choose_held_out(names: Collection[str]) -> set[str]:
    """Choose a fixed share of at least two names, at least one but never all, by their hashes."""
    return choose_names(names, max(1, round(HELD_OUT * len(names))))


def choose_names(names: Collection[str], count: int) -> set[str]:
    """Choose ``count`` names by their hashes: the same ones on every machine, in no order of time or place."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    return set(ranked[:count])
