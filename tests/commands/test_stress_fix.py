"""`clipada stress --fix`: a new run that raises fewer false alarms, the old one untouched, refusals before any work."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clipada import Config, StressReport, add_parts, calibrate, remove_parts, stress, train
from clipada.calibration import read_calibration
from clipada.cli.stress import _asked_fix
from clipada.commands.add import join_memory
from clipada.commands.verify import verify
from clipada.config import CalibrationConfig, CrossFitConfig, StressConfig
from clipada.errors import CalibrationError, ConfigError, DatasetError, RunError
from clipada.files import sha256_of
from clipada.runs import CALIBRATION, Run, read_run
from clipada.runs.roi import load_roi
from kills import Killed, killed_before
from tiny import save, write_good_parts, write_products
from trainings import CPU

HALF = CalibrationConfig(false_alarm_rate=0.2, confidence=0.8)
KINDS = ("shift", "rotate", "zoom", "blur", "noise", "jpeg", "brighter", "light_gradient", "dust")
LIGHT = StressConfig(
    **dict.fromkeys(KINDS, ()),
    darker=(10,),
    white_balance=(5, 10),
    images=0,
    defects=2,  # type: ignore[arg-type]
)

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> Path:
    """A calibrated run with a memory in ``run`` that knows defects, and good parts in ``held``; to be read only."""
    root = tmp_path_factory.mktemp("made")
    small = {"backbone.name": str(clip_folder), "backbone.block": 2, "prompt.prefix": "a photo of a"}
    config = Config.preset("quick").updated(
        {**small, "model.image_size": 32, "memory.rows": 64, "memory.copies": "none"}
    )
    defects = write_defects(root / "defects" / "plate")
    (root / "roi.json").write_text(json.dumps({"size": [48, 40], "polygons": [[[4, 4], [48, 4], [48, 40], [4, 40]]]}))
    products, roi = write_products(root / "products"), root / "roi.json"
    train(products, root / "run", config, runtime=CPU, defects=defects, roi=roi)
    for number, name in enumerate(("plate", "disc")):
        write_good_parts(root / "held" / name / "good", 16, 1 + number)
    calibrate(root / "run", sorted((root / "held").rglob("*.png"))[::2], HALF, force=True, device="cpu")
    return root


def write_defects(folder: Path) -> Path:
    """Three photos of a plate with a scratch, and their masks."""
    rng, mask = np.random.default_rng(9), np.zeros((40, 48), bool)
    mask[10:22, 12:30] = True
    for index in range(3):
        image = np.clip(90 + rng.normal(0, 4, (40, 48, 3)), 0, 255).astype(np.uint8)
        image[mask] = 250 - image[mask]
        save(folder / "scratch" / f"{index}.png", image)
        save(folder / "masks" / "scratch" / f"{index}.png", mask)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return shutil.copytree(made / "run", tmp_path / "run")


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir() if path.is_file()}


def fixed(run: Path, made: Path, out: Path, product: str = "") -> StressReport:
    return stress(run, made / "held" / product, None, LIGHT, fix=out, device="cpu")


def test_a_fix_lowers_false_alarms_on_images_that_neither_run_knows(run: Path, made: Path, tmp_path: Path) -> None:
    before = hashes(run)
    found = fixed(run, made, tmp_path / "new")
    assert found.fix is not None
    harmful = found.test.harmful()
    assert set(harmful) <= {"darker", "white_balance"}
    augment = found.fix.run.config.augment
    assert {kind: getattr(augment, kind) for kind in harmful} == harmful
    assert augment.copies == 12 * sum(map(len, harmful.values()))
    assert found.images == found.fix.test.plain.good.images == 16
    assert found.fix.calibrated == 16
    assert found.fix.run.training.defects["plate"].photos == 3
    rows = list(zip(found.test.rows, found.fix.test.rows, strict=True))
    raised = [(old.good.rate, new.good.rate) for old, new in rows if found.test.raised(old)]
    assert sum(new or 0 for _, new in raised) < sum(old or 0 for old, _ in raised)
    assert all(value is not None and value > 0.5 for value in found.fix.pixel_ap)
    assert hashes(run) == before
    assert verify(tmp_path / "new").intact
    record = json.loads((tmp_path / "new" / "stress" / "stress.json").read_text())
    assert len(record["before"]) == len(record["perturbations"]) == 4
    assert "false alarms before" in (tmp_path / "new" / "stress" / "stress.html").read_text()


def test_a_fix_goes_on_after_a_kill(run: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the training, and between training and calibration."""
    new = tmp_path / "new"
    with killed_before(7), pytest.raises(Killed):
        fixed(run, made, new)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("clipada.commands.stress.calibrate", killed)
        with pytest.raises(Killed):
            fixed(run, made, new)
    trained = read_run(new)
    assert verify(run).intact
    found = fixed(run, made, new)
    assert found.fix is not None
    assert found.fix.run.model_sha256 == trained.model_sha256
    assert verify(new).intact


