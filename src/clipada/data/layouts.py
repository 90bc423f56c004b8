"""Loading of a data set from a folder whose layout is given or detected."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from clipada.data.dataset import Dataset, Layout, Note
from clipada.data.folder import is_folder, read_folder
from clipada.data.kolektor import is_kolektor, read_kolektor
from clipada.data.listing import describe_contents, image_folders
from clipada.data.magnetic_tile import is_magnetic_tile, read_magnetic_tile
from clipada.data.mvtec import is_mvtec, read_mvtec
from clipada.data.real_iad import is_real_iad, read_real_iad
from clipada.data.visa import is_visa, read_visa
from clipada.errors import DatasetError, ImageError, check_name, did_you_mean


class _Reader(NamedTuple):
    """Reader of one layout: its detector, its listing function, and a description of the folders."""

    detects: Callable[[Path], bool]
    read: Callable[[Path], Dataset]
    shape: str


_READERS: dict[Layout, _Reader] = {
    "visa": _Reader(is_visa, read_visa, "split_csv/1cls.csv"),
    "real_iad": _Reader(is_real_iad, read_real_iad, "realiad_1024/<category>, realiad_jsons/<category>.json"),
    "magnetic_tile": _Reader(is_magnetic_tile, read_magnetic_tile, "MT_Free/Imgs, MT_<defect>/Imgs"),
    "mvtec": _Reader(is_mvtec, read_mvtec, "<category>/train/good, <category>/test/<defect>"),
    "kolektor": _Reader(is_kolektor, read_kolektor, "masks beside images, black for good parts (000.png, 000_GT.png)"),
    "folder": _Reader(is_folder, read_folder, "images of good parts directly inside or in good, or folders of such"),
}


def load_dataset(
    root: Path | str, layout: Layout | Literal["auto"] = "auto", categories: Sequence[str] | None = None
) -> Dataset:
    """List the images of a data set without opening an image.

    Args:
        root: Folder of the data set; in the ``mvtec`` and ``folder`` layouts also the folder of one category.
        layout: ``auto`` takes the first that fits of ``visa``, ``real_iad``, ``magnetic_tile``, ``mvtec``,
            ``kolektor``, ``folder``.
        categories: Categories to keep; ``None`` keeps all.

    Raises:
        DatasetError: The folder is missing, has another layout, has no images, or lacks a category.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(
            f"no data set folder {root}",
            expected="a folder",
            got="a file" if root.exists() else "nothing",
            remedy=None if root.exists() else check_name(root),
        )
    if layout != "auto" and layout not in _READERS:
        raise DatasetError(
            f"no layout {layout!r}",
            expected="auto | " + " | ".join(sorted(_READERS)),
            remedy=did_you_mean(str(layout), ["auto", *_READERS]),
        )
    fitting = (r for name, r in _READERS.items() if layout in ("auto", name) and r.detects(root))
    dataset = next((found for found in (reader.read(root) for reader in fitting) if found.samples), None)
    if dataset is None:
        raise _not_a_dataset(root, layout)
    dataset = replace(dataset, notes=(*dataset.notes, *_left_out(dataset)))
    return dataset if categories is None else dataset.select(categories)


def _left_out(dataset: Dataset) -> list[Note]:
    """Return notes on what is below the data set's folder and no part of it: images by folder, and links."""
    used = {str(path) for sample in dataset.samples for path in (sample.path, *sample.masks)}
    used |= set(map(str, dataset.label_files))
    unused: dict[Path, int] = {}
    links: list[Path] = []
    try:
        for where, names in image_folders(dataset.root, links):
            folder = Path(where)
            prefix = str(folder / "x")[:-1]
            if count := sum(prefix + name not in used for name in names):
                unused[folder.relative_to(dataset.root)] = count
    except ImageError:
        return [Note(text="not counted: images that are not used, as a folder cannot be listed")]
    places = [f"{place} ({count:,})" for place, count in unused.items()]
    total = sum(unused.values())
    more = f", and {len(places) - 6:,} more folders" if len(places) > 6 else ""
    notes = [Note(text=f"not used: {total:,} images in {', '.join(places[:6])}{more}")] if total else []
    loose = [link for link in links if not any(path.startswith(f"{link}{os.sep}") for path in used)]
    named = (link.relative_to(dataset.root) for link in loose)
    return notes + [Note(text=f"not followed: {link}, which is a link to a folder") for link in named]


def _not_a_dataset(root: Path, layout: str) -> DatasetError:
    """Return the error for a folder without images in the requested layout."""
    shapes = [f"{name}: {reader.shape}" for name, reader in _READERS.items() if layout in ("auto", name)]
    return DatasetError(
        f"no data set with images in {root}",
        expected="\n    ".join(["one of these layouts:" if layout == "auto" else "this layout:", *shapes]),
        got=describe_contents(root),
    )
