"""Runs that align images: parts that lie anywhere are compared in one frame, and verdicts are of the image's pixels."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from backbone_families import make_backbone
from callers import refused, send
from clipada.commands.add import add_parts
from clipada.commands.evaluate import evaluate
from clipada.commands.export import export
from clipada.commands.info import info
from clipada.commands.train import train
from clipada.config import Config, RuntimeConfig
from clipada.engines.aligned import AlignedEngine, unaligned
from clipada.engines.export.images import read_images, read_views
from clipada.errors import AlignmentError, ConfigError, DatasetError, RunError
from clipada.images import resize
from clipada.inspection import Inspector
from clipada.inspection.decision import input_reason
from clipada.inspection.reading import ReadImage
from clipada.runs import read_run
from clipada.types import Placement, Sample, Verdict
from moved_parts import part, placed
from stand_in import Started
from tiny import save

RUNTIME = RuntimeConfig(device="cpu", workers=0)
SIZE = (96, 128)
PARTS = {"gear": 0, "lever": 7}
MOVED = Placement(size=SIZE, right=11.0, down=-7.0, fit=1.0)
TURNED = Placement(size=SIZE, right=6.0, down=4.0, degrees=75.0, fit=1.0)
DEFECT = (slice(40, 50), slice(70, 80))
"""Rows and columns of a defect, in pixels of the image that it is drawn on."""


def photo(name: str, index: int, placement: Placement | None = None) -> np.ndarray:
    rng = np.random.default_rng(index)
    right, down = rng.uniform(-6, 6, 2)
    somewhere = Placement(size=SIZE, right=right, down=down, fit=1.0)
    return placed(part(PARTS[name], *SIZE), placement or somewhere, index)


def defective(name: str, index: int, placement: Placement | None = None) -> tuple[np.ndarray, np.ndarray]:
    image, mask = photo(name, index, placement), np.zeros(SIZE, bool)
    mask[DEFECT] = True
    image[mask] = (255, 0, 160)
    return image, mask


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products whose parts lie elsewhere in every photo."""
    root = tmp_path_factory.mktemp("parts")
    for name in PARTS:
        for index in range(8):
            save(root / name / "train" / "good" / f"{index:03}.png", photo(name, index))
        for index in range(20, 23):
            save(root / name / "test" / "good" / f"{index:03}.png", photo(name, index))
            image, mask = defective(name, index)
            save(root / name / "test" / "stain" / f"{index:03}.png", image)
            save(root / name / "ground_truth" / "stain" / f"{index:03}_mask.png", mask)
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config.preset("quick").updated(
        {
            "backbone.name": str(make_backbone(tmp_path_factory.mktemp("dinov2"), "dinov2")),
            "backbone.blocks": (1, 2),
            "model.image_size": 64,
            "memory.rows": 96,
            "inspection.align": "shift",
        }
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, parts: Path, settings: Config) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPADA_CACHE", str(tmp_path_factory.mktemp("cache")))
        return train(parts, tmp_path_factory.mktemp("run") / "run", settings, runtime=RUNTIME).folder


def peak_inside(verdict: Verdict) -> bool:
    row, column = np.unravel_index(verdict.anomaly_map.argmax(), verdict.anomaly_map.shape)
    rows, columns = DEFECT
    return rows.start - 6 <= row < rows.stop + 6 and columns.start - 6 <= column < columns.stop + 6


@pytest.mark.parametrize("name", list(PARTS))
def test_the_place_is_found_and_the_defect_is_marked_where_the_image_shows_it(run: Path, name: str) -> None:
    inspector = Inspector.load(run, device="cpu", engine="torch")
    still = inspector.inspect(defective(name, 30, Placement(size=SIZE, right=0, down=0, fit=1.0))[0])
    verdict = inspector.inspect(defective(name, 30, MOVED)[0])
    assert still.placement is not None
    assert verdict.placement is not None
    assert verdict.placement.right - still.placement.right == pytest.approx(MOVED.right, abs=0.5)
    assert verdict.placement.down - still.placement.down == pytest.approx(MOVED.down, abs=0.5)
    assert verdict.anomaly_map.shape == SIZE
    assert peak_inside(verdict)


