"""Records of a run: hashes of its training images, what earlier versions left out, errors for damaged or no records."""

from __future__ import annotations

import re
from pathlib import Path

from clipada.config import EMBEDDED_BACKBONE, Config
from clipada.config.schema import shown
from clipada.errors import ConfigError, RunError, check_name
from clipada.files import open_regular
from clipada.runs.contents import ADAPTER, CONFIG, PLAN

_SHA256 = re.compile("[0-9a-f]{64}")

_UNRECORDED, _UNRECORDED_EMBEDDED = (9,), (4,)
"""Blocks that earlier versions read without recording them, of any backbone and of the embedded one."""


def completed_settings(config: Config) -> Config:
    """Return the settings of a recorded training with the blocks that an earlier version read and did not record."""
    if config.backbone.blocks is not None:
        return config
    embedded = config.backbone.name == EMBEDDED_BACKBONE
    return config.updated({"backbone.blocks": _UNRECORDED_EMBEDDED if embedded else _UNRECORDED})


def read_hashes(path: Path, remedy: str) -> frozenset[str]:
    """Read a file of SHA-256 hashes in hex, one a line.

    Raises:
        RunError: The file is damaged (then with ``remedy``).
    """
    try:
        with open_regular(path) as file:
            lines = file.read().decode().split()
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged", expected="text in UTF-8", got=str(error), remedy=remedy) from error
    wrong = next((line for line in lines if not _SHA256.fullmatch(line)), None)
    if wrong is not None:
        raise RunError(f"{path} is damaged", expected="a SHA-256 in hex per line", got=shown(wrong), remedy=remedy)
    return frozenset(lines)


def damaged(path: Path, error: ConfigError, remedy: str) -> RunError:
    """Make the error for a file that does not match its schema."""
    return RunError(f"{path} is damaged: {error.what}", expected=error.expected, got=error.got, remedy=remedy)


def no_run(folder: Path) -> RunError:
    """Make the error for a folder without a finished run."""
    unfinished = (folder / PLAN).is_file()
    if unfinished:
        got = "an unfinished training"
    elif folder.is_dir():
        got = f"no {CONFIG}"
    else:
        got = "a file" if folder.exists() else "no such folder"
    if unfinished:
        remedy = f"finish it with `clipada train --resume --out {folder}`"
    elif folder.exists():
        remedy = "train one with `clipada train`"
    else:
        remedy = f"{check_name(folder)} (or train one with `clipada train`)"
    return RunError(f"no run in {folder}", expected=f"a folder with {CONFIG} and {ADAPTER}", got=got, remedy=remedy)
