"""Verdicts as CSV, and the way from `predict` over feedback to the next calibration."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from clipada.config import HistoryConfig
from clipada.history.store import History, VerdictFilter
from deliveries import verdict


def test_csv_gives_everything_back(history: History) -> None:
    history.store([verdict(0.1), verdict(1 / 3)])
    history.record_feedback(2, confirmed=False, reason='dust, "again"\nand again')
    file = io.StringIO()
    assert history.export_csv(file) == 2
    rows = list(csv.DictReader(io.StringIO(file.getvalue(), newline="")))
    assert float(rows[0]["score"]) == 1 / 3
    assert rows[0]["reason"] == 'dust, "again"\nand again'
    assert (rows[1]["confirmed"], rows[1]["path"]) == ("", "")


def test_csv_holds_no_formulas(history: History) -> None:
    """A file name or a reason that a caller chose must not run in the spreadsheet of who opens the file."""
    history.store([replace(verdict(0.1), path=Path("=cmd|'C calc'!A1.png"))])
    history.record_feedback(1, confirmed=True, reason="@SUM(A1)")
    file = io.StringIO()
    history.export_csv(file)
    (row,) = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
    assert row["path"].startswith("'=cmd")
    assert row["reason"] == "'@SUM(A1)"
    assert float(row["score"]) == 0.1


@pytest.mark.parametrize(
    "start",
    [
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\r",
        "\n",
        "\n=",
        " =",
        "\u00a0=",
        "\ufeff=",
        "\u200b@",
        "\x00=",
        "\uff1d",
        "\uff0b",
        "\uff20",
    ],
)
def test_no_cell_begins_like_a_formula(history: History, start: str) -> None:
    history.store([verdict(0.1)])
    history.record_feedback(1, confirmed=True, reason=f"{start}cmd|'C calc'!A1")
    file = io.StringIO()
    history.export_csv(file)
    (row,) = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
    assert row["reason"] == f"'{start}cmd|'C calc'!A1"


@pytest.mark.parametrize("reason", ["only dust", "a = b", " blank", "\u00e4rger", "3-4 scratches", ""])
def test_harmless_cells_stay_as_they_are(history: History, reason: str) -> None:
    history.store([verdict(0.1)])
    history.record_feedback(1, confirmed=True, reason=reason)
    file = io.StringIO()
    history.export_csv(file)
    (row,) = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
    assert row["reason"] == reason


@pytest.mark.parametrize(
    ("changes", "word", "printed"),
    [
        ({"score": 0.9}, "reject", ""),
        ({"score": 0.1}, "confirm", ""),
        ({"score": 0.1}, "reject", "no alarm but good"),
        ({"defective": None}, "reject", "no decision"),
        ({"defective": None}, "confirm", "no decision"),
    ],
)
def test_feedback_on_a_verdict_that_was_no_alarm_says_so(
    clipada: Callable[..., tuple[int, str, str]],
    history: History,
    url: str,
    changes: dict[str, float | None],
    word: str,
    printed: str,
) -> None:
    history.store([verdict(**changes)])  # type: ignore[arg-type]
    code, _, err = clipada("history", word, 1, "--reason", "dust", "--database", url)
    assert code == 0
    assert printed in err
    assert bool(err) == bool(printed)
    assert next(history.entries()).reason == "dust"


def test_from_predict_to_the_next_calibration(
    clipada: Callable[..., tuple[int, str, str]],
    finished_run: Path,
    tmp_path: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = finished_run.parent / "products" / "disc" / "test"
    code, out, err = clipada("predict", finished_run, parts, "--database", url, "--keep-images", "all")
    assert code == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    code, out, err = clipada("history", "list", "--database", url)
    assert code == 0, err
    assert [line.split("\t")[-1] for line in out.splitlines()] == [record["path"] for record in reversed(records)]
    assert clipada("history", "reject", 1, "--reason", "dust", "--database", url)[0] == 0
    assert clipada("history", "confirm", 2, "--database", url)[0] == 0
    (rejected,) = clipada("history", "list", "--word", "rejected", "--database", url)[1].splitlines()
    assert rejected.split("\t")[-3:-1] == ["rejected", "dust"]
    later = (datetime.now() + timedelta(days=1)).strftime("%Y-%m-%d")
    assert len(clipada("history", "list", "--until", later, "--database", url)[1].splitlines()) == len(records)
    assert clipada("history", "list", "--since", later, "--database", url)[1] == ""
    assert "no verdict is of group 'zzz'." in clipada("history", "list", "--group", "zzz", "--database", url)[2]
    code, _, err = clipada("history", "export", tmp_path / "all.csv", "--database", url)
    assert f"{len(records)} verdicts in" in err
    assert len((tmp_path / "all.csv").read_text().splitlines()) == len(records) + 1
    assert clipada("history", "false-alarms", "--database", url)[1] == ""  # without a calibration, no alarms
    assert clipada("history", "prune", "--days", 0, "--database", url)[2] == f"deleted {len(records)} verdicts\n"
    assert not list((tmp_path / "clipada-images").rglob("*.png"))


def test_rejected_alarms_can_be_found_again(
    clipada: Callable[..., tuple[int, str, str]], tmp_path: Path, url: str
) -> None:
    with History(HistoryConfig(database=url, keep="defective", images=str(tmp_path / "kept"))) as history:
        history.store([verdict(0.5), verdict(0.9, image=np.zeros((2, 2, 3), np.uint8), image_sha256="c" * 64)])
        history.record_feedback(2, confirmed=False, reason="dust")
        (entry,) = history.entries(VerdictFilter(word="rejected"))
    assert clipada("history", "false-alarms", "--database", url)[1] == f"{entry.kept}\n"
