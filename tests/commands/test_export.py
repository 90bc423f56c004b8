"""Exports give torch's own answer without torch; an export that does not is not kept."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import clipada.commands.export
from clipada import Inspector, export, train
from clipada.config import Config, EngineOptions, ExportConfig, RuntimeConfig
from clipada.data import load_dataset
from clipada.engines.export.parity import PARITY
from clipada.engines.exports import DESCRIPTION, EXPORTS
from clipada.errors import DatasetError, RunError
from clipada.runs import ADAPTER, seal
from clipada.types import Progress
from tiny import save

FEW = ExportConfig(images=6, shortcut_images=6, shortcut_least=4, calibration_images=4)


def tamper(graph: Path) -> None:
    """Change one weight of an ONNX graph a little: its heads' constants."""
    model = onnx.load(graph)
    for tensor in model.graph.initializer:
        if "heads.vectors" in tensor.name or tensor.dims[-1:] == [2]:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32:
                tensor.CopyFrom(numpy_helper.from_array(values * np.float32(1.02), tensor.name))
    onnx.save(model, graph)


def tampering(graph: Path) -> Callable[..., None]:
    """A replacement of the exporter that writes a graph that was tampered with."""

    def write(model: object, folder: Path, *rest: object) -> None:
        shutil.copy(graph, folder / "graph.onnx")
        tamper(folder / "graph.onnx")

    return write


# --- the same answer


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("streams", [1, 2])
def test_an_export_gives_torchs_own_maps(exported: Path, photos: list[Path], engine: str, streams: int) -> None:
    torch_maps, maps = (
        [result.anomaly_map for result in Inspector.load(exported, engine=config).inspect_files(photos, batch_size=3)]
        for config in (EngineOptions(name="torch"), EngineOptions(name=engine, threads=2, streams=streams))
    )
    assert len(maps) == len(photos)
    assert np.ptp(torch_maps[0]) > 1e-3
    np.testing.assert_allclose(maps, torch_maps, rtol=0, atol=1e-5)


def test_parity_is_recorded(exported: Path) -> None:
    record = json.loads((exported / PARITY).read_text())
    assert set(record) == {"onnx-fp32", "openvino-fp32"}
    for parity in record.values():
        assert parity["failures"] == []
        assert parity["differences"]["images"] == 20  # all there are
        assert 0 < max(parity["differences"]["max_map_error"]) < 1e-5
        assert parity["shortcut"] is parity["cascade"] is None  # twelve normal images are too few
        practice = parity["practice"]
        assert practice["fp32_ms"] is None
        assert min(practice["torch_ms"], practice["export_ms"]) > 0
    sizes = [file.stat().st_size for file in (exported / EXPORTS / "onnx-fp32").glob("graph*")]
    assert record["onnx-fp32"]["practice"]["size"] == sum(sizes)


# --- the gate


