"""Predictions of any number of images: in order, on the disk, in shares, and resumed after a kill."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, predict
from clipada.config import PredictConfig, Shard
from clipada.errors import ConfigError, ImageError, RunError
from clipada.images import write_png
from clipada.inspection import pictures
from clipada.inspection.batch.pipeline import WRITES_AHEAD, outcomes
from clipada.inspection.batch.sources import Source, Sources
from command_line import process
from tiny import save

Command = Callable[..., tuple[int, str, str]]

SKIP = PredictConfig(skip_done=True)
LINES, PARTIAL = "predictions.jsonl", "predictions.partial.jsonl"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of ten images, three of them in a subfolder, and one that is none."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(3)
    for index in range(10):
        name = f"{index}.png" if index < 7 else f"sub/{index}.png"
        save(folder / name, rng.integers(0, 256, (40, 48, 3), dtype=np.uint8) // np.uint8(index + 1))
    (folder / "5.png").write_bytes(b"")
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(path: Path) -> list[str]:
    return [Path(str(record["path"])).name for record in lines(path)]


# --- which images, and what their outputs are called


def test_names_follow_from_the_inputs_alone(tmp_path: Path) -> None:
    """Another file beside them changes no name, so a resumed prediction finds its pictures again."""
    for name in ("line/a/1.png", "line/a/.hidden/2.png", "line/b/3.png", "other/4.png", "line/a/1.png.map.png"):
        save(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
    given = [tmp_path / "line", tmp_path / "other" / "4.png"]
    listed = [source.name for source in Sources(given, Shard(), pictures.is_picture)]
    assert listed == ["line/a/1.png", "line/b/3.png", "other/4.png"]
    assert [source.name for source in Sources([tmp_path / "line" / "a"], Shard())] == ["1.png", "1.png.map.png"]


def test_an_image_named_twice_is_inspected_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    given = [Path("photos/sub/8.png"), photos, Path("photos/../photos/1.png")]
    listed = [source.name for source in Sources(given, Shard())]
    assert sorted(listed) == sorted(set(listed))
    assert (len(listed), listed[0]) == (10, "sub/8.png")


def test_nothing_is_listed_before_it_is_needed(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = []
    walk = os.walk

    def watched(folder: Path, **options: object) -> Iterator[object]:
        for found in walk(folder, **options):  # type: ignore[call-overload]
            listed.append(found[0])
            yield found

    monkeypatch.setattr("clipada.data.listing.os.walk", watched)
    sources = iter(Sources([photos], Shard()))
    listed.clear()
    assert next(sources).name == "0.png"
    assert listed == [str(photos)]


def test_shares_are_even_disjoint_and_stay_when_images_are_added(tmp_path: Path) -> None:
    (tmp_path / "line").mkdir()
    for index in range(300):
        (tmp_path / "line" / f"{index}.png").touch()
    shares = {n: {s.name for s in Sources([tmp_path / "line"], Shard(number=n, count=3))} for n in (1, 2, 3)}
    assert sum(map(len, shares.values())) == len(set.union(*shares.values())) == 300
    assert all(70 <= len(share) <= 130 for share in shares.values())
    (tmp_path / "line").rename(tmp_path / "moved")
    for index in range(300, 400):
        (tmp_path / "moved" / f"{index}.png").touch()
    for number, before in shares.items():
        now = {source.name for source in Sources([tmp_path / "moved"], Shard(number=number, count=3))}
        assert before == {name for name in now if int(Path(name).stem) < 300}


def test_a_share_without_images_is_none_the_worse(clipada: Command, finished_run: Path, photos: Path) -> None:
    empty = next(n for n in range(1, 41) if not list(Sources([photos / "0.png"], Shard(number=n, count=40))))
    code, out, err = clipada("predict", finished_run, photos / "0.png", "--shard", f"{empty}/40")
    assert (code, out) == (0, ""), err
    with pytest.raises(ImageError, match="no images found"):
        Sources([photos.parent], Shard(), lambda _: True)


# --- overlapping


class Slow:
    """A stand-in for an inspector whose results are ready at once."""

    def __init__(self, verdict: object) -> None:
        self.verdict = verdict
        self.asked = 0

    def inspect_files(self, paths: Iterator[Path], **_: object) -> Iterator[object]:
        for _path in paths:
            self.asked += 1
            yield self.verdict


def test_slow_writing_holds_back_what_comes_before(
    finished_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the disk, no more than a few images wait for it; and their order stays."""
    verdict = Inspector.load(finished_run, device="cpu").inspect(photos / "1.png")
    gates = [threading.Event() for _ in range(20)]
    written = []

    def wait(_out: Path, name: str, _verdict: object) -> None:
        gates[int(name)].wait(60)
        written.append(name)

    monkeypatch.setattr("clipada.inspection.batch.pipeline.write_pictures", wait)
    inspector, settings = Slow(verdict), PredictConfig(workers=2)
    endless = (Source(photos / "1.png", str(index)) for index in range(10**9))
    results = outcomes(inspector, endless, tmp_path, settings)  # type: ignore[arg-type]
    for gate in gates[:5]:
        gate.set()
        next(results)
    assert inspector.asked <= 5 + WRITES_AHEAD * settings.workers + 1
    for gate in gates:
        gate.set()
    results.close()  # type: ignore[attr-defined]
    assert {"0", "1", "2", "3", "4"} <= set(written)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("clipada-")]


