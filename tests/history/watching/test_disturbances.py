"""A watch that something disturbs: files that keep changing, a second watch, pictures that cannot be written."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipada.commands.watch import watch
from clipada.config import HistoryConfig, PredictConfig, WatchConfig
from clipada.errors import RunError
from clipada.files import lock_folder
from clipada.history.store import History
from clipada.history.watching.lock import hold_watch
from clipada.history.watching.new_files import RESTLESS, NewFiles
from clipada.history.watching.unwritten import UNWRITTEN
from clipada.inspection import Inspector, pictures
from clipada.types import Verdict
from watched import AT_ONCE, names, picture

Clipada = Callable[..., tuple[int, str, str]]


def test_a_file_that_is_overwritten_again_and_again_is_named_once(drop: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    files = NewFiles(drop, list, WatchConfig(settle=2), clock=lambda: now[0])  # type: ignore[arg-type]
    for second in range(4 * RESTLESS):
        os.utime(picture(drop / "live.png"), (second, second))
        if second == 3:
            picture(drop / "quiet.png")
        assert "live.png" not in names(files.complete())
        now[0] += 1
        assert ("live.png" in caplog.text) == (second >= 2 * RESTLESS), second
    assert caplog.text.count("is not inspected: it has been changing for 10 s") == 1
    assert "remedy: " in caplog.text
    assert "quiet.png" not in caplog.text


def test_what_is_no_regular_file_is_named_once(drop: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(drop / "fifo.png")
    (drop / "device.png").symlink_to("/dev/zero")
    (drop / "folder.png").symlink_to(drop.parent)
    picture(drop / "part.png")
    files = NewFiles(drop, list, AT_ONCE)  # type: ignore[arg-type]
    assert names(files.complete()) == names(files.complete()) == ["part.png"]
    assert caplog.text.count("is not a regular file") == 2


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_wrong_folder_is_refused_before_the_model_is_loaded(
    clipada: Clipada, finished_run: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Inspector, "load", fail)
    (tmp_path / "file").write_text("x")
    code, _, err = clipada("watch", finished_run, tmp_path / place, "--database", url)
    assert code == 2
    assert f"cannot watch {tmp_path / place}" in err
    assert "remedy: check the name" in err
    assert not (tmp_path / "history.db").exists()


def test_two_watches_of_one_folder(clipada: Clipada, finished_run: Path, drop: Path, tmp_path: Path, url: str) -> None:
    picture(drop / "part.png")
    words = ("--settle", 0, "--once")
    with History(HistoryConfig(database=url)) as history, hold_watch(history, drop):
        code, out, err = clipada("watch", finished_run, drop, "--database", url, *words)
        assert (code, out) == (2, "")
        assert f"{drop} is already watched with sqlite:///" in err
        assert f"process {os.getpid()} on " in err
        (tmp_path / "other").mkdir()
        assert clipada("watch", finished_run, tmp_path / "other", "--database", url, *words)[0] == 0
        assert clipada("watch", finished_run, drop, "--database", f"{url}2", *words)[0] == 0
    code, out, _ = clipada("watch", finished_run, drop, "--database", url, *words)
    assert (code, len(out.splitlines())) == (0, 1)
    assert not list(tmp_path.glob(".*lock"))
    with lock_folder(tmp_path / "out"):
        assert clipada("watch", finished_run, drop, "--database", url, "--out", tmp_path / "out", *words)[0] == 2


def test_two_watches_with_postgresql(drop: Path, postgres: str) -> None:
    settings = HistoryConfig(database=postgres)
    with History(settings) as one, History(settings) as other:
        with hold_watch(one, drop):
            with pytest.raises(RunError, match="is already watched") as refused, hold_watch(other, drop):
                pass
            assert "the server's process" in str(refused.value)
            with hold_watch(other, drop.parent):
                pass
        with hold_watch(other, drop):
            pass


# --- pictures


def watched(run: Path, drop: Path, out: Path, url: str) -> Iterator[str]:
    """The names of the images of a watch that ends, as their lines come out."""
    found = watch(
        run,
        drop,
        AT_ONCE,
        history=HistoryConfig(database=url),
        inspection=PredictConfig(batch_size=4),
        out=out,
        once=True,
    )
    for outcome in found:
        assert isinstance(outcome.result, Verdict)
        yield Path(outcome.record["path"]).name


def failing(monkeypatch: pytest.MonkeyPatch, error: OSError, name: str) -> None:
    """Let the pictures of one image fail."""
    write = pictures.write_png

    def write_or_fail(path: Path, values: object) -> None:
        if path.name.startswith(name):
            raise error
        write(path, values)  # type: ignore[arg-type]

    monkeypatch.setattr(pictures, "write_png", write_or_fail)


def written(out: Path) -> list[str]:
    return sorted(path.name.removesuffix(".map.png") for path in out.rglob("*.map.png"))


def test_a_full_disk_costs_no_line_and_no_picture(
    finished_run: Path, drop: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(10):
        os.utime(picture(drop / f"{index}.png"), (index, index))
    out, lines = tmp_path / "out", list[str]()
    with monkeypatch.context() as patch:
        failing(patch, OSError(28, "No space left on device", "out"), "5")
        with pytest.raises(OSError, match="No space left"):
            lines.extend(watched(finished_run, drop, out, url))
    lines = []
    with History(HistoryConfig(database=url)) as history:
        stored = {Path(entry.path or "").name for entry in history.entries()}
    assert len(stored) == 8
    assert "5" not in [name.partition(".")[0] for name in written(out)]
    assert (out / UNWRITTEN).exists()
    picture(drop / "6.png", 99)  # changed in between: a new image
    (drop / "7.png").unlink()
    lines = list(watched(finished_run, drop, out, url))
    assert sorted(lines) == ["6.png", "8.png", "9.png"]
    assert written(out) == [f"{index}.png" for index in range(10) if index != 7]
    assert not (out / UNWRITTEN).exists()
    shutil.rmtree(out)  # moved away on purpose: not written again
    assert list(watched(finished_run, drop, out, url)) == []
    assert written(out) == []


def test_all_lines_of_a_batch_come_before_its_pictures(
    finished_run: Path, drop: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(4):
        picture(drop / f"{index}.png")
    failing(monkeypatch, OSError(28, "No space left on device"), "0")
    lines = watched(finished_run, drop, tmp_path / "out", url)
    assert [next(lines) for _ in range(4)]
    with pytest.raises(OSError, match="No space left"):
        next(lines)


def test_a_batch_that_cannot_be_recorded_is_not_stored(
    finished_run: Path, drop: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(drop / "part.png")
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device", str(tmp_path / "out"))

        patch.setattr("clipada.history.watching.unwritten.write_json", full)
        with pytest.raises(OSError, match="No space left"):
            list(watched(finished_run, drop, tmp_path / "out", url))
    assert list(watched(finished_run, drop, tmp_path / "out", url)) == ["part.png"]
    assert written(tmp_path / "out") == ["part.png"]


def test_one_bad_name_costs_its_pictures_alone(
    finished_run: Path, drop: Path, tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "nut").write_text("no folder")
    longest = f"{'x' * 251}.png"
    for name in ("nut/a.png", "b.png", longest):
        picture(drop / "short.png")
        (drop / name).parent.mkdir(exist_ok=True)
        (drop / "short.png").rename(drop / name)
    with caplog.at_level(logging.WARNING):
        assert sorted(watched(finished_run, drop, tmp_path / "out", url)) == sorted(["a.png", "b.png", longest])
    assert "no pictures of nut/a.png" in caplog.text
    assert len(written(tmp_path / "out")) == 2
    assert list(watched(finished_run, drop, tmp_path / "out", url)) == []


def test_a_damaged_record_is_logged(
    finished_run: Path, drop: Path, tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / UNWRITTEN).write_text("[[")
    picture(drop / "part.png")
    assert list(watched(finished_run, drop, tmp_path / "out", url)) == ["part.png"]
    assert "is damaged" in caplog.text


def test_files_of_kinds_that_are_not_read_are_named_and_counted_once(
    drop: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1.gif", "2.GIF", "3.raw", "notes.txt", "Thumbs.db", ".hidden.gif", "4"):
        (drop / name).write_bytes(b"GIF89a")
    files = NewFiles(drop, list, AT_ONCE)  # type: ignore[arg-type]
    for _ in range(3):
        assert files.complete() == []
    messages = sorted(record.getMessage().partition(", e.g.")[0] for record in caplog.records)
    assert messages == [
        "left out: files ending in .gif are not read (2 here",
        "left out: files ending in .raw are not read (1 here",
        "left out: files without an ending are not read (1 here",
    ]
