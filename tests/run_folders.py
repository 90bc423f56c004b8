"""Damaged run folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipada.errors import ClipAdaError
from clipada.runs import CONFIG, MANIFEST, seal


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``config.json``, and seal the run with it."""
    content = json.loads((folder / CONFIG).read_text())
    change(content)
    (folder / CONFIG).write_text(json.dumps(content))
    seal(folder)


def unseal(folder: Path) -> Path:
    """Make a run one of a version that sealed none, whose files may be changed unnoticed."""
    (folder / MANIFEST).unlink(missing_ok=True)
    content = json.loads((folder / CONFIG).read_text())
    del content["sealed"]
    (folder / CONFIG).write_text(json.dumps(content))
    return folder


def said(error: ClipAdaError) -> str:
    """Return the whole message, which must say what to do."""
    assert error.remedy, f"no remedy in: {error}"
    return str(error)
