"""Lines of an earlier prediction: whatever is in them, it is continued or refused with an error that names the line."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings

from clipada.config import Shard
from clipada.errors import RunError
from clipada.inspection.batch.journal import PREDICTIONS, Journal, find_predictions
from damaged import DEEP, json_bytes

LINE = {
    "path": "parts/000.png",
    "score": 0.25,
    "group": None,
    "threshold": 0.5,
    "calibration": "0123456789ab",
    "model": {"run": "line3", "sha256": "a" * 64, "engine": "torch fp32"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose lines the tests of this module overwrite."""
    return tmp_path_factory.mktemp("predicted")


@given(content=json_bytes(LINE))
@settings(max_examples=200, deadline=None)
def test_any_line_is_continued_with_or_an_error(folder: Path, content: bytes) -> None:
    sound = json.dumps(LINE).encode()
    (folder / PREDICTIONS).write_bytes(sound + b"\n" + content.replace(b"\n", b" ") + b"\n")
    try:
        with Journal(folder, Shard(), skip_done=True) as journal:
            assert len(journal) >= 1
    except RunError as error:
        assert str(folder) in error.what  # noqa: PT017 - most examples fail, some do not
        assert error.remedy  # noqa: PT017


@pytest.mark.parametrize("line", [b"\xff\xfe", DEEP.encode(), b"3", b'{"path": "\\ud800"}'])
def test_a_damaged_line_is_named(folder: Path, line: bytes) -> None:
    (folder / PREDICTIONS).write_bytes(json.dumps(LINE).encode() + b"\n" + line + b"\n")
    with pytest.raises(RunError, match=r"line 2 of .* is damaged"), Journal(folder, Shard(), skip_done=True):
        pass


def test_a_name_of_endless_shards_is_no_prediction(tmp_path: Path) -> None:
    (tmp_path / f"predictions-1-of-{'9' * 20}.jsonl").write_text("")
    with pytest.raises(RunError, match="no predictions"):
        find_predictions(tmp_path)
