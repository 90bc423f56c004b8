"""Messages that name the place and the way out: of the machine's errors, of slips, and of an interruption."""

import errno
import signal
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada import Inspector
from clipada.cli.errors import explain
from clipada.data import load_dataset
from clipada.errors import ImageError
from command_line import Command, noise, process
from tiny import save


@pytest.mark.parametrize("command", ["predict", "watch", "train", "calibrate", "report", "export"])
def test_a_full_disk(
    clipada: Command,
    train: Command,
    run_folder: Path,
    parts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Every file's bytes are refused when they are to reach the disk."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if command == "report":
        assert clipada("evaluate", run_folder, parts).code == 0
    monkeypatch.setattr("os.fsync", full)
    good = parts / "disc" / "test" / "good"
    if command == "train":
        outcome, place = train(parts), tmp_path / "new"
    else:
        words: dict[str, list[object]] = {
            "predict": [good, "--out", tmp_path / "out"],
            "watch": [
                good,
                "--once",
                "--settle",
                0,
                "--out",
                tmp_path / "out",
                "--database",
                f"sqlite:///{tmp_path}/h",
            ],
            "calibrate": [good, "--false-alarm-rate", 0.5, "--confidence", 0.5],
            "report": [],
            "export": ["--data", parts],
        }
        place = tmp_path / "out" if command in ("predict", "watch") else run_folder
        if command == "export":
            monkeypatch.setattr("clipada.commands.export.write_graph", lambda *_: full(0))
        outcome = clipada(command, run_folder, *words[command])
    assert outcome.code == 2, outcome.err
    assert "No space left on device" in outcome.err
    assert "remedy: free some space" in outcome.err
    assert "Traceback" not in outcome.err
    assert ".part" not in outcome.err
    if command != "export":
        assert str(place) in outcome.err
    if command == "predict":
        assert "--skip-done" in outcome.err


def test_standard_output_on_a_full_disk(finished_run: Path, parts: Path) -> None:
    with (
        Path("/dev/full").open("w") as full,
        process("predict", finished_run, parts / "disc" / "test" / "good", stdout=full) as running,
    ):
        _, err = running.communicate(timeout=120)
    assert running.returncode == 2, err
    assert "error: [Errno 28] No space left on device" in err
    assert "Exception ignored" not in err


def test_a_reader_that_ends_early(finished_run: Path, parts: Path) -> None:
    with process("predict", finished_run, parts / "disc" / "test" / "good") as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        err = running.stderr.read()
    assert running.returncode == 1, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "run.json"), ["'run.json'", "check the permissions"]),
        (OSError(errno.EROFS, "Read-only file system", "a"), ["'a'", "choose another place"]),
        (OSError(errno.EMFILE, "Too many open files"), ["ulimit -n"]),
        (RuntimeError("unable to open shared memory object </torch_1_2>: Read-only file system (30)"), ["--workers 0"]),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error, out of shared memory"),
            ["/dev/shm"],
        ),
        (MemoryError(), ["not enough memory", "ulimit -v"]),
        (ImportError("libx.so: failed to map segment from shared object"), ["not enough memory", "ulimit -v"]),
        (Exception("I/O error: No space left on device (os error 28)"), ["free some space"]),
        (ModuleNotFoundError("no torch", name="torch.nn"), ["pip install --constraint constraints.txt '.[train]'"]),
    ],
)
def test_errors_of_the_machine(error: Exception, words: list[str]) -> None:
    text = explain(error)
    assert text is not None
    assert "remedy: " in text
    for word in words:
        assert word in text


def test_a_semaphore_without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import synchronize

    class Refusing:
        def __init__(self, *_: object) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

    synchronized = synchronize._multiprocessing  # type: ignore[attr-defined]
    monkeypatch.setattr(synchronized, "SemLock", Refusing)
    with pytest.raises(OSError, match="Read-only") as raised:
        synchronize.Lock(ctx=__import__("multiprocessing").get_context())
    assert "--workers 0" in (explain(raised.value) or "")


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), RuntimeError("a bug")])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert explain(error) is None