def test_what_a_writer_meets_is_raised(
    finished_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, array: np.ndarray) -> None:
        if "3.png" in path.name:
            raise OSError(28, "No space left on device", str(path))
        write_png(path, array)

    monkeypatch.setattr(pictures, "write_png", full)
    with pytest.raises(OSError, match=r"No space left.*3\.png\.overlay"):
        list(predict(finished_run, photos, tmp_path / "out", PredictConfig(batch_size=2)))
    assert names(tmp_path / "out" / PARTIAL) == ["0.png", "1.png", "2.png"]
    assert not (tmp_path / "out" / LINES).exists()


# --- stopped and gone on with


def test_a_stopped_prediction_keeps_its_lines_and_the_earlier_file(
    finished_run: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / LINES).write_text("the last one\n")
    results = iter(predict(finished_run, photos, out, PredictConfig(batch_size=1)))
    given = [next(results), next(results)]
    results.close()  # type: ignore[attr-defined]
    assert (out / LINES).read_text() == "the last one\n"
    assert names(out / PARTIAL) == [result.path.name for result in given if result.path]
    with pytest.raises(RunError, match="an unfinished prediction is in the way") as refused:
        predict(finished_run, photos, out)
    assert "--skip-done" in str(refused.value.remedy)
    rest = list(predict(finished_run, photos, out, SKIP))
    assert len(rest) == 8
    assert sorted(names(out / LINES)) == [f"{index}.png" for index in range(10)]
    assert not (out / PARTIAL).exists()


