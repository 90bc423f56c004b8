"""Files that a table of a data set names: each once, and all of them there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from clipada.errors import DatasetError
from clipada.types import Sample


def files_of(sample: Sample) -> list[Path]:
    """Return the image of a sample and its masks."""
    return [sample.path, *sample.masks]


def existing(paths: Iterable[Path]) -> set[Path]:
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


def check_files(table: Path, samples: Sequence[Sample], there: set[Path]) -> None:
    """Check that each file of some samples is named once and exists.

    Raises:
        DatasetError: A file is named twice, or is not among those that are ``there``.
    """
    named = Counter(path for sample in samples for path in files_of(sample))
    twice = [path for path, times in named.items() if times > 1]
    if twice:
        raise table_error(table, expected="each image and each mask once", got=f"{twice[0]} twice")
    absent = sorted(named.keys() - there)
    if absent:
        got = f"{len(absent)} that are not there, first {absent[0]}"
        raise table_error(table, expected="files of the data set", got=got, remedy="unpack the whole archive")


def table_error(table: Path, *, expected: str, got: str, remedy: str | None = None) -> DatasetError:
    """Return the error for a table of files that cannot be used."""
    return DatasetError(f"cannot use the table {table}", expected=expected, got=got, remedy=remedy)
