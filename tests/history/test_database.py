"""The database: no secret in a message, errors for every URL, one migration at a time, removed files, a full disk."""

import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event, text

from clipada import open_history
from clipada.config import HistoryConfig
from clipada.errors import ConfigError, HistoryError
from clipada.history import kept_images
from clipada.history.database import Database
from clipada.history.store import History, VerdictFilter
from clipada.history.tables import MIGRATIONS
from deliveries import verdict

SECRET = "s3cr3t-w0rd"


# --- secrets


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://u:{SECRET}@127.0.0.1:1/d",
        f"postgresql+psycopg://u@127.0.0.1:1/d?password={SECRET}",
        f"postgresql+psycopg://u@127.0.0.1:1/d?passfile={SECRET}&sslpassword={SECRET}",
        f"postgresql+psycopg://u@127.0.0.1:abc/d?password={SECRET}",
        f"postgresql+psycopg://u@127.0.0.1:1/d?nonsense={SECRET}",
        f"postgresql+psycopg://u:{SECRET}@[::1/d",
        f"sqlite:///h.db?nonsense={SECRET}",
        f"sqlite:///h.db?timeout={SECRET}",
        f"nosql://u:{SECRET}@h/d",
        f"u:{SECRET}@h",
    ],
)
def test_no_message_contains_a_secret(
    clipada: Callable[..., tuple[int, str, str]], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError) as caught:
        History(HistoryConfig(database=address))
    assert SECRET not in f"{caught.value}{caught.value.__reduce__()}{HistoryConfig(database=address)!r}"
    code, out, err = clipada("history", "list", "--database", address)
    assert code == 2
    assert SECRET not in out + err


def test_the_place_has_neither_password_nor_query(postgres: str) -> None:
    with History(HistoryConfig(database=postgres + f"&application_name={SECRET}")) as history:
        assert history.place.startswith("postgresql+psycopg://clipada@/test_")
        assert "?" not in history.place


# --- URLs that cannot be used


UNUSABLE = [
    "sqlite:///\x00",
    "sqlite:///h.db?timeout=x",
    "sqlite:///h.db?foo=1",
    "sqlite:///\ud800",
    "",
    "://",
    "oracle://h",
]
UNUSABLE += [
    "sqlite://u@h:x/",
    "postgresql+psycopg://h:99999999999/d",
    "postgresql://u@h/d",
    "sqlite:////",
    "sqlite:///.",
]


@pytest.mark.parametrize("address", UNUSABLE)
def test_a_url_that_cannot_be_used_is_an_error_of_ours(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for create in (False, True):
        with pytest.raises(HistoryError, match="history"):
            Database(address, create=create)


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=30)
    | st.builds("sqlite:///{}?{}={}".format, st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
)
def test_any_text_is_a_history_or_an_error_of_ours(address: str) -> None:
    with pytest.raises(HistoryError, match="history"):
        Database(address, create=False)


# --- reading and migrating


def tables(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("select name from sqlite_master")]


def test_a_database_without_a_history_is_only_read(url: str, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "history.db").close()
    (tmp_path / "history.db").touch()
    with pytest.raises(HistoryError, match="no history in"):
        open_history(url)
    assert tables(tmp_path / "history.db") == []


def test_a_read_only_server_is_only_read(postgres: str) -> None:
    with History(HistoryConfig(database=postgres)) as history:
        history.store([verdict()])
    read_only = postgres + "&options=-c%20default_transaction_read_only%3Don"
    with open_history(read_only) as history:
        assert len(list(history.entries())) == 1
        with pytest.raises(HistoryError, match="read-only"):
            history.store([verdict()])
        with pytest.raises(HistoryError, match="read-only"):
            history.check_writable()


def start_at(moment: float, database: str) -> int:
    time.sleep(max(0.0, moment - time.time()))
    with History(HistoryConfig(database=database)) as history:
        return history.store([verdict()])[0]


def start_several(database: str, count: int) -> None:
    with multiprocessing.get_context("spawn").Pool(count) as pool:
        pool.starmap(time.sleep, [(0.01,)] * count)  # all are up
        for _ in range(2):
            numbers = pool.starmap(start_at, [(time.time() + 0.3, database)] * count)
            assert len(set(numbers)) == count
    with create_engine(database).connect() as connection:
        versions = list(connection.scalars(text("select version from clipada_schema order by version")))
    assert versions == list(range(1, len(MIGRATIONS) + 1))


