"""The file of JSON lines of a prediction: appended line by line, so that a killed prediction can be continued."""

from __future__ import annotations

import json
import os
import re
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from clipada.config import Shard
from clipada.config.schema import shown
from clipada.errors import RunError
from clipada.files import LOCK, atomic_write, naming, parse_json
from clipada.inspection.batch.sources import stable_hash
from clipada.inspection.record import Record

PREDICTIONS = "predictions.jsonl"

_FINISHED = re.compile(r"predictions(?:-(\d{1,9})-of-(\d{1,9}))?\.jsonl")
_SYNC_SECONDS = 1.0


def predictions_name(shard: Shard) -> str:
    """Name the file of a shard's JSON lines."""
    return PREDICTIONS if shard.count == 1 else f"predictions-{shard.number}-of-{shard.count}.jsonl"


def lock_name(shard: Shard) -> str:
    """Name the file in a folder that the only program which writes a shard there holds locked."""
    return LOCK if shard.count == 1 else f"{LOCK}-{shard.number}-of-{shard.count}"


class Journal:
    """JSON lines of verdicts, each on the disk as soon as it is appended.

    Lines go to ``predictions.partial.jsonl`` (each shard has a file of its own), which ``finish`` renames to
    ``predictions.jsonl``; until then an earlier file of that name stays as it is. Lines outlive a kill at once, and
    a power cut after a second.

    Args:
        folder: The folder of the file.
        shard: The shard of the images.
        skip_done: Continue with the lines of an unfinished prediction, else with those of a finished one. Its failures
            and an incomplete last line are dropped, so that these images are inspected again.
        basis: Model, calibration and threshold of the verdicts to come, if they are known.

    Raises:
        RunError: An unfinished prediction is in the way, a line is damaged, or those lines are of another model,
            calibration or threshold.
    """

    def __init__(self, folder: Path, shard: Shard, *, skip_done: bool, basis: Record | None = None) -> None:
        self.path = folder / predictions_name(shard)
        self.partial = _partial(self.path)
        self._basis: dict[str, object] = {}
        self._done = np.empty(0, np.uint64)
        self._begun = self.partial.exists()
        earlier = self.partial if self._begun else self.path
        if skip_done and earlier.exists():
            self._take_over(earlier)
        elif self._begun and self.partial.stat().st_size:
            raise RunError(
                f"an unfinished prediction is in the way: {self.partial}",
                expected="none, or --skip-done",
                got="a file with lines",
                remedy="continue with --skip-done, or delete it to start again",
            )
        self._file = self.partial.open("a", encoding="utf-8")
        self._synced = time.monotonic()
        if basis is not None:
            try:
                self.require(basis)
            except RunError:
                self.__exit__()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with naming(self.partial):
            self._file.close()
        if not self._begun:  # nothing that the finished file does not have
            self.partial.unlink(missing_ok=True)

    def __len__(self) -> int:
        """Return the number of images with a verdict of an earlier prediction."""
        return len(self._done)

    def is_done(self, path: Path) -> bool:
        """Return True if an image, by its absolute path, has a verdict of an earlier prediction."""
        key = np.uint64(_key(path))
        place = np.searchsorted(self._done, key)
        return bool(place < len(self._done) and self._done[place] == key)

    def append(self, record: Record) -> None:
        """Add a line.

        Raises:
            RunError: It is of another model, calibration or threshold than those before.
        """
        self.require(record)
        self._begun = True
        with naming(self.partial):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def finish(self) -> None:
        """Flush all lines to the disk and give the file its final name."""
        with naming(self.partial):
            os.fsync(self._file.fileno())
            self._file.close()
        self.partial.replace(self.path)

    def require(self, record: Record) -> None:
        """Raise ``RunError`` if a verdict is of another model, calibration or threshold than those before."""
        for name, value in _basis(record).items():
            known = self._basis.setdefault(name, value)
            if known != value:
                raise RunError(
                    f"the images in {self.partial} were inspected with other settings",
                    expected=f"{name} {known}",
                    got=f"{name} {value}",
                    remedy="continue with the run, calibration and options it started with, or choose another --out",
                )

    def _take_over(self, earlier: Path) -> None:
        """Start with the verdicts of an earlier prediction."""
        done = array("Q")
        with atomic_write(self.partial) as aside, aside.open("w", encoding="utf-8") as file:
            for line, record in _verdicts(earlier):
                self.require(record)
                done.append(_key(record["path"]))
                file.write(line)
        self._done = np.unique(np.frombuffer(done, np.uint64)) if done else self._done


def forget_unfinished(folder: Path) -> None:
    """Delete the lines of an unfinished prediction of all images, if there are any."""
    _partial(folder / PREDICTIONS).unlink(missing_ok=True)


def find_predictions(folder: Path) -> tuple[list[Path], list[str]]:
    """Find the finished files of JSON lines in a folder, shards in order, and the names of missing shards.

    Raises:
        RunError: There is none.
    """
    found = {path: match for path in folder.iterdir() if (match := _FINISHED.fullmatch(path.name))}
    if not found:
        raise RunError(
            f"no predictions in {folder}",
            expected=PREDICTIONS,
            got="an unfinished prediction" if any(folder.glob("*.partial.jsonl")) else "no such file",
            remedy="write them with `clipada predict RUN IMAGES --out DIR`; --skip-done finishes an unfinished one",
        )
    counts = {int(match[2]) for match in found.values() if match[2]}
    shards = [Shard(number=number, count=count) for count in sorted(counts) for number in range(1, count + 1)]
    names = [PREDICTIONS, *map(predictions_name, shards)]
    there = [folder / name for name in names if folder / name in found]
    return there, [name for name in names[1:] if folder / name not in found]


def _partial(path: Path) -> Path:
    """Return the path of the unfinished file."""
    return path.with_suffix(f".partial{path.suffix}")


def _key(path: Path | str) -> int:
    """Hash the absolute path that identifies an image."""
    return stable_hash(os.path.abspath(path))  # noqa: PTH100 - a link is not followed, no Path is made


def _basis(record: Record) -> dict[str, object]:
    """Return model, calibration and threshold of a verdict, by name; nothing for a failure."""
    if "error" in record:
        return {}
    model = record["model"] or {}
    names = {"calibration": record["calibration"], "model": model.get("sha256"), "engine": model.get("engine")}
    group = f" of group {record['group']}" if record["group"] else ""
    return names | {f"map threshold{group}": record["threshold"]}


def _verdicts(path: Path) -> Iterator[tuple[str, Record]]:
    """Yield the lines that hold a verdict; an incomplete last line is skipped."""
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            try:
                line = content.decode()
                record = parse_json(line)
                _key(record["path"])
                _basis(record)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                if not content.endswith(b"\n"):
                    return
                raise RunError(
                    f"line {number} of {path} is damaged",
                    expected="a JSON line of `clipada predict`",
                    got=shown(content.decode(errors="replace").strip()),
                    remedy="delete that line: its image is then inspected again",
                ) from error
            if "error" not in record and line.endswith("\n"):
                yield line, record
