"""Frames that show no part are never good: with a run of the suite, and with real images where they are at hand."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from clipada.calibration import Calibration, CalibrationImage
from clipada.calibration.image_statistics import image_statistics
from clipada.calibration.input_check import InputCheck
from clipada.config import BatchConfig, CalibrationConfig, Config, InputCheckConfig
from clipada.data import Batch, read_batches
from clipada.data.dataset import Dataset
from clipada.engines.torch import TorchEngine
from clipada.evaluation.normal_level import normal_peaks
from clipada.inspection import Inspector
from clipada.inspection.record import FIELDS, completed, verdict_record
from clipada.models.clip_ada import build_model
from clipada.runs import INPUT_CHECK
from clipada.training.inputs import InputRecorder
from clipada.types import Image, Sample
from frames import broken_frames
from run_folders import unseal

CommandLine = Callable[..., tuple[int, str, str]]


def read(path: Path) -> Image:
    return np.asarray(PIL.Image.open(path).convert("RGB"))


def images_of(run: Path) -> Path:
    """The products that the suite's run was trained on."""
    return Path(json.loads((run / "config.json").read_text())["training"]["data"])


@pytest.fixture
def frames(finished_run: Path, tmp_path: Path) -> Path:
    """Broken frames of both products, each in the folder of its product, and a good one."""
    data = images_of(finished_run)
    good = {name: read(data / name / "test" / "good" / "000.png") for name in ("plate", "disc")}
    for name, other in (("plate", "disc"), ("disc", "plate")):
        folder = tmp_path / "lane" / name
        folder.mkdir(parents=True)
        for frame, image in (broken_frames(good[name], good[other]) | {"good": good[name]}).items():
            PIL.Image.fromarray(image).save(folder / f"{frame}.png")
    return tmp_path / "lane"


def calibrated(inspector: Inspector, threshold: float) -> Calibration:
    """A calibration of the inspector's model; a threshold of 0 calls all defective, one of 1 all good."""
    assert inspector.model is not None
    images = [CalibrationImage(sha256=str(index), score=threshold, peak=threshold) for index in range(20)]
    return Calibration(
        settings=CalibrationConfig(false_alarm_rate=0.2, mode="marginal"),
        images=tuple(images),
        model_sha256=inspector.model.sha256,
        engine=inspector.model.engine,
        created="",
        command="",
    )


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_no_broken_frame_is_good_or_defective(finished_run: Path, frames: Path, threshold: float) -> None:
    inspector = Inspector.load(finished_run, device="cpu", calibrated=False)
    inspector.recalibrate(calibrated(inspector, threshold))
    for path in sorted(frames.rglob("*.png")):
        verdict = inspector.inspect(path)
        found = (verdict.decision, verdict.inspectable, verdict.defective, verdict.p_value is None)
        if path.stem == "good":
            assert found == ("defective" if threshold == 0 else "good", True, threshold == 0, False), path
            assert verdict.input_reason is None
        else:
            assert found == ("not_inspectable", False, None, True), path
            assert verdict.input_reason


def test_batches_and_files_are_checked_as_single_images_are(finished_run: Path, frames: Path) -> None:
    inspector = Inspector.load(finished_run, device="cpu")
    paths = sorted(frames.rglob("*.png"))
    single = [inspector.inspect(path).input_reason for path in paths]
    together = inspector.inspect_batch(paths)
    files = list(inspector.inspect_files(paths, batch_size=5))
    for several in (together, files):
        assert [getattr(one, "input_reason", "failed") for one in several] == single
    named = inspector.inspect_batch([path.read_bytes() for path in paths], [path.parent.name for path in paths])
    assert [getattr(one, "input_reason", "failed") for one in named] == single


def test_the_check_can_be_switched_off_and_is_none_for_older_runs(run_folder: Path, frames: Path) -> None:
    black = frames / "plate" / "lamp off.png"
    off = Inspector.load(run_folder, device="cpu", input_check=InputCheckConfig(rate=0)).inspect(black)
    (unseal(run_folder) / INPUT_CHECK).unlink()
    older = Inspector.load(run_folder, device="cpu").inspect(black)
    for verdict in (off, older):
        assert (verdict.inspectable, verdict.input_reason, verdict.decision) == (None, None, None)