def test_a_moved_part_scores_as_one_in_place(run: Path) -> None:
    inspector = Inspector.load(run, device="cpu", engine="torch")
    still = inspector.inspect(photo("gear", 40, Placement(size=SIZE, right=0, down=0, fit=1.0)))
    assert inspector.inspect(photo("gear", 40, MOVED)).score == pytest.approx(still.score, abs=0.15)


def test_a_turned_part_is_found_by_its_pose(parts: Path, settings: Config, tmp_path: Path) -> None:
    folder = train(parts, tmp_path / "run", settings.updated({"inspection.align": "pose"}), runtime=RUNTIME).folder
    verdict = Inspector.load(folder, device="cpu", engine="torch").inspect(defective("gear", 31, TURNED)[0], "gear")
    assert verdict.placement is not None
    assert verdict.placement.degrees == pytest.approx(75, abs=1)
    assert peak_inside(verdict)
    assert verdict.inside is not None
    assert 0.5 < verdict.inside.mean() < 1  # the corners are outside of the reference's frame
    assert not verdict.anomaly_map[~verdict.inside].any()
    with pytest.raises(AlignmentError):
        Inspector.load(folder, device="cpu", engine="torch").inspect(defective("lever", 31, TURNED)[0], "gear")


def test_an_image_that_does_not_fit_is_refused_by_itself(run: Path, parts: Path, tmp_path: Path) -> None:
    inspector = Inspector.load(run, device="cpu", engine="torch")
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    save(tmp_path / "noise.png", noise)
    with pytest.raises(AlignmentError, match="does not fit the reference of") as refusal:
        inspector.inspect(noise)
    assert "a fit of" in (refusal.value.got or "")
    good = parts / "gear" / "test" / "good" / "020.png"
    first, second, third = inspector.inspect_files([good, tmp_path / "noise.png", good])
    assert isinstance(first, Verdict)
    assert isinstance(third, Verdict)
    assert isinstance(second.error, AlignmentError)  # type: ignore[union-attr]
    assert isinstance(inspector.inspect_batch([noise, good])[0], AlignmentError)


