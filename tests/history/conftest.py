"""A history in an empty database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clipada.config import HistoryConfig
from clipada.history.store import History


@pytest.fixture
def history(url: str, tmp_path: Path) -> Iterator[History]:
    with History(HistoryConfig(database=url, images=str(tmp_path / "kept"))) as history:
        yield history
