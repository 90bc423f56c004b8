"""The guided start: from photos to a verdict with one command, and what it guarantees."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import clipada
from clipada.config import Config, RuntimeConfig, StartConfig, cores
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.models.backbones import forward_cost
from clipada.runs import CARD, METRICS, PLAN, read_run
from clipada.runs.start_record import START_RECORD
from clipada.training.start_plan import AskedStart, StartPlan, plan_start
from tiny import save, write_good_parts, write_products

CPU = RuntimeConfig(device="cpu", workers=0)
QUICK = StartConfig(few=1000)
SMALL = {"memory.rows": 40, "model.image_size": 32, "backbone.block": 2, "prompt.prefix": "a photo of a"}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets of seconds on the tiny CLIP."""
    preset = Config.preset

    def small(name: str) -> Config:
        return preset(name).updated(SMALL if name in ("quick", "accurate") else {})  # type: ignore[arg-type]

    monkeypatch.setattr(Config, "preset", staticmethod(small))


def planned(photos: Path, out: Path, backbone: Path, **settings: object) -> StartPlan:
    return plan_start(photos, out, AskedStart(backbone=str(backbone)), "cpu", StartConfig(**settings))  # type: ignore[arg-type]


def touch(folder: Path, photos: int) -> Path:
    """Make empty files: a plan opens no image."""
    folder.mkdir(parents=True)
    for index in range(photos):
        (folder / f"{index:03}.png").touch()
    return folder


@pytest.mark.parametrize("defects", [0, 3])
@pytest.mark.parametrize(
    ("photos", "rate", "held_out"),
    [(520, 0.02, 156), (207, 0.05, 62), (100, 0.1, 30), (64, 0.15, 19), (47, 0.2, 14), (37, 0.25, 11), (36, None, 0)],
)
def test_the_guarantee_follows_from_the_number_of_photos_as_the_page_says(
    tmp_path: Path, clip_folder: Path, photos: int, rate: float | None, held_out: int, defects: int
) -> None:
    touch(tmp_path / "lid" / "good", photos)
    if defects:
        touch(tmp_path / "lid" / "defective", defects)
    plan = planned(tmp_path / "lid", tmp_path / "run", clip_folder)
    assert (plan.guarantee and plan.guarantee.false_alarm_rate) == rate
    assert len(plan.held_out) == held_out
    tested = 0 if not defects else round((photos - held_out) / 5)
    assert len(plan.dataset.train) == photos - held_out - tested
    assert len(plan.dataset.test) == tested + defects
    assert not {sample.path for sample in plan.dataset.samples} & set(plan.held_out)


def test_a_later_call_shares_the_photos_out_as_the_first_did(tmp_path: Path, clip_folder: Path) -> None:
    touch(tmp_path / "lid" / "good", 40)
    touch(tmp_path / "lid" / "defective", 3)
    first = planned(tmp_path / "lid", tmp_path / "run", clip_folder)
    first.save()
    (tmp_path / "run" / PLAN).touch()  # the training has begun
    (tmp_path / "lid" / "defective" / "later.png").touch()
    again = planned(tmp_path / "lid", tmp_path / "run", clip_folder)
    assert (again.origin, again.held_out) == ("recorded", first.held_out)
    assert set(first.dataset.samples) < set(again.dataset.samples)
    assert again.defective == 4


@pytest.mark.parametrize(("layers", "preset"), [(2, "accurate"), (200, "quick")])
def test_a_larger_backbone_is_expected_to_take_longer(
    tmp_path: Path, clip_folder: Path, layers: int, preset: str
) -> None:
    backbone = tmp_path / "backbone"
    shutil.copytree(clip_folder, backbone)
    values = json.loads((backbone / "config.json").read_text())
    values["vision_config"]["num_hidden_layers"] = layers
    (backbone / "config.json").write_text(json.dumps(values))
    touch(tmp_path / "lid", 100)
    own = forward_cost(str(clip_folder), Config.preset("accurate").model) / 1e9
    a_minute = 60 * cores() / (own * (100 + Config.preset("accurate").filter.images))
    assert planned(tmp_path / "lid", tmp_path / "run", backbone, core_seconds=a_minute).preset == preset


