"""VisA layout as published: images by category, and ``split_csv/1cls.csv`` with split, label and mask of each."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipada.data.dataset import Dataset, Note
from clipada.errors import DatasetError
from clipada.types import Sample, Split

TABLE = Path("split_csv", "1cls.csv")
_COLUMNS = ("object", "split", "label", "image", "mask")
_SPLITS: dict[str, Split] = {"train": "train", "test": "test"}
_DEFECTS = {"normal": "good", "anomaly": "bad"}


def is_visa(root: Path) -> bool:
    """Return True if ``root`` has the table of the one-class split."""
    return (root / TABLE).is_file()


def read_visa(root: Path) -> Dataset:
    """List a data set in this layout. Categories without any image file are left out.

    Raises:
        DatasetError: The table lacks a column, has an invalid row, or names a file twice or a missing file.
    """
    listed = _read_table(root)
    there = _existing(path for sample in listed for path in _files(sample))
    found = dict.fromkeys(sample.category for sample in listed if sample.path in there)
    order = {name: place for place, name in enumerate(found)}
    kept = [sample for sample in listed if sample.category in found]
    _check(root, kept, there)
    kept.sort(key=lambda sample: (order[sample.category], sample.split != "train"))
    gone = dict.fromkeys(sample.category for sample in listed if sample.category not in found)
    notes = tuple(Note(text=f"left out: {name}, as none of its images exists") for name in gone)
    return Dataset(root=root, layout="visa", samples=tuple(kept), notes=notes)


def _read_table(root: Path) -> list[Sample]:
    """Return the samples of the table, in its order."""
    try:
        with (root / TABLE).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise _error(root, expected="columns " + ", ".join(_COLUMNS), got="no column " + ", ".join(missing))
            return [_sample(root, row, rows.line_num) for row in rows]
    except csv.Error as error:
        raise _error(root, expected="comma-separated values", got=str(error)) from error


def _sample(root: Path, row: dict[str, str], line: int) -> Sample:
    """Return the sample of one row."""
    split, defect = _SPLITS.get(row["split"]), _DEFECTS.get(row["label"])
    if not (split and defect and row["object"] and row["image"]):
        got = f"line {line}: " + ",".join(str(row[name] or "") for name in _COLUMNS)
        raise _error(root, expected="object, train or test, normal or anomaly, image, mask or nothing", got=got)
    mask = root / row["mask"] if row["mask"] else None
    return Sample(path=root / row["image"], category=row["object"], split=split, defect=defect, mask=mask)


def _files(sample: Sample) -> list[Path]:
    """Return the image of a sample, and its mask if it has one."""
    return [sample.path] if sample.mask is None else [sample.path, sample.mask]


def _existing(paths: Iterable[Path]) -> set[Path]:
    """Return those of ``paths`` that exist, listing each folder once: faster than a check per file."""
    names: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        names[path.parent].add(path.name)
    return {
        folder / name
        for folder, wanted in names.items()
        if folder.is_dir()
        for name in wanted & {path.name for path in folder.iterdir()}
    }


def _check(root: Path, samples: Sequence[Sample], there: set[Path]) -> None:
    """Check that each file is named once and exists."""
    named = Counter(path for sample in samples for path in _files(sample))
    twice = [path for path, times in named.items() if times > 1]
    if twice:
        raise _error(root, expected="each image and each mask once", got=f"{twice[0]} twice")
    absent = sorted(named.keys() - there)
    if absent:
        got = f"{len(absent)} that are not there, first {absent[0]}"
        raise _error(root, expected="files of the data set", got=got, remedy="unpack the whole archive")


def _error(root: Path, *, expected: str, got: str, remedy: str | None = None) -> DatasetError:
    return DatasetError(f"cannot use the table {root / TABLE}", expected=expected, got=got, remedy=remedy)
