"""The file of hashes of a run's training images, and the error for files that do not match their schema."""

from __future__ import annotations

import re
from pathlib import Path

from clipada.config.schema import shown
from clipada.errors import ConfigError, RunError
from clipada.files import open_regular

_SHA256 = re.compile("[0-9a-f]{64}")


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