def test_the_preset_fits_the_photos_and_the_machine(tmp_path: Path, clip_folder: Path) -> None:
    touch(tmp_path / "lid", 100)
    presets = [
        planned(tmp_path / "lid", tmp_path / "run", clip_folder, **settings).preset
        for settings in ({"core_seconds": 0.1}, {"few": 71}, {"core_seconds": 1e9})
    ]
    assert presets == ["accurate", "quick", "quick"]


def test_good_test_photos_without_defects_are_held_out(tmp_path: Path, clip_folder: Path) -> None:
    write_good_parts(tmp_path / "lid" / "train" / "good", 10)
    write_good_parts(tmp_path / "lid" / "test" / "good", 20, seed=2)
    plan = planned(tmp_path / "lid", tmp_path / "run", clip_folder)
    assert len(plan.held_out) == 23
    assert not plan.dataset.test
    assert plan.guarantee is not None


def test_products_have_thresholds_of_their_own_whatever_their_folders_are_called(
    tmp_path: Path, clip_folder: Path
) -> None:
    for product in ("lid", "ring"):
        write_good_parts(tmp_path / "photos" / product / "OK", 70)
    plan = planned(tmp_path / "photos", tmp_path / "run", clip_folder)
    assert plan.guarantee is not None
    groups = {clipada.calibration.group_of(path, plan.guarantee.per) for path in plan.held_out}  # type: ignore[attr-defined]
    assert groups == {"lid", "ring"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty good photos and no defect, in a folder that names no product."""
    return write_good_parts(tmp_path_factory.mktemp("photos") / "lid" / "good", 40)


def test_it_goes_from_photos_to_a_calibrated_run_and_goes_on_if_called_again(
    photos: Path, tmp_path: Path, clip_folder: Path
) -> None:
    first = clipada.start(photos, tmp_path / "run", backbone=str(clip_folder), runtime=CPU, settings=QUICK)
    assert list(first.run.training.categories.items()) == [("lid", 28)]
    assert first.report.is_file()
    if first.calibration is None:  # random weights need not reach a defect
        assert first.obstacle
    else:
        assert len(first.calibration.images) == 12
    facts = clipada.info(tmp_path / "run")  # type: ignore[attr-defined]
    assert facts["command"] == f"clipada start PHOTOS --out run --backbone {clip_folder.name} --preset quick"
    assert facts["schedule"] == "no epochs, seed 0"
    assert "images/s" not in facts["training"]
    assert " for 1 category over " in (tmp_path / "run" / CARD).read_text()
    record = json.loads((tmp_path / "run" / START_RECORD).read_text())
    assert len(record["held_out"]) == 12
    before = (tmp_path / "run" / "adapter.safetensors").stat().st_mtime_ns
    stages: list[str] = []
    again = clipada.start(photos, tmp_path / "run", runtime=CPU, report=lambda now: stages.append(now.stage))
    assert again.plan.origin == "recorded"
    assert "inspecting" not in stages  # the verdicts are there
    assert again.plan.held_out == first.plan.held_out
    assert (tmp_path / "run" / "adapter.safetensors").stat().st_mtime_ns == before
    assert set(stages) <= {"calibrating", "inspecting", "reporting"}

    with pytest.raises(RunError, match="other options"):
        clipada.start(photos, tmp_path / "run", preset="accurate", runtime=CPU)
    with pytest.raises(RunError, match="other photos"):
        clipada.start(write_good_parts(tmp_path / "others", 40), tmp_path / "run", runtime=CPU)


def test_few_photos_set_the_threshold_themselves_and_defects_are_evaluated(tmp_path: Path, clip_folder: Path) -> None:
    found = clipada.start(
        write_products(tmp_path / "products"), tmp_path / "run", backbone=str(clip_folder), runtime=CPU
    )
    assert found.plan.held_out == ()
    assert found.obstacle is None
    assert found.calibration is not None
    assert found.calibration.basis == "cross-fitted"
    assert len(found.calibration.images) == len(found.plan.dataset.train)
    assert sum(count.images for count in found.kinds) == len(found.plan.dataset.test)
    assert found.plan.preset == "quick"
    assert (tmp_path / "run" / METRICS).is_file()
    assert read_run(tmp_path / "run").metrics is not None


def test_photos_of_known_defects_are_learned_from_and_not_tested_on(
    tmp_path: Path, clip_folder: Path, request: pytest.FixtureRequest
) -> None:
    photos, out, known = write_products(tmp_path / "products"), tmp_path / "run", tmp_path / "known" / "plate"
    for kind in ("scratch", "dent"):
        (known / kind).mkdir(parents=True)
    shutil.copy(photos / "plate" / "test" / "scratch" / "000.png", known / "scratch")
    save(known / "dent" / "0.png", np.full((40, 48, 3), 20, np.uint8))
    found = clipada.start(photos, out, backbone=str(clip_folder), defects=tmp_path / "known", runtime=CPU)
    assert (found.plan.learned, found.plan.defective) == (1, 3)
    assert found.run.training.defects["plate"].kinds == {"dent": 1, "scratch": 1}
    assert sum(count.images for count in found.kinds) == len(found.plan.dataset.test) - 1
    assert "--defects known" in clipada.info(out)["command"]  # type: ignore[attr-defined]
    stages: list[str] = []
    again = clipada.start(photos, out, runtime=CPU, report=lambda now: stages.append(now.stage))
    assert again.plan.defects.sha256s == found.plan.defects.sha256s
    assert set(stages) == {"reporting"}
    code, _, told = request.getfixturevalue("clipada")("start", photos, "--out", out, "--device", "cpu")
    assert code == 0
    assert "learn from: plate: 2 photos of defects" in told
    assert "test on: 4 photos of good parts, and 3 photos of defects" in told
    with pytest.raises(RunError, match="other options"):
        clipada.start(photos, out, defects=photos, runtime=CPU)
    with pytest.raises(ConfigError, match="without a memory"):
        clipada.start(photos, tmp_path / "other", preset="mvtec", defects=known, runtime=CPU)
    assert not (tmp_path / "other").exists()


def test_it_refuses_what_is_in_the_way_and_photos_of_nothing(photos: Path, tmp_path: Path, clip_folder: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="in the way"):
        clipada.start(photos, tmp_path / "mine", backbone=str(clip_folder), runtime=CPU)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(ConfigError, match="fast"):
        clipada.start(photos, tmp_path / "run", preset="fast", runtime=CPU)  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError):
        clipada.start(tmp_path / "empty", tmp_path / "run", backbone=str(clip_folder), runtime=CPU)
    assert not (tmp_path / "run").exists()


def test_declining_the_plan_writes_nothing(photos: Path, tmp_path: Path, clip_folder: Path) -> None:
    def decline(_: StartPlan) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clipada.start(photos, tmp_path / "run", backbone=str(clip_folder), runtime=CPU, on_plan=decline)
    assert not (tmp_path / "run").exists()


def test_photos_that_a_layout_sets_apart_are_held_out_instead_of_others(tmp_path: Path, clip_folder: Path) -> None:
    root = tmp_path / "lid"
    touch(root / "train" / "good", 100)
    touch(root / "validation" / "good", 30)
    touch(root / "test_public" / "good", 5)
    touch(root / "test_public" / "bad", 5)
    plan = planned(root, tmp_path / "run", clip_folder)
    assert {path.parent.parent.name for path in plan.held_out} == {"validation"}
    assert (len(plan.held_out), len(plan.dataset.train), len(plan.dataset.test)) == (30, 100, 10)
    assert plan.guarantee is not None
    assert plan.guarantee.false_alarm_rate == 0.1
    plan.save()
    again = planned(root, tmp_path / "run", clip_folder)
    assert (set(again.held_out), len(again.dataset.train)) == (set(plan.held_out), 100)


def test_too_few_photos_for_thresholds_are_joined_by_others(tmp_path: Path, clip_folder: Path) -> None:
    root = tmp_path / "lid"
    touch(root / "train" / "good", 100)
    touch(root / "validation" / "good", 3)
    plan = planned(root, tmp_path / "run", clip_folder)
    assert len(plan.held_out) == 33
    assert len(plan.dataset.train) == 70
    assert plan.guarantee is not None
