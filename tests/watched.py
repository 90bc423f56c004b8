"""Images dropped into a watched folder."""

from pathlib import Path

import numpy as np

from clipada.config import WatchConfig
from clipada.images import write_png


def picture(path: Path, value: int = 60) -> Path:
    write_png(path, np.full((20, 24, 3), value, np.uint8))
    return path


def names(results: object) -> list[str]:
    """The names of the files, of batches of results or of stamps."""
    flat = [item for group in results for item in (group if isinstance(group, list) else [group])]  # type: ignore[attr-defined]
    return [item.path.name for item in flat]


AT_ONCE = WatchConfig(settle=0, poll=0.01)
