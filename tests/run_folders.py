"""Damaged run folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clipada.errors import ClipAdaError
from clipada.runs import CONFIG


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / CONFIG).read_text())
    change(content)
    (folder / CONFIG).write_text(json.dumps(content))


def said(error: ClipAdaError) -> str:
    """Return the whole message, which must say what to do."""
    assert error.remedy, f"no remedy in: {error}"
    return str(error)
