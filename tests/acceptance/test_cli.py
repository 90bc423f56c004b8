"""The command line as a user meets it: real files in, exit codes, words and files out."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from clipada import Inspector, predict
from clipada.cli import main
from clipada.config import setting_names
from clipada.errors import RunError
from clipada.images import MAX_PIXELS
from clipada.runs import ADAPTER, CARD, CONFIG, METRICS, PLAN
from clipada.types import Failure
from tiny import save, write_products

TINY = [
    *("--set", "backbone.block=2", "--set", "prompt.prefix=a photo of a", "--set", "model.image_size=32"),
    *("--set", "training.batch_size=4", "--epochs", "2", "--device", "cpu", "--workers", "0"),
]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines: every line is one, and none holds ``NaN``."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is no JSON")

        return [json.loads(line, parse_constant=refuse) for line in self.out.splitlines()]

    def refused(self, *words: str) -> None:
        """Check that it was refused as a user's mistake is: in words, with a way out, without a traceback."""
        assert self.code == 2, self.err
        assert any(line.startswith(("error: ", "Usage:")) for line in self.err.splitlines()), self.err
        assert "Traceback" not in self.err
        assert any(way in self.err for way in ("expected: ", "remedy: ", "Usage:")), self.err
        for word in words:
            assert word in self.err, f"{word!r} is not in:\n{self.err}"
        assert self.out == ""


Command = Callable[..., Outcome]


@pytest.fixture
def clipada(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # else it tries to connect, again and again

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["clipada", *map(str, words)])
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        code = exited.value.code
        return Outcome(code if isinstance(code, int) else 0, out, err)

    return run