def test_what_was_added_is_added_to_the_new_run(
    run: Path, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a kill between two additions."""
    write_good_parts(tmp_path / "evening", 4, 21)
    write_good_parts(tmp_path / "ring", 4, 22)
    add_parts(run, tmp_path / "evening", product="plate", condition="evening", runtime=CPU)
    add_parts(run, tmp_path / "ring", product="ring", runtime=CPU)
    remove_parts(run, product="disc")
    calibrate(run, sorted((made / "held" / "plate").rglob("*.png"))[::2], HALF, force=True, device="cpu")

    def killed_at_the_second(run: Run, assigned: dict[str, object], *others: object) -> object:
        if "ring" in assigned:
            raise Killed
        return join_memory(run, assigned, *others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("clipada.commands.stress.join_memory", killed_at_the_second)
        with pytest.raises(Killed):
            fixed(run, made, tmp_path / "new", "plate")
    found = fixed(run, made, tmp_path / "new", "plate")
    assert found.fix is not None
    new = found.fix.run
    assert new.revision is not None
    assert [(part.product, part.condition) for part in new.revision.parts] == [("plate", "evening"), ("ring", "")]
    assert new.training.categories == {"plate": 10, "ring": 4}
    regions = load_roi(new)
    assert regions is not None
    assert regions.products.keys() == {"plate"}
    assert verify(new.folder).intact
    said = list(_asked_fix(found))
    assert "added to it as to the run before: plate evening, ring" in said
    assert any(line.startswith("plate: 3 of 3 photos of known defects used") for line in said)
    shutil.move(tmp_path / "ring", tmp_path / "moved")
    with pytest.raises(DatasetError, match="images that were added"):
        fixed(run, made, tmp_path / "other", "plate")
    assert not (tmp_path / "other").exists()


def test_cross_fitted_thresholds_are_cross_fitted_again(run: Path, made: Path, tmp_path: Path) -> None:
    marginal = CalibrationConfig(false_alarm_rate=0.2, mode="marginal")
    calibrate(run, settings=marginal, cross_fit=CrossFitConfig(folds=3), force=True, device="cpu")
    found = fixed(run, made, tmp_path / "new")
    assert found.fix is not None
    assert found.images == 32
    assert found.fix.calibrated == 0
    calibration = read_calibration(tmp_path / "new" / CALIBRATION)
    assert (calibration.folds, calibration.settings) == (6, marginal)


def test_nothing_to_fix_trains_nothing(clipada: Command, run: Path, made: Path, tmp_path: Path) -> None:
    calibrate(run, settings=CalibrationConfig(false_alarm_rate=0.95, confidence=0.5))
    code, _, err = clipada(
        *("stress", run, made / "held", "--images", 2, "--defects", 0, "--fix", tmp_path / "new", "--device", "cpu")
    )
    assert code == 0, err
    assert "nothing to fix" in err
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_fixed_is_refused_before_any_work(
    run: Path, made: Path, tmp_path: Path, run_folder: Path
) -> None:
    def refused(kind: type[Exception], match: str, old: Path, new: Path, *images: Path) -> None:
        with pytest.raises(kind, match=match):
            stress(old, images or made / "held", None, LIGHT, fix=new, device="cpu", report=None)  # type: ignore[arg-type]

    refused(RunError, "in the way", run, run)
    refused(RunError, "in the way", run, made / "products")
    few = sorted((made / "held").rglob("*.png"))[1::2][:9]
    refused(CalibrationError, "too few good images", run, tmp_path / "new", *few)
    shutil.move(made / "products", made / "moved")
    try:
        refused(DatasetError, "training images .* are not where they were", run, tmp_path / "new")
    finally:
        shutil.move(made / "moved", made / "products")
    shutil.move(made / "defects", made / "moved")
    try:
        refused(DatasetError, "photos of known defects", run, tmp_path / "new")
    finally:
        shutil.move(made / "moved", made / "defects")
    calibrate(run_folder, made / "held", HALF, force=True, device="cpu")
    refused(ConfigError, "no memory", run_folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()
