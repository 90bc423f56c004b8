"""Real-IAD as published: images by category in ``realiad_1024`` and the like, and a JSON split of each category.

Every part is photographed from five sides (``C1`` to ``C5``), all of which belong to its category. There are several
sets of splits (``realiad_jsons``; ``realiad_jsons_sv`` with one side) and of images by size. ``root`` is the folder of
all of them, or one of these folders, which then is the one to use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, subfolders
from clipada.data.names import plain
from clipada.data.tables import check_files, existing, files_of, table_error
from clipada.errors import DatasetError
from clipada.types import Sample, Split

_PREFIX, _SPLITS_PREFIX = "realiad_", "realiad_jsons"
_PREFERRED_SPLITS = ("realiad_jsons", "realiad_jsons_sv")
_PREFERRED_IMAGES = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")
_SPLIT_NAMES: tuple[Split, ...] = ("train", "test")
_NORMAL = "OK"


class _Place(NamedTuple):
    """Folders of a data set: the one of all, those of splits and of images, the chosen ones first."""

    base: Path
    splits: list[Path]
    images: list[Path]


def is_real_iad(root: Path) -> bool:
    """Return True if ``root`` has the splits of Real-IAD, or is one of the folders beside them."""
    return _base(root) is not None


def read_real_iad(root: Path) -> Dataset:
    """List a data set in this layout. Categories without a folder of images are left out.

    Raises:
        DatasetError: There are no images, or a split cannot be read, has an invalid entry, or names a file twice or a
            missing file.
    """
    place = _find(root)
    splits, images = place.splits[0], place.images[0]
    notes = [Note(text=f"images of {images.name}, split by {splits.relative_to(place.base).as_posix()}")]
    others = [each.relative_to(place.base).as_posix() for each in (*place.images[1:], *place.splits[1:])]
    if others:
        notes.append(Note(text=f"left out: {', '.join(others)}; name such a folder to use it"))
    samples: list[Sample] = []
    for table in _tables(splits):
        if not (images / table.stem).is_dir():
            notes.append(Note(text=f"left out: {table.stem}, which has no folder in {images.name}"))
            continue
        listed = list(_read_table(table, images, notes))
        check_files(table, listed, existing(path for sample in listed for path in files_of(sample)))
        samples += listed
    return Dataset(root=place.base, layout="real_iad", samples=tuple(samples), notes=tuple(notes))


def _base(root: Path) -> Path | None:
    """Return the folder that has the splits: ``root``, or one above it if ``root`` is one of Real-IAD's folders."""
    above = root.absolute().parents[:2] if plain(folder_name(root)).startswith(_PREFIX) else ()
    return next((each for each in (*reversed(above), root) if _splits(each)), None)


def _find(root: Path) -> _Place:
    """Find the folders of the data set; that of ``root`` is chosen, else the usual one."""
    base = _base(root)
    assert base is not None  # noqa: S101 - the layout was detected
    here = root.absolute()
    splits, images = _splits(base), _named(base, _PREFIX)
    images = [each for each in images if not plain(each.name).startswith(_SPLITS_PREFIX)]
    if not images:
        raise DatasetError(
            f"no images of Real-IAD in {base}",
            expected=f"{' or '.join(_PREFERRED_IMAGES)} beside {splits[0].relative_to(base).parts[0]}",
            got="the splits alone",
            remedy="unpack the images of the categories there",
        )
    splits.sort(key=lambda each: (each.absolute() != here, *_rank(each, _PREFERRED_SPLITS)))
    images.sort(key=lambda each: (each.absolute() != here, *_rank(each, _PREFERRED_IMAGES)))
    return _Place(base, splits, images)


def _rank(folder: Path, preferred: tuple[str, ...]) -> tuple[int, str]:
    name = plain(folder.name)
    return preferred.index(name) if name in preferred else len(preferred), name


def _named(folder: Path, prefix: str) -> list[Path]:
    """Return the subfolders whose names begin with a prefix, in any case."""
    return [found for found in subfolders(folder) if plain(found.name).startswith(prefix)]


def _splits(base: Path) -> list[Path]:
    """Return the folders of splits, which may be in a common one."""
    found = _named(base, _SPLITS_PREFIX)
    return [each for one in found for each in (one, *_named(one, _SPLITS_PREFIX)) if _tables(each)]


def _tables(folder: Path) -> list[Path]:
    """Return the splits of the categories, sorted, without hidden files."""
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))


def _read_table(table: Path, images: Path, notes: list[Note]) -> Iterator[Sample]:
    """Yield the samples of one category, training before test images; add to ``notes`` what is left out."""
    try:
        content = json.loads(table.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise table_error(table, expected="JSON", got=str(error)) from error
    if not isinstance(content, dict) or not any(isinstance(content.get(split), list) for split in _SPLIT_NAMES):
        raise table_error(table, expected="lists `train` and `test`", got=type(content).__name__)
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    folder, normal = images / _inside(table, meta.get("prefix") or table.stem), meta.get("normal_class") or _NORMAL
    defective = 0
    for split in _SPLIT_NAMES:
        for entry in content.get(split) or ():
            sample = _sample(table, entry, folder, split, normal)
            if sample is None:
                defective += 1
            else:
                yield sample
    if defective:
        text = f"left out: {defective} defective images to train on, as only good ones are"
        notes.append(Note(text=text, category=table.stem))


def _sample(table: Path, entry: Any, folder: Path, split: Split, normal: str) -> Sample | None:
    """Return the sample of one entry; ``None`` for a defective one to train on."""
    known = entry if isinstance(entry, dict) else {}
    image, kind, mask = (known.get(name) for name in ("image_path", "anomaly_class", "mask_path"))
    if not (image and isinstance(image, str) and kind and isinstance(kind, str)):
        expected = "entries with image_path, anomaly_class, and mask_path or null"
        raise table_error(table, expected=expected, got=f"{split}: {json.dumps(entry)[:200]}")
    path = folder / _inside(table, image)
    if kind == normal:
        return Sample(path=path, category=table.stem, split=split)
    if split == "train":
        return None
    truth = folder / _inside(table, mask) if mask else None
    return Sample(path=path, category=table.stem, split=split, defect=kind, mask=truth)


def _inside(table: Path, name: Any) -> PurePosixPath:
    """Return a path of a table; raise ``DatasetError`` if it is outside of the data set's folder."""
    path = PurePosixPath(str(name))
    if path.is_absolute() or ".." in path.parts:
        raise table_error(table, expected="paths inside of the data set's folder", got=str(name))
    return path
