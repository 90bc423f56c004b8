"""The way in: a folder becomes a data set, its layout recognized or given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from clipada.data.dataset import Dataset, Layout
from clipada.data.folder import is_folder, read_folder
from clipada.data.listing import contents
from clipada.data.mvtec import is_mvtec, read_mvtec
from clipada.data.visa import is_visa, read_visa
from clipada.errors import DatasetError


class _Reader(NamedTuple):
    """One layout: how to recognize it, list it, and describe it."""

    recognizes: Callable[[Path], bool]
    read: Callable[[Path], Dataset]
    shape: str


_READERS: dict[Layout, _Reader] = {
    "visa": _Reader(is_visa, read_visa, "split_csv/1cls.csv"),
    "mvtec": _Reader(is_mvtec, read_mvtec, "<category>/train/good, <category>/test/<defect>"),
    "folder": _Reader(is_folder, read_folder, "images of good parts directly inside or in good, or folders of such"),
}


def load_dataset(
    root: Path, layout: Layout | Literal["auto"] = "auto", categories: Sequence[str] | None = None
) -> Dataset:
    """List the images of a data set. No image is opened.

    Args:
        root: The data set's folder, or in the ``mvtec`` and ``folder`` layouts that of one category.
        layout: ``mvtec``, ``visa`` or ``folder``; ``auto`` takes the first of visa, mvtec, folder that fits.
        categories: Which categories to keep; ``None`` keeps all.

    Raises:
        DatasetError: The folder is missing, is not laid out as asked, has no images, or lacks a category.
    """
    if not root.is_dir():
        raise DatasetError(
            f"no data set folder {root}", expected="a folder", got="a file" if root.exists() else "nothing"
        )
    if layout != "auto" and layout not in _READERS:
        raise DatasetError(f"no layout {layout!r}", expected="auto | " + " | ".join(sorted(_READERS)))
    fitting = (r for name, r in _READERS.items() if layout in ("auto", name) and r.recognizes(root))
    dataset = next((found for found in (reader.read(root) for reader in fitting) if found.samples), None)
    if dataset is None:
        raise _not_a_dataset(root, layout)
    return dataset if categories is None else dataset.select(categories)


def _not_a_dataset(root: Path, layout: str) -> DatasetError:
    """The error for a folder without images in the layout asked for."""
    shapes = [f"{name}: {reader.shape}" for name, reader in _READERS.items() if layout in ("auto", name)]
    return DatasetError(
        f"no data set with images in {root}",
        expected="\n    ".join(["one of these layouts:" if layout == "auto" else "this layout:", *shapes]),
        got=contents(root),
    )
