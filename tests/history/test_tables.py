"""An old database is brought up to date with all that is in it."""

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine, inspect

from clipada.config import HistoryConfig
from clipada.history.store import History, VerdictFilter
from clipada.history.tables import MIGRATIONS
from clipada.history.watching import seen
from deliveries import verdict

VERSION_1 = """
CREATE TABLE clipada_schema (version INTEGER NOT NULL);
INSERT INTO clipada_schema VALUES (1);
CREATE TABLE verdicts (
    id INTEGER NOT NULL, time VARCHAR(40) NOT NULL, path TEXT, run TEXT, score FLOAT NOT NULL, p_value FLOAT,
    score_threshold FLOAT, defective BOOLEAN, group_name TEXT, calibration VARCHAR(12), model_sha256 VARCHAR(64),
    image_sha256 VARCHAR(64) NOT NULL, kept TEXT, record JSON NOT NULL, PRIMARY KEY (id)
);
CREATE TABLE feedback (
    id INTEGER NOT NULL, verdict_id INTEGER NOT NULL, time VARCHAR(40) NOT NULL, confirmed BOOLEAN NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (id), FOREIGN KEY(verdict_id) REFERENCES verdicts (id) ON DELETE CASCADE
);
CREATE INDEX ix_verdicts_image_sha256 ON verdicts (image_sha256);
CREATE INDEX ix_verdicts_time ON verdicts (time);
CREATE INDEX ix_feedback_verdict_id ON feedback (verdict_id);
INSERT INTO verdicts VALUES (7, '2026-03-02T07:14:05.120+00:00', 'part.png', 'line3', 0.5, 0.01, 0.3, 1, NULL,
    '0123456789ab', 'aa', 'bb', NULL, '{"score": 0.5}');
INSERT INTO feedback VALUES (1, 7, '2026-03-02T08:00:00.000+00:00', 0, 'dust');
"""
"""The schema as clipada 0.1.0 made it before there were sinks, with a verdict and an operator's word."""


def schema(url: str) -> dict[str, set[str]]:
    inspector = inspect(create_engine(url))
    return {name: {column["name"] for column in inspector.get_columns(name)} for name in inspector.get_table_names()}


def test_an_old_database_is_brought_up(tmp_path: Path) -> None:
    old, new = f"sqlite:///{tmp_path / 'old.db'}", f"sqlite:///{tmp_path / 'new.db'}"
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.executescript(VERSION_1)
    History(HistoryConfig(database=new)).close()
    with History(HistoryConfig(database=old), create=False, sinks=["webhook"]) as history:
        (entry,) = history.entries()
        assert (entry.id, entry.score, entry.confirmed, entry.reason) == (7, 0.5, False, "dust")
        assert (entry.decision, entry.input_reason) == ("defective", None)  # there was no input check
        assert list(history.entries(VerdictFilter(decision="not_inspectable"))) == []
        assert history.waiting() == []  # what was there before the sink was is not for it
        assert history.store([verdict()]) == [8]
        assert [waiting.verdicts for waiting in history.waiting()] == [1]
    assert schema(old) == schema(new)
    with sqlite3.connect(tmp_path / "old.db") as connection:
        versions = connection.execute("select version from clipada_schema").fetchall()
        assert versions == [(number,) for number in range(1, len(MIGRATIONS) + 1)]


def test_files_that_are_gone_are_forgotten_unless_their_folder_is(tmp_path: Path) -> None:
    with History(HistoryConfig(database=f"sqlite:///{tmp_path / 'history.db'}")) as history:
        for name in ("cleaned", "unmounted"):
            (tmp_path / name / "today").mkdir(parents=True)
        there, gone = tmp_path / "cleaned" / "there.png", tmp_path / "cleaned" / "today" / "gone.png"
        away = tmp_path / "unmounted" / "today" / "away.png"
        there.touch()
        stamps = [seen.Stamp(path=path, size=0, mtime_ns=5) for path in (there, gone, away)]
        (tmp_path / "unmounted" / "today").rmdir()
        with history.transaction() as connection:
            seen.remember(connection, tmp_path / "cleaned", [(stamp, None) for stamp in stamps[:2]])
            seen.remember(connection, tmp_path / "unmounted", [(stamps[2], None)])
            seen.forget(connection, "2000-01-01")
            assert seen.unseen(connection, stamps) == []
            seen.forget(connection, "9999-01-01")
            assert seen.unseen(connection, stamps) == [stamps[1]]