@pytest.fixture
def train(clipada: Command, clip_folder: Path, tmp_path: Path) -> Command:
    """``clipada train DATA ...`` on the tiny CLIP into a new folder."""

    def run(data: Path, *words: object) -> Outcome:
        return clipada("train", data, "--out", tmp_path / "new", "--backbone", clip_folder, *TINY, *words)

    return run


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two products, to be read only."""
    return write_products(tmp_path_factory.mktemp("parts") / "products")


def noise(height: int = 37, width: int = 91, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def process(*words: object, **options: Any) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    command = [sys.executable, "-m", "clipada", *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    pipes["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
    return subprocess.Popen(command, **(pipes | options))


# --- the way through: train, info, evaluate, predict, synthesize


def test_from_good_parts_to_verdicts(clipada: Command, clip_folder: Path, products: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "line3", tmp_path / "out"
    trained = clipada("train", products, "--out", run, "--backbone", clip_folder, *TINY)
    assert trained.code == 0, trained.err
    for line in ("MVTec AD layout, 2 categories", "plate: 6 train / 2 normal + 2 anomalous test"):
        assert line in trained.err
    assert f"next: clipada evaluate {run} {products}" in trained.err  # in one piece, however long the paths
    assert {path.name for path in run.iterdir()} >= {CONFIG, ADAPTER, CARD}
    assert trained.out == ""

    told = clipada("info", run)
    assert told.code == 0
    for fact in ("disc (6), plate (6)", "32 x 32 pixels", "4 learned vectors", "1 pass, residual", "2 epochs"):
        assert fact in told.out
    assert "mean metrics" not in told.out

    evaluated = clipada("evaluate", run, products, "--device", "cpu")
    assert evaluated.code == 0, evaluated.err
    for word in ("pass 0 (coarse)", "pass 1 (refined)", "P-mAP", "AUPRO", "disc", "plate", "mean"):
        assert word in evaluated.out
    assert str(run / METRICS) in evaluated.err
    metrics = json.loads((run / METRICS).read_text())
    assert f"P-mAP {100 * metrics['mean']['pixel_ap']:.1f}" in " ".join(clipada("info", run).out.split())

    predicted = clipada("predict", run, products / "disc" / "test", "--out", out, "--device", "cpu")
    assert predicted.code == 0, predicted.err
    assert len(predicted.records) == 4
    assert f"inspected 4 images, left out 0; pictures in {out}" in predicted.err

    sheet = clipada("synthesize", products, "--out", out, "--count", 6, "--set", "model.image_size=32")
    assert sheet.code == 0, sheet.err
    with PIL.Image.open(out / "contact-sheet.png") as image:
        assert image.width > 64
        assert image.height > 64


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
    with process("predict", finished_run.name, parts / "disc", cwd=finished_run.parent) as running:
        out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert len(out.splitlines()) == 12
    assert all(0 < json.loads(line)["score"] < 1 for line in out.splitlines())
    assert err == "inspected 12 images, left out 0\n"


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


def test_settings_reach_the_run_and_the_last_word_counts(
    clipada: Command, train: Command, products: Path, tmp_path: Path
) -> None:
    words = ["--refinements", 2, "--seed", 5, "--category", "disc", "--set", "model.refinements=0"]
    outcome = train(products, *words, "--set", "model.similarity=cosine")
    assert outcome.code == 0, outcome.err
    content = json.loads((tmp_path / "new" / CONFIG).read_text())
    assert content["config"]["model"] | {"refinements": 0, "similarity": "cosine"} == content["config"]["model"]
    assert content["config"]["training"]["seed"] == 5
    assert content["training"]["categories"] == {"disc": 6}


def test_a_held_out_share_is_reported(train: Command, products: Path) -> None:
    outcome = train(products, "--set", "training.validation_fraction=0.34")
    assert outcome.code == 0, outcome.err
    assert "held-out images with synthetic anomalies, pass 1: " in outcome.err


# --- every kind of file


def encoded(image: PIL.Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return encoded(PIL.Image.fromarray(noise(37, 91)), "JPEG", exif=exif)


def huge() -> bytes:
    side = 13_400
    assert side * side > MAX_PIXELS
    return encoded(PIL.Image.new("1", (side, side)), "PNG", compress_level=1)


RGB = PIL.Image.fromarray(noise(37, 91))
READABLE = {
    "16-bit.png": (encoded(PIL.Image.fromarray(noise()[..., 0].astype(np.uint16) * 257), "PNG"), (91, 37)),
    "cmyk.jpg": (encoded(RGB.convert("CMYK"), "JPEG"), (91, 37)),
    "palette.png": (encoded(RGB.convert("P"), "PNG"), (91, 37)),
    "rgba.png": (encoded(RGB.convert("RGBA"), "PNG"), (91, 37)),
    "grey.tif": (encoded(RGB.convert("L"), "TIFF"), (91, 37)),
    "turned.jpg": (turned(), (37, 91)),
    "1 x 1.bmp": (encoded(RGB.resize((1, 1)), "BMP"), (1, 1)),
    "wrong suffix.png": (encoded(RGB, "JPEG"), (91, 37)),
    "LOUD.JPG": (encoded(RGB, "JPEG"), (91, 37)),
}
UNREADABLE = {
    "zero-byte.png": (b"", "an empty file"),
    "truncated.png": (encoded(RGB, "PNG")[:2000], "damaged"),
    "truncated.jpg": (encoded(RGB, "JPEG")[:900], "damaged"),
    "note.png": (b"This is a note about line 3.\n", "another kind of file"),
    "huge.png": (huge(), "too large"),
    "drawing.gif.png": (encoded(RGB, "GIF"), "another kind of file"),
    "float.tif": (encoded(PIL.Image.fromarray(noise()[..., 0].astype(np.float32)), "TIFF"), "float pixels"),
}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder with every kind of file in it."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, (content, _) in (READABLE | UNREADABLE).items():
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no image, and not called one")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


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


def test_training_and_synthesis_leave_out_what_cannot_be_read(
    clipada: Command, train: Command, mixed: Path, tmp_path: Path
) -> None:
    trained = train(mixed)
    assert trained.code == 0, trained.err
    assert f"left out {len(UNREADABLE)} training images that could not be read" in trained.err
    record = json.loads((tmp_path / "new" / CONFIG).read_text())["training"]
    assert {Path(path).name for path in record["unreadable"]} == set(UNREADABLE)
    words = ["--out", tmp_path / "sheet", "--count", len(READABLE), "--set", "model.image_size=32"]
    drawn = clipada("synthesize", mixed, *words)
    assert drawn.code == 0, drawn.err
    assert "left out: " in drawn.err


def test_evaluation_leaves_out_what_cannot_be_used(clipada: Command, run_folder: Path, products: Path) -> None:
    (products / "disc" / "test" / "good" / "000.png").write_bytes(b"")
    save(products / "plate" / "ground_truth" / "scratch" / "000_mask.png", np.ones((7, 7), bool))
    outcome = clipada("evaluate", run_folder, products)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("left out: ") == 2
    assert "an empty file" in outcome.err
    assert "does not match image" in outcome.err
    assert len(json.loads((run_folder / METRICS).read_text())["protocol"]["left_out"]) == 2


def test_nothing_but_unreadable_images_is_a_failure(clipada: Command, finished_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").write_text("a note")
    outcome = clipada("predict", finished_run, tmp_path / "a.png", tmp_path / "b.png", "--out", tmp_path / "out")
    assert outcome.code == 1
    assert len(outcome.records) == 2
    assert "inspected 0 images, left out 2" in outcome.err


def test_one_image_is_enough_to_train_and_to_synthesize(clipada: Command, train: Command, tmp_path: Path) -> None:
    save(tmp_path / "one" / "part.png", noise())
    assert train(tmp_path / "one").code == 0
    assert clipada("synthesize", tmp_path / "one", "--out", tmp_path / "sheet", "--count", 2).code == 0


# --- data that cannot be used


def test_missing_paths_are_named(clipada: Command, train: Command, finished_run: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    train(missing).refused(f"no data set folder {missing}", "nothing")
    clipada("synthesize", missing, "--out", tmp_path / "out").refused(f"no data set folder {missing}")
    clipada("evaluate", finished_run, missing).refused(f"no data set folder {missing}")
    clipada("predict", finished_run, missing).refused(f"no such file or folder: {missing}")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_no_data(clipada: Command, train: Command, finished_run: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    train(empty).refused(f"no data set with images in {empty}", "mvtec:", "visa:", "folder:")
    clipada("evaluate", finished_run, empty).refused("no data set with images")
    clipada("predict", finished_run, empty).refused("no images found", str(empty))
    (empty / "note.txt").write_text("x")
    train(empty).refused("no data set with images", "got:")
    train(empty / "note.txt").refused("no data set folder", "a file")


def test_a_dataset_without_defects_trains_but_cannot_be_tested(
    clipada: Command, train: Command, finished_run: Path, tmp_path: Path
) -> None:
    for index in range(3):
        save(tmp_path / "parts" / f"{index}.png", noise(seed=index))
    assert train(tmp_path / "parts").code == 0
    clipada("evaluate", finished_run, tmp_path / "parts").refused("nothing to test on", "3 training images only")


def test_a_dataset_without_normals_is_tested_but_cannot_be_trained_on(
    clipada: Command, train: Command, run_folder: Path, tmp_path: Path
) -> None:
    save(tmp_path / "parts" / "anomalous" / "0.png", noise())
    train(tmp_path / "parts").refused("nothing to train on", "images of good parts")
    clipada("synthesize", tmp_path / "parts", "--out", tmp_path / "out").refused("nothing to train on")
    outcome = clipada("evaluate", run_folder, tmp_path / "parts")
    assert outcome.code == 0, outcome.err
    assert "1 anomalous image without a mask" in outcome.err
    assert "–" in outcome.out


def test_images_that_are_all_unreadable_train_nothing(clipada: Command, train: Command, tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / "parts" / "good").mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / "good" / f"{index}.png").write_bytes(b"")
    train(tmp_path / "parts").refused("none of the 3 training images can be read", "an empty file", "check the files")
    words = ["--out", tmp_path / "out"]
    clipada("synthesize", tmp_path / "parts", *words).refused("none of the 3 training images can be read")


# --- runs that are none


def test_a_run_that_is_none_is_named(
    clipada: Command, finished_run: Path, run_folder: Path, parts: Path, tmp_path: Path
) -> None:
    image = parts / "disc" / "test" / "good" / "000.png"
    for folder, got in ((tmp_path / "missing", "no such folder"), (parts, "no config.json"), (image, "a file")):
        for words in (("info", folder), ("evaluate", folder, parts), ("predict", folder, image)):
            outcome = clipada(*words)
            assert f"no run in {folder}" in outcome.err
            assert got in outcome.err
            assert "train one with `clipada train`" in outcome.err
            assert outcome.code == 2
            assert outcome.out == ""
    (run_folder / ADAPTER).write_bytes((run_folder / ADAPTER).read_bytes()[:500])
    clipada("predict", run_folder, image).refused(f"adapter {run_folder / ADAPTER} cannot be read", "copy the whole")
    (run_folder / ADAPTER).unlink()
    clipada("info", run_folder).refused(f"run {run_folder} is not whole", ADAPTER)
    (run_folder / CONFIG).write_text("{")
    clipada("info", run_folder).refused(f"{run_folder / CONFIG} is damaged")


def test_out_in_the_way_is_refused_before_any_work(
    clipada: Command, train: Command, finished_run: Path, products: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("x")
    train(products).refused(f"run folder {tmp_path / 'new'} is in the way", "a folder with files", "another --out")
    file = tmp_path / "file"
    file.write_text("thesis")
    sheet = ("synthesize", products, "--count", 1, "--set", "model.image_size=32")
    for out in (file, file / "inside"):
        clipada("predict", finished_run, products, "--out", out).refused(f"cannot write into {out}", "another --out")
        clipada(*sheet, "--out", out).refused(f"cannot write into {out}", "another --out")
        for resume in ([], ["--resume"]):
            train(products, "--out", out, *resume).refused(str(out), "another --out")
    assert file.read_text() == "thesis"


# --- words that mean nothing


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--preset", "fast"], ["no preset 'fast'", "quick | demo | mvtec | visa"]),
        (["--set", "model.colour=red"], ["no setting 'model.colour'", *setting_names()]),
        (["--set", "refinements=2"], ["no setting 'refinements'", "model.refinements"]),
        (["--set", "model.refinements"], ["cannot read --set model.refinements", "NAME=VALUE"]),
        (["--set", "model.refinements=two"], ["setting model.refinements cannot be read", "int", "two"]),
        (["--set", "model.similarity=euclid"], ["model.similarity", "dot | cosine", "euclid"]),
        (["--set", "model.refinements=-1"], ["model.refinements is out of range", "0 or more"]),
        (["--set", "backbone.block=4"], ["backbone.block is out of range", "1 to 3"]),
        (["--refinements", "-1"], ["model.refinements is out of range"]),
        (["--epochs", "0"], ["training.epochs is out of range"]),
        (["--seed", "-1"], ["training.seed is out of range"]),
        (["--devices", "0"], ["devices is out of range"]),
        (["--device", "abacus"], ["no device 'abacus'", "auto, cpu, cuda, cuda:1"]),
        (["--workers", "-2"], ["workers is out of range"]),
        (["--category", "bottle"], ["no category 'bottle'", "disc, plate"]),
        (["--layout", "coco"], ["no layout 'coco'", "auto | folder | mvtec | visa"]),
        (["--layout", "visa"], ["no data set with images", "split_csv/1cls.csv"]),
        (["--backbone", "/nowhere/clip"], ["no backbone at /nowhere/clip", "hub name"]),
        (["--backbone", "nobody/no-such-clip"], ["backbone nobody/no-such-clip", "hf download", "--backbone FOLDER"]),
        (["--textures", "/nowhere/dtd"], ["/nowhere/dtd"]),
        (["--epochs", "many"], ["Invalid value for '--epochs'"]),
        (["--colour", "red"], ["No such option: --colour"]),
    ],
)
def test_words_that_mean_nothing_are_refused(
    train: Command, parts: Path, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    train(parts, *words).refused(*said)
    assert not (tmp_path / "new" / CONFIG).exists()


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
    clipada("predict", run_folder, parts).refused("0123456789ab", found[:12], "--backbone")


def test_other_errors_of_the_machine_are_told_without_a_traceback(
    clipada: Command, finished_run: Path, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "out/predictions.jsonl")

    monkeypatch.setattr("clipada.inspection.batch.job.Job.run", full)
    outcome = clipada("predict", finished_run, parts)
    assert outcome.code == 2
    assert outcome.err == "error: [Errno 28] No space left on device: 'out/predictions.jsonl'\n"


# --- the functions behind the commands


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


# --- what inspecting needs


def python(code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


HEAVY = ("torch", "transformers", "kornia", "lightning_fabric")
TELL = f"import sys; sys.stderr.write(repr([name for name in {HEAVY} if name in sys.modules]))"


@pytest.mark.parametrize(
    "code",
    [
        "import clipada; from clipada import ClipAdaError, Config, Inspector, predict, evaluate, train",
        "import clipada.cli, clipada.workflows, clipada.report, clipada.runs",
    ],
)
def test_importing_is_light(code: str) -> None:
    told = python(f"{code}; {TELL}")
    assert (told.returncode, told.stderr) == (0, "[]")


COMMAND = f"""
import sys
from clipada.cli import main
try:
    main()
