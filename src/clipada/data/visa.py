"""VisA layout as published: images by category, and ``split_csv/1cls.csv`` with split, label and mask of each."""

from __future__ import annotations

import csv
from pathlib import Path

from clipada.data.dataset import Dataset, Note
from clipada.data.tables import check_files, existing, files_of, table_error
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
    there = existing(path for sample in listed for path in files_of(sample))
    found = dict.fromkeys(sample.category for sample in listed if sample.path in there)
    order = {name: place for place, name in enumerate(found)}
    kept = [sample for sample in listed if sample.category in found]
    check_files(root / TABLE, kept, there)
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
                expected = "columns " + ", ".join(_COLUMNS)
                raise table_error(root / TABLE, expected=expected, got="no column " + ", ".join(missing))
            return [_sample(root, row, rows.line_num) for row in rows]
    except csv.Error as error:
        raise table_error(root / TABLE, expected="comma-separated values", got=str(error)) from error


def _sample(root: Path, row: dict[str, str], line: int) -> Sample:
    """Return the sample of one row."""
    split, defect = _SPLITS.get(row["split"]), _DEFECTS.get(row["label"])
    if not (split and defect and row["object"] and row["image"]):
        got = f"line {line}: " + ",".join(str(row[name] or "") for name in _COLUMNS)
        expected = "object, train or test, normal or anomaly, image, mask or nothing"
        raise table_error(root / TABLE, expected=expected, got=got)
    mask = root / row["mask"] if row["mask"] else None
    return Sample(path=root / row["image"], category=row["object"], split=split, defect=defect, mask=mask)