def test_several_first_starts_at_once(url: str) -> None:
    start_several(url, 3)


def test_several_first_starts_at_once_on_postgresql(postgres: str) -> None:
    start_several(postgres, 3)


# --- storing


def test_a_removed_database_file_is_noticed(url: str, tmp_path: Path) -> None:
    with History(HistoryConfig(database=url)) as history:
        history.store([verdict()])
        (tmp_path / "history.db").rename(tmp_path / "away.db")
        for work in (lambda: history.store([verdict()]), history.check_writable, lambda: list(history.entries())):
            with pytest.raises(HistoryError, match="removed or replaced"):
                work()
        sqlite3.connect(tmp_path / "history.db").close()
        (tmp_path / "history.db").touch()  # another file of the same name is not the one that was opened
        with pytest.raises(HistoryError, match="removed or replaced"):
            history.store([verdict()])
        assert tables(tmp_path / "history.db") == []


def fill(history: History) -> None:
    """Let the database refuse to grow, as on a full disk."""

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("pragma max_page_count = 1")  # SQLite takes the present number of pages

    history._database._engine.dispose()
    event.listen(history._database._engine, "connect", limit)


def test_a_full_disk_is_noticed(url: str) -> None:
    with History(HistoryConfig(database=url)) as history:
        history.check_writable()
        assert history.waiting() == []
        with sqlite3.connect(history._database._file) as connection:  # type: ignore[arg-type]
            connection.execute("vacuum")
            assert connection.execute("select count(*) from sinks").fetchone() == (0,)  # nothing of the check stays
        fill(history)
        with pytest.raises(HistoryError, match="full"):
            history.check_writable()


@pytest.mark.parametrize("failing", ["database", "commit", "second image"])
def test_no_image_stays_whose_verdict_was_not_stored(
    url: str, tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = HistoryConfig(database=url, keep="all", images=str(tmp_path / "kept"))
    first, second, third = (verdict(0.5, image_sha256=letter * 64) for letter in "abc")
    with History(settings) as history:
        history.store([first])
        before = set((tmp_path / "kept").rglob("*"))
        if failing == "database":
            fill(history)
            second, third = (verdict(0.5, image_sha256=letter * 64, group="x" * 200_000) for letter in "bc")
        elif failing == "commit":

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            event.listen(history._database._engine, "commit", fail)
        else:
            keep_image = kept_images.keep_image

            def fail_at_third(folder: Path, one: object, content: bytes | None) -> Path:
                if one is third:
                    raise OSError(28, "No space left on device")
                return keep_image(folder, one, content)  # type: ignore[arg-type]

            monkeypatch.setattr(kept_images, "keep_image", fail_at_third)
        with pytest.raises((HistoryError, OSError)):
            history.store([first, second, third])
        assert set((tmp_path / "kept").rglob("*")) == before  # the first one's image has its verdict


# --- times


@pytest.mark.parametrize(
    "time",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_times_at_the_edge_of_the_calendar(url: str, time: datetime) -> None:
    with History(HistoryConfig(database=url)) as history:
        for chosen in (VerdictFilter(since=time), VerdictFilter(until=time)):
            with pytest.raises(ConfigError, match="cannot use the time"):
                list(history.entries(chosen))
        with pytest.raises(ConfigError, match="cannot use the time"):
            history.prune(time)
        for usable in (datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)):
            assert list(history.entries(VerdictFilter(since=usable, until=usable))) == []


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--since", "0001-01-01T00:00:00"),
        ("list", "--until", "9999-12-31T23:59:59"),
        ("prune", "--days", "800000"),
        ("prune", "--days", "9" * 30),
    ],
)
@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Etc/GMT-14"])
def test_the_commands_survive_the_edge_of_the_calendar(
    clipada: Callable[..., tuple[int, str, str]],
    url: str,
    words: tuple[str, ...],
    zone: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with History(HistoryConfig(database=url)):
        pass
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        code, _, err = clipada("history", *words, "--database", url)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert code in (0, 2)
    assert code == 0 or "cannot use" in err
    if words[0] == "prune":
        assert code == 2