def test_a_killed_prediction_goes_on_to_the_same_end(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    """A process killed while it writes; a torn line and a failure of its are inspected again."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    for index in range(60):
        save(photos / "many" / f"{index:03}.png", np.full((9, 9, 3), index, np.uint8))
    with process("predict", finished_run, photos, "--out", out, "--batch-size", 1) as running:
        deadline = time.monotonic() + 60
        while not ((out / PARTIAL).exists() and len((out / PARTIAL).read_bytes().splitlines()) > 8):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.kill()
    assert not (out / LINES).exists()
    with (out / PARTIAL).open("a") as file:
        file.write('{"path": "torn')
    before = lines_that_parse(out / PARTIAL)
    save(photos / "5.png", np.full((9, 9, 3), 77, np.uint8))  # copied whole by now
    rest = [Path(str(result.path)).name for result in predict(finished_run, photos, out, SKIP)]
    assert "5.png" in rest
    assert len(rest) == 70 - len(before) + 1
    list(predict(finished_run, photos, whole))
    told = {str(record["path"]): record["score"] for record in lines(out / LINES)}
    assert told == pytest.approx({str(record["path"]): record["score"] for record in lines(whole / LINES)}, abs=1e-6)
    assert len(lines(out / LINES)) == 70
    assert {path.name for path in out.rglob("*.png")} == {path.name for path in whole.rglob("*.png")}


def test_ctrl_c_leaves_nothing_half_written(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for index in range(300):
        save(photos / "many" / f"{index:03}.png", np.full((9, 9, 3), 1, np.uint8))
    with process("predict", finished_run, photos, "--out", out, "--batch-size", 1) as running:
        assert running.stdout is not None
        assert running.stdout.readline()
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=120)
    assert running.returncode not in (0, None)
    assert "Traceback" not in err
    assert lines(out / PARTIAL)  # every line is whole
    assert not list(out.rglob(".*"))
    for record in lines(out / PARTIAL):
        if "error" not in record:
            assert list(out.rglob(f"{Path(str(record['path'])).name}.map.png"))


def test_new_images_join_a_finished_prediction(clipada: Command, finished_run: Path, photos: Path) -> None:
    words = ("predict", finished_run, photos, "--out", photos / "found")
    assert clipada(*words)[0] == 0
    save(photos / "new.png", np.full((9, 9, 3), 77, np.uint8))
    code, out, err = clipada(*words, "--skip-done")
    assert code == 0, err
    assert [Path(json.loads(line)["path"]).name for line in out.splitlines()] == ["5.png", "new.png"]
    assert len(lines(photos / "found" / LINES)) == 11
    (photos / "5.png").unlink()
    code, out, err = clipada(*words, "--skip-done")  # nothing is left to do
    assert (code, out) == (0, ""), err


def test_other_verdicts_do_not_mix(run_folder: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    list(predict(run_folder, photos / "0.png", out))
    with pytest.raises(RunError, match="were inspected with other settings") as refused:
        predict(run_folder, photos, out, PredictConfig(skip_done=True, threshold=0.9))
    assert refused.value.got == "map threshold 0.9"
    with pytest.raises(RunError, match="were inspected with other settings") as refused:
        predict(run_folder, photos, out, SKIP, precision="bf16")
    assert refused.value.got == "engine torch bf16"
    assert "another --out" in str(refused.value.remedy)
    assert names(out / LINES) == ["0.png"]  # as it was
    assert not (out / PARTIAL).exists()


def test_what_cannot_be_gone_on_with_is_said(finished_run: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to continue"):
        predict(finished_run, photos, None, SKIP)
    (tmp_path / LINES).write_text('{"path": 3}\n')
    with pytest.raises(RunError, match=f"line 1 of {tmp_path / LINES} is damaged"):
        predict(finished_run, photos, tmp_path, SKIP)


# --- several at once


def test_shards_share_a_folder_and_a_report(clipada: Command, finished_run: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for number in (1, 2, 3):
        assert clipada("predict", finished_run, photos, "--out", out, "--shard", f"{number}/3")[0] == 0
    files = [out / f"predictions-{number}-of-3.jsonl" for number in (1, 2, 3)]
    assert sorted(name for file in files for name in names(file)) == [f"{index}.png" for index in range(10)]
    code, _, err = clipada("report", finished_run, out)
    assert (code, "reported 9 images" in err) == (0, True), err
    files[1].unlink()
    code, _, err = clipada("report", finished_run, out)
    assert (code, "predictions-2-of-3.jsonl" in (out / "report.html").read_text()) == (0, True), err


def lines_that_parse(path: Path) -> list[str]:
    """The whole lines of a file of which the last one is torn."""
    return path.read_text().splitlines()[:-1]