except SystemExit as exited:
    {TELL}
    raise
"""


@pytest.mark.parametrize("words", [["--help"], ["info"]])
def test_help_and_info_are_light(finished_run: Path, words: list[str]) -> None:
    told = python(COMMAND, *words, *([finished_run] if words == ["info"] else []))
    assert (told.returncode, told.stderr) == (0, "[]")
    assert "train" in told.stdout


def test_without_the_training_extra_the_way_to_it_is_told(finished_run: Path, parts: Path) -> None:
    blocked = f"import sys; sys.modules['torch'] = None\n{COMMAND}".replace(TELL, "pass")
    told = python(blocked, "predict", finished_run, parts, "--engine", "torch")
    assert told.returncode == 2
    assert told.stderr == "error: this needs torch\n  remedy: pip install 'clipada[train]'\n"


@pytest.mark.parametrize("module", ["fastapi", "python_multipart", "uvicorn", "sqlalchemy", "prometheus_client"])
def test_without_the_serving_extra_the_way_to_it_is_told(finished_run: Path, module: str) -> None:
    told = python(f"import sys; sys.modules[{module!r}] = None\n{COMMAND}".replace(TELL, "pass"), "serve", finished_run)
    assert told.returncode == 2
    assert told.stderr == f"error: this needs {module}\n  remedy: pip install 'clipada[serve]'\n"


def test_every_public_name_is_there() -> None:
    import clipada as package

    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = package.colour


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


@pytest.fixture
def begun(train: Command, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training of one product with settings of its own, interrupted in its first step."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("clipada.training.loop._log", interrupt)
        train(parts, "--category", "disc", "--refinements", 0, "--set", "training.checkpoint_seconds=0")
    return tmp_path / "new"


GO_ON = ("--resume", "--device", "cpu", "--workers", "0")


def test_resume_goes_on_with_what_was_recorded(clipada: Command, begun: Path) -> None:
    assert clipada("info", begun).err.count("clipada train --resume --out") == 1
    outcome = clipada("train", "--out", begun, *GO_ON)
    assert outcome.code == 0, outcome.err
    assert "disc: 6 train" in outcome.err
    assert "plate" not in outcome.err
    content = json.loads((begun / CONFIG).read_text())
    assert content["config"]["model"]["refinements"] == 0
    assert content["training"]["categories"] == {"disc": 6}
    assert not (begun / PLAN).exists()
    again = clipada("train", "--out", begun, *GO_ON)
    assert again.code == 0, again.err
    assert "nothing was left to train" in again.err
    assert "trained in" not in again.err


def test_resume_takes_the_same_options_again_and_data_moved_elsewhere(
    clipada: Command, train: Command, begun: Path, parts: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(parts, tmp_path / "moved")
    outcome = train(moved, "--refinements", 0, "--resume")
    assert outcome.code == 0, outcome.err
    assert json.loads((begun / CONFIG).read_text())["training"]["categories"] == {"disc": 6}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--epochs", 5], ["training.epochs 2", "training.epochs 5"]),
        (["--set", "model.similarity=dot"], ["model.similarity 'cosine'", "model.similarity 'dot'"]),
        (["--category", "plate"], ["categories ('disc',)", "categories ('plate',)"]),
        (["--preset", "mvtec"], ["model.refinements 0", "model.refinements 1", "training.epochs 800"]),
    ],
)
def test_options_that_contradict_the_recorded_ones_are_named(
    clipada: Command, begun: Path, words: list[object], named: list[str]
) -> None:
    clipada("train", "--out", begun, *GO_ON, *words).refused("contradict", *named, "leave them out")
    assert not (begun / CONFIG).exists()


def test_resume_says_what_it_lacks(clipada: Command, begun: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    clipada("train", "--out", other, *GO_ON).refused(f"no training to go on with in {other}", "mend --out")
    (begun / PLAN).write_text('{"data": ')
    clipada("train", "--out", begun, *GO_ON).refused(f"{begun / PLAN} is damaged", "JSON")
    (begun / PLAN).write_text('{"data": "x"}')
    clipada("train", "--out", begun, *GO_ON).refused(f"{begun / PLAN} is damaged", "config")


def test_a_finished_run_is_not_resumed_with_other_settings(clipada: Command, run_folder: Path, parts: Path) -> None:
    told = clipada("train", parts, "--out", run_folder, "--resume", "--epochs", "77")
    assert told.code == 2
    assert "is finished, with other settings" in told.err
    assert "training.epochs 77" in told.err


# --- demo


FEW_PARTS = ("--train", "2", "--good", "1", "--defective", "1")


def test_the_demo_from_nothing_to_pictures(clipada: Command, clip_folder: Path, tmp_path: Path) -> None:
    tiny = [*TINY[: TINY.index("--device")], "--device", "cpu", "--workers", "1"]
    result = clipada("demo", "--out", tmp_path / "demo", "--backbone", clip_folder, *FEW_PARTS, *tiny)
    assert result.code == 0, result.err
    assert all(name in result.out for name in ("fabric", "metal", "tablets", "mean"))
    for line in ("drawing parts: 27 of 27", "training: ", "evaluating: 21 of 21", "predicting: 21 of 21"):
        assert line in result.err
    assert f"clipada info {tmp_path / 'demo' / 'run'}" in result.err  # what to try next
    assert len(list((tmp_path / "demo" / "pictures").rglob("*.overlay.png"))) == 21


def test_the_demo_can_stop_after_its_images(clipada: Command, tmp_path: Path) -> None:
    result = clipada("demo", "--data-only", tmp_path / "parts", *FEW_PARTS)
    assert result.code == 0, result.err
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]
    assert f"next: clipada train {tmp_path / 'parts'} --preset demo --out" in result.err
    refused = clipada("demo", "--data-only", tmp_path / "parts", *FEW_PARTS, "--seed", "1")
    refused.refused("in the way", "choose another folder")
