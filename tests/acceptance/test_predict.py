"""`clipada predict`: verdicts as JSON lines, pictures, and files of every kind."""

import json
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada import Inspector, predict
from clipada.errors import RunError
from clipada.runs import CONFIG, seal
from clipada.types import Failure
from command_line import Command, noise, process
from file_kinds import READABLE, UNREADABLE
from tiny import save


def test_predict_writes_what_it_says(clipada: Command, finished_run: Path, parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = parts / "plate" / "test"
    outcome = clipada("predict", finished_run, folder, "--out", out, "--threshold", 0.4, "--batch-size", 3)
    assert (out / "predictions.jsonl").read_text() == outcome.out
    inspector = Inspector.load(finished_run, threshold=0.4)
    images = sorted(folder.rglob("*.png"))
    assert [record["path"] for record in outcome.records] == [str(path) for path in images]
    for path, record in zip(images, outcome.records, strict=True):
        expected = inspector.inspect(path)
        assert record["score"] == pytest.approx(expected.score, abs=1e-6)
        assert (record["width"], record["height"], record["threshold"]) == (48, 40, 0.4)
        assert record["map"]["max"] == pytest.approx(float(expected.anomaly_map.max()), abs=1e-6)
        assert len(record["regions"]) == len(expected.regions)
        for region in record["regions"]:
            left, top, right, bottom = region["box"]
            assert 0 <= left < right <= 48
            assert 0 <= top < bottom <= 40
        name = path.relative_to(folder)
        with PIL.Image.open(out / f"{name}.map.png") as kept:
            assert (kept.mode, kept.size) == ("I;16", (48, 40))
            np.testing.assert_allclose(np.asarray(kept) / 65535, expected.anomaly_map, rtol=0, atol=1e-5)
        with PIL.Image.open(out / f"{name}.overlay.png") as picture:
            assert picture.mode == "RGB"
            assert picture.width > 2 * picture.height  # the image, its heat and its outlines side by side
    assert len([path for path in out.rglob("*") if path.is_file()]) == 2 * len(images) + 1


def test_a_real_process_pipes_json_lines(finished_run: Path, parts: Path, tmp_path: Path) -> None:
    """``clipada predict ... > log`` with a moved working folder and a relative run."""
    with process("predict", finished_run.name, parts / "disc" / "train", cwd=finished_run.parent) as running:
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert len(out.splitlines()) == 6
    assert all(0 < json.loads(line)["score"] < 1 for line in out.splitlines())
    lines = err.splitlines()
    assert lines[0] == "inspected 6 images, left out 0"
    assert lines[1].startswith("not calibrated, so no part is called good or defective: run clipada calibrate line3 ")
    assert len(lines) == 2


def test_files_of_one_name_from_several_folders_do_not_meet(
    clipada: Command, finished_run: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    save(here / "part.png", noise(8, 8))
    save(tmp_path / "there" / "part.png", noise(9, 9))
    outcome = clipada("predict", finished_run, "part.png", "../there/part.png", "--out", "out")
    assert outcome.code == 0, outcome.err
    written = sorted(str(path.relative_to(here / "out")) for path in here.rglob("*.map.png"))
    assert written == ["here/part.png.map.png", "there/part.png.map.png"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["part.png"]  # nothing beside the images


def test_brackets_in_names_are_no_markup(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    """Rich reads ``[/x]`` as a closing tag and fails on it; and drops ``[red]``."""
    folder = tmp_path / "[red] a:smile:b [" / "x]"
    save(folder / "part.png", noise(8, 8))
    save(folder / "good.png", noise(8, 8))
    (folder / "bad.png").write_bytes(b"")
    outcome = clipada("predict", finished_run, folder, "--out", folder / "out")
    assert outcome.code == 0
    assert str(folder / "bad.png") in outcome.err
    assert f"pictures in {folder / 'out'}" in outcome.err
    clipada("info", folder / "nothing").refused(f"no run in {folder / 'nothing'}")
    run = tmp_path / "[red] a:smile:b [" / "line3"
    run.symlink_to(finished_run)
    assert f"run: {run}\n" in clipada("info", run).out  # in one piece, however long


def test_predict_reads_what_can_be_read_and_counts_the_rest(
    clipada: Command, finished_run: Path, mixed: Path, tmp_path: Path
) -> None:
    outcome = clipada("predict", finished_run, mixed, "--out", tmp_path / "out", "--batch-size", 3)
    assert outcome.code == 0
    records = {Path(record["path"]).name: record for record in outcome.records}
    assert list(records) == sorted(READABLE | UNREADABLE)  # in order, good and bad
    for name, (_, size) in READABLE.items():
        assert (records[name]["width"], records[name]["height"]) == size
        with PIL.Image.open(tmp_path / "out" / f"{name}.map.png") as kept:
            assert kept.size == size
    for name, (_, reason) in UNREADABLE.items():
        assert set(records[name]) == {"path", "error"}
        assert reason in records[name]["error"]
        assert f"left out: {records[name]['error'].splitlines()[0]}" in outcome.err
    assert f"inspected {len(READABLE)} images, left out {len(UNREADABLE)}" in outcome.err
    assert "Traceback" not in outcome.err


def test_nothing_but_unreadable_images_is_a_failure(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_text("a note")
    outcome = clipada("predict", finished_run, tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert len(outcome.records) == 2
    assert "inspected 0 images, left out 2" in outcome.err


def test_pictures_of_an_earlier_time_are_not_inspected(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "line" / f"{index}.png", noise(seed=index))
    first = clipada("predict", finished_run, tmp_path / "line", "--out", tmp_path / "line" / "found")
    again = clipada("predict", finished_run, tmp_path / "line", "--out", tmp_path / "line" / "found")
    assert len(first.records) == 3
    kept = ("path", "score", "image_sha256", "regions")
    assert [[record[name] for name in kept] for record in again.records] == [
        [record[name] for name in kept] for record in first.records
    ]


def test_regions_begin_where_good_parts_end_unless_told(clipada: Command, finished_run: Path, parts: Path) -> None:
    level = json.loads((finished_run / "config.json").read_text())["training"]["normal_levels"]["disc"]
    (own,) = clipada("predict", finished_run, parts / "disc" / "test" / "scratch" / "000.png").records
    (told,) = clipada(
        "predict", finished_run, parts / "disc" / "test" / "scratch" / "000.png", "--threshold", "0.9"
    ).records
    assert 0 < own["threshold"] == level < 1
    assert told["threshold"] == 0.9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "abacus"], ["no device 'abacus'", "auto, cpu, cuda"]),
        (["--threshold", "2"], ["Invalid value for '--threshold'"]),
        (["--threshold", "nan"], ["Invalid value for '--threshold'"]),
        (["--batch-size", "0"], ["Invalid value for '--batch-size'"]),
        (["--backbone", "./nowhere"], ["no backbone at ./nowhere"]),
        (["--precision", "fp16"], ["no precision 'fp16' in torch", "--engine onnx"]),
        (["--device", "meta"], ["no device 'meta'", "auto, cpu, cuda, cuda:1"]),
        (["--keep-images", "all"], ["no --database", "pass --database URL"]),
        (["--shard", "0/4"], ["shard is out of range", "1/4 to 4/4"]),
        (["--shard", "5/4"], ["shard is out of range", "1/4 to 4/4"]),
        (["--shard", "4"], ["cannot read the shard", "1/4 for the first of 4"]),
    ],
)
def test_words_that_mean_nothing_to_predict(
    clipada: Command, finished_run: Path, parts: Path, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    clipada("predict", finished_run, parts, "--out", tmp_path / "out", *words).refused(*said)
    assert not (tmp_path / "out").exists()


def test_another_backbone_is_refused_with_both_hashes(clipada: Command, run_folder: Path, parts: Path) -> None:
    content = json.loads((run_folder / CONFIG).read_text())
    found, content["backbone_sha256"] = content["backbone_sha256"], "0123456789ab" * 5 + "cdef"
    (run_folder / CONFIG).write_text(json.dumps(content))
    seal(run_folder)
    clipada("predict", run_folder, parts).refused("0123456789ab", found[:12], "--backbone")


def test_other_errors_of_the_machine_are_reported_without_a_traceback(
    finished_run: Path, parts: Path, tmp_path: Path
) -> None:
    """A file system that takes no files of more than 1,000 bytes."""
    image = parts / "disc" / "test" / "good" / "000.png"
    with process("predict", finished_run, image, "--out", tmp_path / "out", file_size=1000) as running:
        out, err = running.communicate(timeout=120)
    assert (running.returncode, out) == (2, ""), err
    assert re.fullmatch(r"error: \[Errno 27\] File too large.*\n", err), err


def test_predict_takes_one_path_and_is_lazy(finished_run: Path, parts: Path) -> None:
    image = parts / "disc" / "test" / "good" / "000.png"
    for given in (image, str(image), [image], [str(image)]):
        (result,) = predict(finished_run, given)
        assert not isinstance(result, Failure)
        assert result.path == image


def test_a_wrong_out_is_told_before_the_first_result(finished_run: Path, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot write into"):
        predict(finished_run, parts, tmp_path / "file")
