"""The watch of a folder: each image is inspected once, when it is complete, also after kills and restarts."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from clipada import Inspector
from clipada.calibration import Calibration, CalibrationImage
from clipada.config import CalibrationConfig, HistoryConfig, ScoringConfig, WatchConfig
from clipada.errors import ConfigError, ImageError
from clipada.files import open_regular
from clipada.history.store import History
from clipada.history.watching.watch import ATTEMPTS, FolderWatch
from clipada.types import Failure, Verdict
from deliveries import Listener, Receiver, eventually
from stand_in import BrightEngine
from tiny import write_good_parts
from watched import AT_ONCE, names, picture


@pytest.fixture
def history(url: str) -> Iterator[History]:
    with History(HistoryConfig(database=url)) as history:
        yield history


def bright(calibration: Calibration | None = None) -> Inspector:
    return Inspector(BrightEngine(), ScoringConfig(sigma=1.0), calibration=calibration)


def once(history: History, drop: Path, settings: WatchConfig = AT_ONCE) -> list[list[Verdict | Failure]]:
    return list(FolderWatch(bright(), history, drop, settings).batches(once=True))


# --- each image once


def test_each_file_is_judged_once_over_restarts(drop: Path, history: History) -> None:
    for index in range(5):
        picture(drop / f"{index}.png")
    assert sorted(names(once(history, drop))) == [f"{index}.png" for index in range(5)]
    picture(drop / "late" / "5.png")
    assert names(once(history, drop)) == ["5.png"]
    assert once(history, drop) == []
    picture(drop / "0.png", 200)  # another image under an old name
    (again,) = once(history, drop)
    assert names([again]) == ["0.png"]
    assert len(list(history.entries())) == 7


def test_unreadable_files_are_named_once_until_they_change(drop: Path, history: History, url: str) -> None:
    (drop / "note.png").write_text("no image")
    (drop / "empty.png").touch()
    picture(drop / "good.png")
    (results,) = once(history, drop)
    found = {result.path and result.path.name: isinstance(result, Failure) for result in results}
    assert found == {"note.png": True, "empty.png": True, "good.png": False}
    assert once(history, drop) == []
    with create_engine(url).connect() as connection:
        rows = connection.execute(text("select path, error from watched")).all()
    errors = {row.path: row.error for row in rows}
    assert "another kind of file" in errors[str(drop / "note.png")]
    assert errors[str(drop / "good.png")] is None
    picture(drop / "note.png")
    assert names(once(history, drop)) == ["note.png"]


def test_a_file_that_the_system_keeps_from_us_is_tried_a_few_times(
    drop: Path, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(drop / "held.png")
    tries = Counter[str]()

    def refusing(path: Path) -> object:
        tries[path.name] += 1
        if path.name == "held.png" and tries[path.name] <= limit:
            raise PermissionError(13, "Permission denied")
        return open_regular(path)

    monkeypatch.setattr("clipada.images.opening.open_regular", refusing)
    limit = ATTEMPTS - 2
    ((result,),) = once(history, drop)
    assert isinstance(result, Verdict)
    picture(drop / "held.png", 99)
    tries.clear()
    limit = 10**9
    ((failure,),) = once(history, drop)
    assert isinstance(failure, Failure)
    assert tries["held.png"] == 2 * ATTEMPTS  # for its size, by which batches are bounded, and for its pixels


def test_files_that_vanish_or_change_while_they_are_read(drop: Path, history: History) -> None:
    """One that goes before it is read leaves nothing; one that goes after, its verdict; one that changes, its last."""
    for name in ("before", "after", "changing", "quiet"):
        picture(drop / f"{name}.png")
    watch = FolderWatch(bright(), history, drop, AT_ONCE)
    inspect = watch.inspector.inspect_files

    def meddling(paths: list[Path], **options: int) -> Iterator[Verdict | Failure]:
        (drop / "before.png").unlink(missing_ok=True)
        for result in inspect(paths, **options):
            if result.path == drop / "after.png":
                result.path.unlink()
            if result.path == drop / "changing.png" and not changed:
                changed.append(picture(result.path, 250))
            yield result

    changed: list[Path] = []
    watch.inspector.inspect_files = meddling  # type: ignore[method-assign, assignment]
    results = [result for batch in watch.batches(once=True) for result in batch]
    assert sorted(names(results)) == ["after.png", "changing.png", "quiet.png"]
    assert len(list(history.entries())) == 3
    (last,) = [result for result in results if result.path == drop / "changing.png"]
    assert isinstance(last, Verdict)
    assert last.image[0, 0, 0] == 250


def test_an_image_that_vanished_is_kept_as_it_was_seen(drop: Path, url: str, tmp_path: Path) -> None:
    image = picture(drop / "part.png", 77)
    verdict = bright().inspect(image)
    image.unlink()
    with History(HistoryConfig(database=url, keep="all", images=str(tmp_path / "kept"))) as history:
        history.store([verdict])
        (entry,) = history.entries()
    np.testing.assert_array_equal(bright().inspect(entry.kept or "").image, verdict.image)


def test_a_stop_ends_after_the_batch_in_hand(drop: Path, history: History) -> None:
    for index in range(10):
        picture(drop / f"{index}.png")
    watch = FolderWatch(bright(), history, drop, AT_ONCE, batch_size=3)
    asked: list[object] = []
    for results in watch.batches(stopped=lambda: bool(asked)):
        asked.append(results)
    assert len(asked) == 1
    assert len(list(history.entries())) == 3
    assert sum(len(results) for results in once(history, drop)) == 7


def test_folders_are_groups(drop: Path, history: History) -> None:
    images = [
        CalibrationImage(sha256=f"{group}{index}", score=base + index / 1000, peak=0.9, group=group)
        for group, base in (("nut", 0.1), ("bolt", 0.6))
        for index in range(20)
    ]
    settings = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8, per="product")
    calibration = Calibration(
        settings=settings, images=tuple(images), model_sha256="", engine="", created="", command=""
    )
    for group in ("nut", "bolt"):
        picture(drop / group / "part.png", 100)
    list(FolderWatch(bright(calibration), history, drop, AT_ONCE).batches(once=True))
    assert {(entry.group_name, entry.defective) for entry in history.entries()} == {("nut", True), ("bolt", False)}


def test_verdicts_are_queued_for_sinks_and_failures_are_not(drop: Path, url: str) -> None:
    picture(drop / "part.png")
    (drop / "note.png").write_text("no image")
    with History(HistoryConfig(database=url), sinks=[Listener().name]) as history:
        once(history, drop)
        assert [waiting.verdicts for waiting in history.waiting()] == [1]


def test_what_cannot_be_watched_is_refused(drop: Path, history: History) -> None:
    for path in (drop / "missing", picture(drop / "part.png")):
        with pytest.raises(ImageError, match="cannot watch"):
            FolderWatch(bright(), history, path)
    for change in ({"settle": -1}, {"poll": 0}, {"backlog": 0}):
        with pytest.raises(ConfigError, match=r"watch\."):
            WatchConfig(**change)  # type: ignore[arg-type]


# --- the command


def command(run: Path, drop: Path, *words: object) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    line = [sys.executable, "-m", "clipada", "watch", run, drop, "--settle", 0.2, *words]
    return subprocess.Popen(
        [str(word) for word in line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_once_prints_stores_draws_and_tells(
    clipada: Callable[..., tuple[int, str, str]],
    finished_run: Path,
    drop: Path,
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(drop)  # so that kept images are below the watched folder
    picture(drop / "disc" / "part.png")
    (drop / "note.png").write_text("no image")
    with Receiver() as receiver:
        words = ["--database", url, "--webhook", receiver.url, "--keep-images", "all", "--out", drop / "out", "--once"]
        for lines, printed in ((2, "inspected 1 images, left out 1"), (0, "inspected 0 images, left out 0")):
            code, out, err = clipada("watch", finished_run, drop, "--settle", 0, *words)
            assert code == 0, err
            assert len(out.splitlines()) == lines
            assert printed in err
    assert [json.loads(body)["path"] for _, body in receiver.requests] == [str(drop / "disc" / "part.png")]
    assert sorted(path.name for path in (drop / "out" / "disc").iterdir()) == [
        "part.png.map.png",
        "part.png.overlay.png",
    ]
    assert len(list((drop / "clipada-images").rglob("*.png"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_and_started_again(finished_run: Path, drop: Path, url: str, how: signal.Signals) -> None:
    """Files dropped slowly all the while, some half-written first, some renamed into place."""
    content = (write_good_parts(drop.parent / "good", 1) / "000.png").read_bytes()

    def dropping() -> None:
        for index in range(60):
            path = drop / f"{index:02}.png"
            if index % 2:
                path.write_bytes(content[: len(content) // 2])
                time.sleep(0.05)
                path.write_bytes(content)
            else:
                path.with_suffix(".tmp").write_bytes(content)
                path.with_suffix(".tmp").rename(path)
            time.sleep(0.05)

    writer = threading.Thread(target=dropping)
    with Receiver() as receiver:
        words = ["--database", url, "--webhook", receiver.url, "--batch-size", 2]
        with command(finished_run, drop, *words) as first:
            assert first.stderr is not None
            assert "watching" in first.stderr.readline()
            writer.start()
            assert first.stdout is not None
            lines = [first.stdout.readline() for _ in range(5)]
            first.send_signal(how)
            lines += first.stdout.readlines()
            printed = first.stderr.read()
        assert first.returncode == (-how if how == signal.SIGKILL else 0), printed
        if how != signal.SIGKILL:
            assert re.search(rf"inspected {len(lines)} images", printed)
        writer.join()
        with command(finished_run, drop, *words) as second:
            eventually(lambda: len(set(receiver.taken)) == 60, seconds=90)
            second.send_signal(signal.SIGTERM)
            out, _ = second.communicate()
    lines += out.splitlines()
    with History(HistoryConfig(database=url)) as history:
        stored = [Path(entry.path or "").name for entry in history.entries()]
    assert sorted(stored) == [f"{index:02}.png" for index in range(60)]
    assert len(lines) == 60 if how != signal.SIGKILL else len(lines) <= 60
    assert list(dict.fromkeys(receiver.taken)) == sorted(set(receiver.taken))
