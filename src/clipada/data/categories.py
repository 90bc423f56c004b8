"""One folder for each category, or the folder of a single one: what the layouts without a list of files share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from clipada.data.dataset import Dataset, Layout, Note
from clipada.data.listing import subfolders
from clipada.types import Sample

IsCategory = Callable[[Path], bool]


def category_folders(root: Path, is_category: IsCategory) -> list[Path]:
    """The folders of the categories, ``root`` itself if it is one."""
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
        is_category: Whether a folder is a category in this layout.
        list_category: Lists one category's samples; adds to the notes what was left out or decided.
        lacking: What a folder that is left out does not have, e.g. ``"no train/good or test"``.
    """
    notes: list[Note] = []
    folders = category_folders(root, is_category)
    samples = tuple(sample for folder in folders for sample in list_category(folder, notes))
    if folders != [root]:
        others = [folder.name for folder in subfolders(root) if folder not in folders]
        notes += [Note(text=f"left out: {name}, which has {lacking}") for name in others]
    return Dataset(root=root, layout=layout, samples=samples, notes=tuple(notes))
