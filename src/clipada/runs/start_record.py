"""Record of a guided start in its run folder: the photos, and which of them were used for what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from clipada.config import Preset
from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.config.schema import build_known
from clipada.errors import ConfigError, RunError
from clipada.files import read_json
from clipada.runs.contents import PLAN
from clipada.runs.description import is_finished
from clipada.runs.records import damaged

START_RECORD = "start.json"
"""File in the run folder that records how the photos were shared out."""

_REMEDY = "choose another --out, or delete the folder"


@dataclass(frozen=True, kw_only=True)
class StartRecord:
    """Content of ``start.json``.

    Attributes:
        photos: Absolute path of the photos.
        backbone: Hub name or folder of the backbone, or the embedded one's name.
        preset: The preset that is trained.
        trained_on: Names below ``photos`` of those trained on.
        held_out: Names below ``photos`` of the good ones that set the threshold.
        tested_on: Names below ``photos`` of the good ones in the test; empty in records of earlier versions, which took
            those that the layout keeps for it.
        defects: Absolute path of the folder with photos of known defects to learn from; empty without any.
        channels, depth, page: Rules by which the photos are read, as they were asked for.
    """

    photos: str
    backbone: str
    preset: Preset
    trained_on: tuple[str, ...]
    held_out: tuple[str, ...]
    tested_on: tuple[str, ...] = ()
    defects: str = ""
    channels: str = DEFAULT_RULES.channels
    depth: int | None = DEFAULT_RULES.depth
    page: int | None = DEFAULT_RULES.page

    def __post_init__(self) -> None:
        _ = self.rules  # refuses values out of range

    @property
    def rules(self) -> ImageRules:
        """Rules by which the photos are read."""
        return ImageRules(channels=self.channels, depth=self.depth, page=self.page)

    @property
    def good(self) -> set[str]:
        """Names of the photos of good parts that the run depends on."""
        return {*self.trained_on, *self.held_out}


def find_start_record(folder: Path) -> StartRecord | None:
    """Read the record of a start in a run folder; ``None`` for a folder in which none has begun.

    Raises:
        RunError: The folder holds something else, or the record is damaged.
    """
    begun = is_finished(folder) or (folder / PLAN).exists()
    if not (folder / START_RECORD).is_file():
        _require_free(folder, begun)
        return None
    return read_start_record(folder) if begun else None  # killed, or refused, before the training began


def read_start_record(folder: Path) -> StartRecord | None:
    """Read the record of a start in a run folder; ``None`` if the run was made otherwise.

    Raises:
        RunError: The record is damaged.
    """
    path = folder / START_RECORD
    if not path.is_file():
        return None
    try:
        return cast("StartRecord", build_known(StartRecord, read_json(path, _REMEDY), ""))
    except ConfigError as error:
        raise damaged(path, error, _REMEDY) from error


def _require_free(folder: Path, begun: bool) -> None:
    """Raise ``RunError`` if a folder holds anything."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    raise RunError(
        f"{folder} is in the way",
        expected="a new or empty folder, or that of an earlier `clipada start` of these photos",
        got="a training" if begun else "a folder with files" if folder.is_dir() else "a file",
        remedy="choose another --out",
    )