def test_a_record_has_the_decision_and_an_older_one_is_completed(finished_run: Path, frames: Path) -> None:
    inspector = Inspector.load(finished_run, device="cpu")
    record = verdict_record(inspector.inspect(frames / "plate" / "white.png"))
    assert record["decision"] == "not_inspectable"
    assert record["input_reason"].startswith("overexposed: white pixels 100 %")
    older = {name: value for name, value in record.items() if name not in ("decision", "inspectable", "input_reason")}
    for defective, decision in ((True, "defective"), (False, "good"), (None, None)):
        known = completed(older | {"defective": defective})
        assert (known["decision"], known["inspectable"]) == (decision, None)
        assert known.keys() == {field.name for field in FIELDS}


def test_predict_names_and_counts_refused_images(
    clipada: CommandLine, finished_run: Path, frames: Path, tmp_path: Path
) -> None:
    code, out, err = clipada("predict", finished_run, frames, "--device", "cpu")
    records = [json.loads(line) for line in out.splitlines()]
    refused = [record for record in records if record["decision"] == "not_inspectable"]
    assert code == 0
    assert len(refused) == len(records) - 2
    assert f"inspected {len(records)} images, left out 0, not inspectable {len(refused)}\n" in err
    assert err.count("not inspectable: ") == len(refused)
    assert all(record["input_reason"] in err for record in refused)
    for path in frames.rglob("good.png"):
        path.unlink()
    assert clipada("predict", finished_run, frames, "--device", "cpu")[0] == 0  # as for defective parts
    code, out, err = clipada("predict", finished_run, frames, "--device", "cpu", "--input-check", 0)
    assert code == 0
    assert "not inspectable" not in err


def test_evaluate_counts_refused_images_and_measures_all(
    clipada: CommandLine, run_folder: Path, finished_run: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(images_of(finished_run), tmp_path / "products")
    PIL.Image.new("RGB", (48, 40)).save(data / "plate" / "test" / "good" / "black.png")
    code, _, err = clipada("evaluate", run_folder, data, "--device", "cpu")
    assert code == 0
    assert "1 test images are not inspectable, and the metrics include them" in err
    metrics = json.loads((run_folder / "metrics.json").read_text())
    assert [Path(path).name for path in metrics["protocol"]["not_inspectable"]] == ["black.png"]
    assert metrics["categories"]["plate"]["n_normal"] == 3
    lines = [json.loads(line) for line in (run_folder / "evaluation" / "scores.jsonl").read_text().splitlines()]
    assert {Path(line["path"]).name for line in lines if "input_reason" in line} == {"black.png"}


@pytest.mark.slow
def test_real_frames_parts_and_defects(shared: Path) -> None:
    """The embedded backbone on three products: no broken frame passes, no good part and hardly a defect is refused."""
    from clipada.data import load_dataset

    dataset = load_dataset(shared / "data" / "mvtec-mini")
    engine = TorchEngine(build_model(Config.preset("demo")), device="cpu")
    recorder = InputRecorder()
    normal_peaks(engine, dataset.train, Config.preset("demo").scoring, on_batch=recorder.add)
    check = InputCheck(recorder.products(engine))
    good = {name: reasons(check, engine, dataset, name, anomalous=False) for name in dataset.categories}
    bad = {name: reasons(check, engine, dataset, name, anomalous=True) for name in dataset.categories}
    assert not any(filter(None, (reason for some in good.values() for reason in some)))
    refused = [reason for some in bad.values() for reason in some if reason]
    assert len(refused) <= 0.01 * sum(map(len, bad.values())), refused
    samples = {name: next(s for s in dataset.test if s.category == name and not s.anomalous) for name in good}
    small = {name: next(iter(batches(engine, [sample]))).images[0] for name, sample in samples.items()}
    for name in good:
        for other in set(good) - {name}:
            for frame, image in broken_frames(small[name], small[other]).items():
                assert reason(check, engine, image, name), (name, frame, other)
            assert reason(check, engine, small[other], None) is None  # without a product, any one suffices


def reasons(
    check: InputCheck, engine: TorchEngine, dataset: Dataset, name: str, *, anomalous: bool
) -> list[str | None]:
    """The check's reason for each test image of a product."""
    samples = [sample for sample in dataset.test if sample.category == name and sample.anomalous == anomalous]
    return [reason(check, engine, image, name) for batch in batches(engine, samples) for image in batch.images]


def batches(engine: TorchEngine, samples: list[Sample]) -> Iterator[Batch]:
    return read_batches([sample.path for sample in samples], engine.size, 16, BatchConfig.workers)


def reason(check: InputCheck, engine: TorchEngine, image: Image, product: str | None) -> str | None:
    descriptors = engine.localize(image[np.newaxis]).descriptors
    assert descriptors is not None
    return check.reason(image_statistics(image), descriptors[0], product)