def test_a_tampered_graph_is_refused_and_not_kept(changed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = changed / EXPORTS / "onnx-fp32" / "graph.onnx"
    before = graph.read_bytes()
    monkeypatch.setattr(clipada.commands.export, "write_graph", tampering(graph))
    with pytest.raises(RunError, match="onnx-fp32 does not agree with torch: maps differ by") as caught:
        export(changed, "onnx", config=FEW)
    assert "--force" in str(caught.value.remedy)
    record = json.loads((changed / PARITY).read_text())
    assert record["onnx-fp32 (refused)"]["failures"]
    assert not record["onnx-fp32"]["failures"]  # of the export that is still there
    assert graph.read_bytes() == before
    assert sorted(path.name for path in (changed / EXPORTS).iterdir()) == ["onnx-fp32", "openvino-fp32", "parity.json"]


def test_force_keeps_it_anyway_and_every_loading_warns(
    changed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    graph = changed / EXPORTS / "onnx-fp32" / "graph.onnx"
    before = graph.read_bytes()
    monkeypatch.setattr(clipada.commands.export, "write_graph", tampering(graph))
    _, parity = export(changed, "onnx", config=FEW, force=True)
    assert parity.failures
    assert graph.read_bytes() != before
    Inspector.load(changed, engine="onnx")
    assert f"was kept by force: {parity.failures[0]}" in caplog.text


def test_shortcuts_are_judged_on_other_images_than_they_were_chosen_on(changed: Path) -> None:
    _, parity = export(changed, "onnx", config=FEW)
    assert parity.shortcut is not None
    assert parity.cascade is not None
    for found in (parity.shortcut, parity.cascade):
        assert (found.chosen_on, found.checked_on) == (6, 6)  # three, and three with an anomaly
        assert found.exceeded_by_at_most == pytest.approx(1 - 0.05 ** (1 / 3))
    _, again = export(changed, "onnx")
    assert "too few normal images" in again.describe()[-1]


def test_defects_alone_are_compared_on(changed: Path, photos: list[Path]) -> None:
    for kind in ("test/bad", "ground_truth/bad"):
        (photos[0].parent / "line" / kind).mkdir(parents=True)
    for path in photos:
        shutil.copy(path, path.parent / "line/test/bad")
        mask = np.zeros((40, 48), np.uint8)
        mask[4:9, 4:9] = 255
        save(path.parent / f"line/ground_truth/bad/{path.stem}_mask.png", mask)
        path.unlink()
    _, parity = export(changed, "onnx", data=photos[0].parent)
    assert parity.differences.images == 5
    assert parity.shortcut is None


def test_a_graph_changed_after_its_export_is_refused(changed: Path) -> None:
    tamper(changed / EXPORTS / "onnx-fp32" / "graph.onnx")
    with pytest.raises(RunError, match="damaged or was changed") as caught:
        Inspector.load(changed, engine="onnx")
    assert caught.value.got == "graph.onnx"


@pytest.mark.parametrize("wrong", [{"files": []}, {"cold_below": "0.1"}, {"shape": {"grid": 3}}, {"color": "red"}])
def test_a_wrong_description_is_refused(changed: Path, wrong: dict[str, object]) -> None:
    description = changed / EXPORTS / "onnx-fp32" / DESCRIPTION
    description.write_text(json.dumps(json.loads(description.read_text()) | wrong))
    with pytest.raises(RunError, match=r"export.json is damaged"):
        Inspector.load(changed, engine="onnx")


def test_an_export_of_another_adapter_is_refused(changed: Path) -> None:
    with (changed / ADAPTER).open("ab") as file:
        file.write(b" ")
    with pytest.raises(RunError, match="from another adapter"):
        Inspector.load(changed, engine="openvino")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_int8_is_judged_by_metrics(changed: Path, engine: str, capfd: pytest.CaptureFixture[str]) -> None:
    lenient = replace(FEW, image_auroc_loss=1, pixel_ap_loss=1)
    stages: list[Progress] = []
    folder, parity = export(changed, engine, "int8", config=lenient, report=stages.append)
    assert capfd.readouterr() == ("", "")  # the quantizer's own bars are hidden
    finished = [stage.stage for stage in stages if stage.done == stage.total]
    assert [name for name in finished if not name.startswith("quantizing")] == ["comparing", "scoring", "timing"]
    assert "quantizing, round 1" in finished
    assert parity.practice is not None
    assert parity.practice.fp32_ms is not None
    assert "fp32 with" in parity.describe()[2]
    assert parity.metrics is not None
    assert set(parity.metrics["torch"]) == set(parity.metrics["export"]) == {"image_auroc", "pixel_ap"}
    assert max(parity.differences.max_map_error) > 1e-4  # it is int8
    assert Inspector.load(changed, engine=engine, precision="int8").engine_name == f"{engine} int8"
    strict = replace(FEW, image_auroc_loss=-1, pixel_ap_loss=1)
    with pytest.raises(RunError, match="image_auroc loses"):
        export(changed, engine, "int8", config=strict)
    assert (folder / DESCRIPTION).is_file()


@pytest.mark.slow
def test_a_real_backbone_with_prototypes_goes_into_int8(shared: Path, tmp_path: Path) -> None:
    """At this size the quantizer treats the prototypes as weights; before, it failed on them."""
    settings = {"training.epochs": 1, "training.milestones": (), "training.image_share": 0.2, "model.prototypes": 256}
    quick = Config.preset("prompt").updated({"backbone.name": str(shared / "weights/deit-tiny-clip")} | settings)
    data = load_dataset(shared / "data/mvtec-mini", categories=["bottle"])
    train(data, tmp_path / "run", quick, runtime=RuntimeConfig(device="cpu", workers=0))
    few = replace(data, samples=data.train + data.test[::8])
    _, parity = export(tmp_path / "run", "onnx", "int8", few, config=replace(FEW, image_auroc_loss=1, pixel_ap_loss=1))
    assert parity.metrics is not None
    assert parity.differences.max_score_error < 0.2


def test_without_images_nothing_is_exported(run_folder: Path) -> None:
    config = run_folder / "config.json"
    content = json.loads(config.read_text())
    content["training"]["data"] = "/nowhere"
    config.write_text(json.dumps(content))
    seal(run_folder)
    with pytest.raises(DatasetError, match=r"training images .* are not where they were") as caught:
        export(run_folder, "onnx")
    assert "--data" in str(caught.value.remedy)