@pytest.mark.parametrize("value", ["0", "-1", "0,2", " 0 "])
def test_no_thread_is_refused(
    clipada: Command, finished_run: Path, parts: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    clipada("predict", finished_run, parts).refused("OMP_NUM_THREADS", "expected: 1 or more")
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert clipada("info", finished_run).code == 0


@pytest.mark.parametrize("command", ["predict", "calibrate", "evaluate", "watch"])
def test_images_and_run_swapped(clipada: Command, finished_run: Path, parts: Path, command: str) -> None:
    outcome = clipada(command, parts, finished_run)
    outcome.refused(f"{parts} is no run, but {finished_run} is one")
    assert f"did you mean: clipada {command} {finished_run} {parts}" in outcome.err


@pytest.mark.parametrize("name", ["nanno", "Nano", "nan"])
def test_the_name_of_the_embedded_backbone_misspelled(train: Command, parts: Path, tmp_path: Path, name: str) -> None:
    from clipada.cli.options import _known_backbone
    from clipada.errors import BackboneError

    with pytest.raises(BackboneError, match=r"did you mean nano\?"):
        _known_backbone(name)
    train(parts, "--backbone", name).refused("did you mean nano?")
    assert [_known_backbone(word) for word in (None, "nano", "openai/nano", str(tmp_path))] == [
        None,
        "nano",
        "openai/nano",
        str(tmp_path),
    ]


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("training.epoch", "training.epochs"),
        ("epochs", "training.epochs"),
        ("model.epochs", "training.epochs"),
        ("model.prototype", "model.prototypes"),
        ("modell.attention", "model.attention"),
    ],
)
def test_settings_misspelled(train: Command, parts: Path, setting: str, meant: str) -> None:
    train(parts, "--set", f"{setting}=2").refused(f"no setting '{setting}'", f"did you mean {meant}?")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--preset", "acurate"], "did you mean accurate?"),
        (["--layout", "mvtek"], "did you mean mvtec?"),
        (["--category", "Plate"], "did you mean plate?"),
    ],
)
def test_names_misspelled(train: Command, parts: Path, words: list[str], meant: str) -> None:
    train(parts, *words).refused(f"remedy: {meant}")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["evalute", "run"], "Did you mean 'evaluate'?"),
        (["history", "lst"], "Did you mean 'list'?"),
        (["predict", "run", "photos", "--treshold", "0.5"], "No such option: --treshold. Did you mean --threshold?"),
        (["predict", "run", "photos", "--format", "tabel"], "Did you mean table?"),
        (["history", "list", "--word", "confirmd"], "Did you mean confirmed?"),
    ],
)
def test_commands_and_options_misspelled(clipada: Command, words: list[str], meant: str) -> None:
    outcome = clipada(*words)
    assert outcome.code == 2
    assert meant in " ".join(outcome.err.replace("│", " ").split())


def test_paths_misspelled(clipada: Command, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "runs" / "line3").mkdir(parents=True)
    clipada("info", tmp_path / "run" / "line3").refused(f"did you mean {tmp_path / 'runs' / 'line3'}?")
    clipada("predict", tmp_path / "runs" / "lnie3", parts).refused(f"did you mean {tmp_path / 'runs' / 'line3'}?")
    other = parts.with_name(f"{parts.name}x")
    clipada("synthesize", other, "--out", tmp_path / "sheet").refused(f"did you mean {parts}?")


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [("model.atention=residual", "did you mean model.attention?"), ("zzzz=1", "find it with `clipada settings zzzz`")],
)
def test_an_unknown_setting_lists_no_others(train: Command, parts: Path, setting: str, remedy: str) -> None:
    outcome = train(parts, "--set", setting)
    outcome.refused(remedy)
    assert "training.epochs" not in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "train"])
def test_an_interruption_says_how_to_go_on(
    finished_run: Path, clip_folder: Path, parts: Path, tmp_path: Path, command: str
) -> None:
    if command == "predict":
        for index in range(400):
            save(tmp_path / "photos" / f"{index:03}.png", noise(20, 24))
        words, sign = (
            ["predict", finished_run, tmp_path / "photos", "--out", tmp_path / "out"],
            "predictions.partial.jsonl",
        )
    else:
        words = ["train", parts, "--out", tmp_path / "out", "--backbone", clip_folder, "--set", "backbone.block=2"]
        words += ["--set", "model.image_size=32", "--epochs", "2000", "--device", "cpu", "--workers", "0"]
        sign = "training.json"
    with process(*words) as running:
        for _ in range(1200):
            if any((tmp_path / "out").glob(sign)) or running.poll() is not None:
                break
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    go_on = f"--out {tmp_path / 'out'} --skip-done continues"
    assert (go_on if command == "predict" else f"clipada train --resume --out {tmp_path / 'out'} continues") in err
    assert "Traceback" not in err


# --- Python


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "LA", "CMYK", "1", "I;16", "I"])
def test_pillow_images_are_inspected_as_their_files_are(finished_run: Path, tmp_path: Path, mode: str) -> None:
    inspector = Inspector.load(finished_run)
    image = PIL.Image.fromarray(noise(40, 48))
    if mode.startswith("I"):
        image = PIL.Image.fromarray(noise(40, 48)[..., 0].astype(np.uint16) * 257)
        image.save(tmp_path / "part.png")
        image = image if mode == "I;16" else image.convert("I")
    else:
        image = image.convert(mode)
    file = tmp_path / ("part.tif" if mode == "CMYK" else "part.png")
    if mode != "I":
        image.save(file)
    given, read = inspector.inspect(image), inspector.inspect(file)
    assert given.score == read.score
    np.testing.assert_array_equal(given.image, read.image)
    (batched,) = inspector.inspect_batch([image])
    assert not isinstance(batched, ImageError)
    assert batched.score == pytest.approx(read.score, abs=1e-6)


def test_pillow_images_that_cannot_be_inspected(finished_run: Path) -> None:
    inspector = Inspector.load(finished_run)
    for image in (PIL.Image.new("F", (8, 8)), PIL.Image.new("RGB", (0, 8))):
        with pytest.raises(ImageError, match="cannot inspect the Pillow image"):
            inspector.inspect(image)


def test_a_turned_pillow_image_is_turned_back(finished_run: Path, tmp_path: Path) -> None:
    image = PIL.Image.fromarray(noise(40, 48))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    inspector = Inspector.load(finished_run)
    with PIL.Image.open(tmp_path / "turned.png") as turned:
        assert inspector.inspect(turned).score == inspector.inspect(tmp_path / "turned.png").score


def test_a_data_set_by_text(parts: Path) -> None:
    assert load_dataset(str(parts)).train == load_dataset(parts).train