def test_a_server_answers_with_the_place_and_refuses_what_does_not_fit(
    run: Path, parts: Path, started: Started, tmp_path: Path
) -> None:
    client = started(models={"line3": Inspector.load(run, device="cpu", engine="torch")})
    answer = send(client, (parts / "gear" / "test" / "good" / "020.png").read_bytes()).json()
    assert set(answer["placement"]) == {"right", "down", "degrees", "scale", "fit"}
    save(tmp_path / "moved.png", image := photo("gear", 40, MOVED))
    content = base64.b64decode(
        send(client, (tmp_path / "moved.png").read_bytes(), query="?map=channels").json()["map_png"]
    )
    outside = np.asarray(PIL.Image.open(io.BytesIO(content)))[..., 2] == 255
    inside = Inspector.load(run, device="cpu", engine="torch").inspect(image).inside
    assert inside is not None
    assert outside.any()
    np.testing.assert_array_equal(outside, ~inside)
    save(tmp_path / "noise.png", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    refused(send(client, (tmp_path / "noise.png").read_bytes()), 422, "does not fit the reference")


@pytest.mark.slow
def test_the_command_line_trains_calibrates_predicts_and_reports(
    clipada: Callable[..., tuple[int, str, str]], parts: Path, settings: Config, tmp_path: Path
) -> None:
    images, out, run = tmp_path / "images", tmp_path / "out", tmp_path / "run"
    shutil.copytree(parts / "gear", images / "gear")
    words = [f"{name}={settings.value(name)}" for name in ("model.image_size", "memory.rows", "inspection.align")]
    options = [word for setting in [*words, "backbone.blocks=1,2"] for word in ("--set", setting)]
    backbone = str(settings.backbone.name)
    code, _, err = clipada(
        "train", images, "--preset", "quick", "--backbone", backbone, *options, "--out", run, "--workers", "0"
    )
    assert code == 0, err
    assert "alignment: shift, to the photos gear 00" in err
    for index in range(50, 62):
        save(tmp_path / "good" / f"{index:03}.png", photo("gear", index))
    rates = ("--false-alarm-rate", "0.2", "--confidence", "0.8", "--device", "cpu")
    code, _, err = clipada("calibrate", run, tmp_path / "good", *rates)
    assert code == 0, err
    new = tmp_path / "new"
    save(new / "a.png", defective("gear", 70, MOVED)[0])
    save(new / "noise.png", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    code, printed, err = clipada("predict", run, new, "--format", "jsonl", "--device", "cpu", "--out", out)
    records = [json.loads(line) for line in printed.splitlines()]
    assert [set(record) == {"path", "error"} for record in records] == [False, True]
    assert "does not fit the reference of gear" in err
    assert records[0]["placement"]["fit"] > 0.5
    left, top, right, bottom = records[0]["regions"][0]["box"]
    assert left < DEFECT[1].stop
    assert right > DEFECT[1].start
    assert top < DEFECT[0].stop
    assert bottom > DEFECT[0].start
    code, _, err = clipada("report", run, out / "predictions.jsonl", "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "pixels right" in (tmp_path / "page.html").read_text()


def test_references_are_recorded_sealed_and_decide_the_model(run: Path, settings: Config, tmp_path: Path) -> None:
    described = read_run(run)
    assert described.alignment_sha256 is not None
    assert "alignment.json" in (described.manifest.files if described.manifest else {})
    assert info(run)["alignment"].startswith("shift, to the photos gear 00")
    changed = shutil.copytree(run, tmp_path / "changed")
    content = json.loads((changed / "alignment.json").read_text())
    content["references"]["gear"]["least"] = 0.0
    (changed / "alignment.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"alignment.json"):
        Inspector.load(changed, device="cpu")


def test_evaluation_compares_with_masks_of_the_image(run: Path, parts: Path, tmp_path: Path) -> None:
    found = evaluate(shutil.copytree(run, tmp_path / "run"), parts, at="native", engine="torch", device="cpu")
    assert found.protocol["view"] == {"view": "whole", "align": "shift"}
    assert not found.failures
    assert all((one.pixel_auroc or 0) > 0.9 for one in found.categories.values())


def test_tiles_and_a_region_of_interest_are_of_the_reference_s_frame(
    parts: Path, settings: Config, tmp_path: Path
) -> None:
    """The right half of the reference counts: a defect there moves with the part, one on the left never counts."""
    right = {"size": [128, 96], "polygons": [[[64, 0], [128, 0], [128, 96], [64, 96]]]}
    (tmp_path / "right.json").write_text(json.dumps(right))
    config = settings.updated({"inspection.view": "tiles", "inspection.tile": 64})
    roi = tmp_path / "right.json"
    folder = train(parts, tmp_path / "run", config, runtime=RUNTIME, roi=roi, categories=["gear"]).folder
    inspector = Inspector.load(folder, device="cpu", engine="torch")
    verdict = inspector.inspect(defective("gear", 33, MOVED)[0])
    assert verdict.inside is not None
    assert verdict.placement is not None
    start = round(64 + verdict.placement.right)
    assert not verdict.inside[10:-10, : start - 1].any()
    assert verdict.inside[10:-10, start + 1 : -1].all()
    assert peak_inside(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_exports_find_the_same(run: Path, parts: Path, tmp_path: Path, engine: str) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    assert not export(folder, engine, "fp32", parts)[1].failures
    image = defective("lever", 34, MOVED)[0]
    expected = Inspector.load(folder, device="cpu", engine="torch").inspect(image)
    found = Inspector.load(folder, device="cpu", engine=engine).inspect(image)
    assert found.placement == expected.placement
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=2e-3)


def test_added_images_are_aligned_too(run: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(run, tmp_path / "run")
    for index in range(80, 84):
        save(tmp_path / "night" / f"{index}.png", (photo("gear", index) * 0.6).astype(np.uint8))
    add_parts(folder, [tmp_path / "night"], product="gear", condition="night", runtime=RUNTIME)
    dark = (photo("gear", 90, MOVED) * 0.6).astype(np.uint8)
    before, after = (Inspector.load(one, device="cpu", engine="torch").inspect(dark, "gear") for one in (run, folder))
    assert after.placement == before.placement
    assert after.score < before.score
    for index in range(85, 89):
        save(tmp_path / "other" / f"{index}.png", photo("lever", index))
    with pytest.raises(DatasetError, match="do not fit its reference"):
        add_parts(folder, [tmp_path / "other"], product="gear", condition="other", runtime=RUNTIME)


def test_images_of_something_else_are_left_out_and_counted(parts: Path, settings: Config, tmp_path: Path) -> None:
    mixed = shutil.copytree(parts / "gear" / "train" / "good", tmp_path / "mixed" / "gear")
    for index in range(2):
        save(mixed / f"lever{index}.png", photo("lever", index))
    run = train(tmp_path / "mixed", tmp_path / "run", settings, runtime=RUNTIME)
    assert sorted(Path(path).name for path in run.training.unreadable) == ["lever0.png", "lever1.png"]


def test_images_that_have_nothing_in_common_are_refused(settings: Config, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(6):
        save(tmp_path / "noise" / f"{index}.png", rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    with pytest.raises(DatasetError, match="cannot be aligned") as refusal:
        train(tmp_path / "noise", tmp_path / "run", settings, runtime=RUNTIME)
    assert "inspection.align=none" in (refusal.value.remedy or "")


def test_alignment_needs_a_memory() -> None:
    with pytest.raises(ConfigError, match=r"inspection\.align"):
        Config().updated({"inspection.align": "shift"})


def test_an_export_is_compared_on_aligned_images(run: Path, tmp_path: Path) -> None:
    """The same part at two places is one image to the model; noise, which fits no part, is left out."""
    places = (MOVED, Placement(size=SIZE, right=-9.0, down=8.0, fit=1.0))
    for index, placement in enumerate(places):
        save(tmp_path / f"{index}.png", photo("gear", 40, placement))
    save(tmp_path / "9.png", np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    files = sorted(tmp_path.glob("*.png"))
    samples = [Sample(path=path, category="gear", split="train") for path in files]
    aligning = Inspector.load(run, device="cpu", engine="torch").engine
    one, other = read_images(aligning, samples, 3).astype(float)
    apart, raw = abs(one - other), np.subtract(*read_images(unaligned(aligning), samples[:2], 2).astype(float))
    middle = (slice(16, -16), slice(16, -16))
    assert apart[middle].mean() < abs(raw[middle]).mean() / 3
    assert len(read_views(aligning, samples, 3)) == 2
    with pytest.raises(DatasetError, match="no image to compare"):
        read_images(aligning, samples[2:], 1)


def test_the_input_check_sees_images_as_the_training_did(run: Path) -> None:
    """A bright belt that comes into view beside a moved part is outside of the frame that training images fill."""
    image = photo("gear", 41, Placement(size=SIZE, right=-30.0, down=0.0, fit=1.0))
    image[:, -30:] = (255, 0, 0)
    inspector = Inspector.load(run, device="cpu", engine="torch")
    assert isinstance(inspector.engine, AlignedEngine)
    assert inspector.input_check is not None
    found = inspector.engine.localize_image(image, resize(image, inspector.engine.size), "gear")
    assert found.seen is not None
    assert (
        abs(found.seen[..., 0].astype(float) - found.seen[..., 1]).mean()
        < abs(image[..., 0] - 1.0 * image[..., 1]).mean() / 4
    )
    black = ReadImage(image=image, small=np.zeros_like(found.seen), sha256="", path=None)
    assert input_reason(inspector.input_check, black, found, "gear") is None
    assert input_reason(inspector.input_check, black, replace(found, seen=None), "gear") is not None
