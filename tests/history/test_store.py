"""The history: stored verdicts survive a kill, the latest feedback counts, and old verdicts are pruned."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from clipada.config import HistoryConfig
from clipada.errors import ConfigError, HistoryError
from clipada.history.drift import DriftWatch, restart
from clipada.history.store import History, VerdictFilter
from clipada.history.watching import seen
from clipada.history.watching.seen import Stamp
from clipada.images import image_sha256, write_png
from deliveries import Listener, all_of, delivered, made_calibration, verdict

# --- store and find


def check_store_and_find(history: History) -> None:
    """What every database must do."""
    verdicts = [verdict(0.1), verdict(0.5), verdict(0.2, calibration=None, p_value=None, defective=None, group=None)]
    numbers = history.store(verdicts)
    assert numbers == sorted(set(numbers))
    newest, middle, oldest = history.entries()
    assert [oldest.id, middle.id, newest.id] == numbers
    assert (middle.score, middle.p_value, middle.defective, middle.group_name) == (0.5, 0.125, True, "nut")
    assert (middle.run, middle.model_sha256, middle.image_sha256) == ("line3", "a" * 64, verdicts[1].image_sha256)
    assert (newest.p_value, newest.defective, newest.calibration, newest.confirmed) == (None,) * 4
    assert [entry.id for entry in history.entries(VerdictFilter(defective=True))] == numbers[1:2]
    assert [entry.id for entry in history.entries(limit=2)] == numbers[:0:-1]
    history.record_feedback(numbers[1], confirmed=True)
    history.record_feedback(numbers[1], confirmed=False, reason="only dust")
    history.record_feedback(numbers[0], confirmed=True, reason="fine")
    (rejected,) = history.entries(VerdictFilter(word="rejected"))
    assert (rejected.id, rejected.reason) == (numbers[1], "only dust")
    assert [entry.id for entry in history.entries(VerdictFilter(word="none"))] == numbers[2:]
    assert [entry.id for entry in history.entries(VerdictFilter(group="nut"))] == numbers[1::-1]
    assert history.groups() == ["nut"]
    middle_time = datetime.fromisoformat(middle.time)
    assert next(history.entries(VerdictFilter(since=middle_time, before=numbers[2]))).id == numbers[1]
    assert list(history.entries(VerdictFilter(until=datetime.fromisoformat(oldest.time)))) == []
    assert len(all_of(history)) == 3
    with pytest.raises(HistoryError, match="no verdict 999"):
        history.record_feedback(999, confirmed=True)
    assert history.store([]) == []
    assert history.prune(datetime.now(UTC) + timedelta(days=1)) == 3
    assert all_of(history) == []


def test_store_and_find(history: History) -> None:
    check_store_and_find(history)


def test_postgresql_does_all_of_it(postgres: str) -> None:
    with History(HistoryConfig(database=postgres)) as history:
        check_store_and_find(history)
    with History(HistoryConfig(database=postgres)) as history:  # a second start finds its own schema
        assert all_of(history) == []
    check_sinks_and_memory(postgres)


def check_sinks_and_memory(url: str) -> None:
    """What every database must do beside a line."""

    sink, calibration = Listener(), made_calibration()
    numbers = delivered(url, sink, store=5)
    assert [delivery.verdict_id for delivery in sink.taken] == numbers
    stamps = [Stamp(path=Path(f"/{index}.png"), size=2**40, mtime_ns=2**60) for index in range(2)]
    with History(HistoryConfig(database=url), sinks=["away"]) as history:
        history.store(
            [verdict(calibration=calibration.id)],
            also=lambda connection: seen.remember(connection, Path("/"), [(stamps[0], None)]),
        )
        assert [(waiting.sink, waiting.verdicts, waiting.failures) for waiting in history.waiting()] == [("away", 1, 0)]
        with history.transaction() as connection:
            assert seen.unseen(connection, stamps) == stamps[1:]
        for _ in range(2):
            watch = DriftWatch(history, calibration)
            watch.update()
            watch.save()
            assert watch.monitor.parts == 1
        restart(history)
        assert DriftWatch(history, calibration).monitor.parts == 0
        assert history.prune(datetime.now(UTC) + timedelta(days=1)) == 5
        assert history.abandon("away") == 1


def test_sinks_and_memory(url: str) -> None:
    check_sinks_and_memory(url)


def test_a_second_start_finds_everything(history: History, url: str) -> None:
    (number,) = history.store([verdict()])
    with History(HistoryConfig(database=url)) as again:
        assert [entry.id for entry in again.entries()] == [number]


def test_the_whole_record_is_kept(history: History, url: str) -> None:
    history.store([verdict(path=None)])
    with create_engine(url).connect() as connection:
        record = json.loads(connection.scalar(text("select record from verdicts")) or "")
    assert record["regions"] == [{"box": [0, 0, 2, 2], "area": 4, "peak": 0.5, "peak_position": [1, 1]}]
    assert record["model"]["engine"] == "torch fp32"


def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    """A process that stores one verdict after another and is killed: every number it printed is there."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from deliveries import verdict; from clipada.history.store import History, HistoryConfig\n"
        "history = History(HistoryConfig(database=sys.argv[1]))\n"
        "while True: print(history.store([verdict()])[0], flush=True)"
    )
    command = [sys.executable, "-c", code, url, str(Path(__file__).parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        printed = [int(writer.stdout.readline()) for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        printed += [int(line) for line in writer.stdout]
    with History(HistoryConfig(database=url)) as history:
        assert set(printed) <= {entry.id for entry in history.entries()}


def test_several_writers_lose_nothing(url: str) -> None:
    histories = [History(HistoryConfig(database=url)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda index: histories[index % 4].store([verdict(), verdict()]), range(40)))
    numbers = [number for pair in stored for number in pair]
    assert len(set(numbers)) == 80
    assert {entry.id for entry in histories[0].entries()} == set(numbers)


# --- images


@pytest.mark.parametrize(
    ("keep", "kept"), [("none", [False] * 4), ("defective", [True, True, False, False]), ("all", [True] * 4)]
)
def test_images_are_kept_by_policy(tmp_path: Path, url: str, keep: str, kept: list[bool]) -> None:
    write_png(tmp_path / "part.JPG", np.full((5, 5, 3), 90, np.uint8))
    settings = HistoryConfig(database=url, keep=keep, images=str(tmp_path / "kept"))  # type: ignore[arg-type]
    with History(settings) as history:
        history.store([verdict(0.1), verdict(0.2, tmp_path / "part.JPG"), verdict(0.5, tmp_path / "part.JPG")])
        history.store([verdict(0.1, defective=None, inspectable=False, input_reason="dark")])
        entries = all_of(history)
        assert [entry.kept is not None for entry in entries] == kept
        for entry in entries:
            if entry.kept and entry.path:
                assert image_sha256(Path(entry.kept)) == entry.image_sha256
                assert entry.kept.endswith(".jpg")


def test_old_verdicts_go_with_what_belongs_to_them(tmp_path: Path, url: str) -> None:
    for name, gray in (("old", 10), ("both", 20)):
        write_png(tmp_path / f"{name}.png", np.full((5, 5, 3), gray, np.uint8))
    with History(HistoryConfig(database=url, keep="all", images=str(tmp_path / "kept"))) as history:
        old, both_old, _ = history.store(
            [
                verdict(0.5, tmp_path / "old.png", days_old=40),
                verdict(0.5, tmp_path / "both.png", days_old=40),
                verdict(0.5, tmp_path / "both.png", days_old=1),
            ]
        )
        history.record_feedback(old, confirmed=True)
        history.record_feedback(both_old, confirmed=True)
        assert history.prune(datetime.now(UTC) - timedelta(days=30)) == 2
        (entry,) = history.entries()
        assert entry.kept
        kept = Path(entry.kept)
        assert list((tmp_path / "kept").rglob("*")) == [kept.parent, kept]  # nor are empty folders left
        assert list(history.entries(VerdictFilter(word="confirmed"))) == []


# --- what cannot be used


def test_databases_that_cannot_be_used_are_refused(
    clipada: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (tmp_path / "note.db").write_text("This is a note about line 3, and no database at all.\n" * 20)
    for url, message in (
        ("nonsense", "no such database"),
        ("nosql://host/name", "no such database"),
        (f"sqlite:///{tmp_path / 'note.db'}", "cannot be used"),
        (f"sqlite:///{tmp_path / 'missing' / 'history.db'}", "cannot be used"),
    ):
        with pytest.raises(HistoryError, match=message):
            History(HistoryConfig(database=url))
    code, _, err = clipada("history", "list", "--database", f"sqlite:///{tmp_path / 'typo.db'}")
    assert code == 2
    assert "no history in" in err
    assert not (tmp_path / "typo.db").exists()
    with pytest.raises(ConfigError, match="keep"):
        HistoryConfig(keep="some")  # type: ignore[arg-type]


def test_passwords_are_not_shown() -> None:
    with pytest.raises(HistoryError) as caught:
        History(HistoryConfig(database="postgresql+psycopg://me:secret@localhost:1/x"))
    assert "secret" not in str(caught.value)


def test_a_newer_schema_is_refused(history: History, url: str) -> None:
    with create_engine(url).begin() as connection:
        connection.execute(text("insert into clipada_schema values (99)"))
    with pytest.raises(HistoryError, match="newer clipada"):
        History(HistoryConfig(database=url))
