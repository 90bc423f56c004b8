"""Exports give torch's own answer without torch; an export that does not is not kept."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

import clipada.commands.export
from clipada import Inspector, export, train
from clipada.cli import app
from clipada.config import Config, EngineOptions, ExportConfig, RuntimeConfig
from clipada.data import load_dataset
from clipada.engines.export.parity import PARITY
from clipada.engines.exports import DESCRIPTION, EXPORTS
from clipada.errors import ConfigError, DatasetError, RunError
from clipada.images import read_rgb, resize
from clipada.runs import ADAPTER
from tiny import save

FEW = ExportConfig(images=6, shortcut_images=6, shortcut_least=4, calibration_images=4)

WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "kornia", "lightning_fabric", "onnx", "nncf"):
    sys.modules[name] = None  # importing it fails, as where it is not installed
sys.argv[0] = "clipada"
from clipada.cli import main
main()
"""


@pytest.fixture(scope="module")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a float32 export for each runtime. Shared: to be read only."""
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("exported") / "line3")
    for engine in ("onnx", "openvino"):
        result = CliRunner().invoke(app, ["export", str(folder), "--engine", engine])
        assert result.exit_code == 0, result.exception
        assert "20 images, largest differences from torch: maps pass 0" in result.stderr
    return folder


@pytest.fixture
def changed(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported run, to be changed."""
    return shutil.copytree(exported, tmp_path / "line3")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Five images of differing brightness."""
    rng = np.random.default_rng(3)
    paths = [tmp_path / "photos" / f"{index}.png" for index in range(5)]
    for index, path in enumerate(paths):
        save(path, rng.integers(0, 256, (40, 48, 3), dtype=np.uint8) // np.uint8(index + 1))
    return paths


def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process where PyTorch cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


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
def test_int8_is_judged_by_metrics(changed: Path, engine: str) -> None:
    lenient = replace(FEW, image_auroc_loss=1, pixel_ap_loss=1)
    folder, parity = export(changed, engine, "int8", config=lenient)
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
    quick = Config.preset("quick").updated({"backbone.name": str(shared / "weights/deit-tiny-clip")} | settings)
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
    with pytest.raises(DatasetError, match="no images to compare") as caught:
        export(run_folder, "onnx")
    assert "--data" in str(caught.value.remedy)


# --- which engine


def test_settings_that_an_engine_lacks_are_refused(exported: Path) -> None:
    with pytest.raises(ConfigError, match="no precision 'bf16' in onnx"):
        export(exported, "onnx", "bf16")
    with pytest.raises(ConfigError, match="no setting streams"):
        Inspector.load(exported, engine=EngineOptions(name="torch", streams=2))
    for engine in ("onnx", "openvino"):
        with pytest.raises(ConfigError, match="no device 'abacus'"):
            Inspector.load(exported, engine=engine, device="abacus")
    with pytest.raises(RunError, match="no onnx int8 export") as caught:
        Inspector.load(exported, engine="onnx", precision="int8")
    assert "clipada export" in str(caught.value.remedy)
    assert caught.value.got == "onnx-fp32, openvino-fp32"


def test_the_shortcut_is_used_on_request_and_only_if_the_export_has_one(changed: Path, photos: list[Path]) -> None:
    description = changed / EXPORTS / "onnx-fp32" / DESCRIPTION
    content = json.loads(description.read_text())
    asked = EngineOptions(name="onnx", shortcut=True)
    scores = []
    for cold_below in (1.1, 1e-9):
        description.write_text(json.dumps(content | {"cold_below": cold_below}))
        plain, short = (Inspector.load(changed, engine=engine).inspect(photos[0]) for engine in ("onnx", asked))
        scores.append((plain.score, short.score))
    assert scores[0][0] == scores[1][0] == scores[1][1] != scores[0][1]
    named = [Inspector.load(changed, engine=engine).engine_name for engine in ("onnx", asked)]
    assert named == ["onnx fp32", "onnx fp32 shortcut"]  # a calibration of one is not one of the other
    description.write_text(json.dumps(content | {"cold_below": 0.0}))
    with pytest.raises(ConfigError, match="has no shortcut"):
        Inspector.load(changed, engine=asked)


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_the_kv_cache_of_each_image_stays_its_own(exported: Path, photos: list[Path], runtime: str) -> None:
    """Batches in which each image has other active patches: whole, in parts, one image at a time."""
    for streams in (1, 2):
        engine = Inspector.load(exported, engine=EngineOptions(name=runtime, streams=streams)).engine
        images = np.stack([resize(read_rgb(path), (engine.image_size,) * 2) for path in photos[:4]])
        coarse = engine.localize_passes(images)[0]
        short = engine.with_shortcut(float(np.median(coarse)), end_below=float(np.median(coarse.max(axis=(1, 2)))))
        together = short.localize_passes(images)
        apart = np.concatenate([short.localize_passes(images[i : i + 1]) for i in range(4)], axis=1)
        np.testing.assert_allclose(together, apart, rtol=0, atol=1e-5)


MODELS_COME_AND_GO = """
import os, signal, sys
from clipada import Inspector
first = Inspector.load(sys.argv[1], engine="openvino")
second = Inspector.load(sys.argv[1], engine="openvino")
del first
del second
signal.signal(signal.SIGTERM, lambda number, frame: print("stopping in order"))
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_process_that_changed_models_still_handles_signals(exported: Path) -> None:
    """Two OpenVINO cores at once leave the thread a freed signal stack, and the next signal kills the process."""
    command = [sys.executable, "-X", "faulthandler", "-c", MODELS_COME_AND_GO, str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "stopping in order\n"


def test_the_cascade_ends_after_the_coarse_pass(changed: Path, photos: list[Path]) -> None:
    description = changed / EXPORTS / "onnx-fp32" / DESCRIPTION
    content = json.loads(description.read_text())
    asked = EngineOptions(name="onnx", cascade=True)
    plain = Inspector.load(changed, engine="onnx").inspect(photos[0]).score
    for end_below, same in ((1.1, False), (1e-9, True)):
        description.write_text(json.dumps(content | {"end_below": end_below}))
        inspector = Inspector.load(changed, engine=asked)
        assert (inspector.inspect(photos[0]).score == plain) == same
    assert inspector.engine_name == "onnx fp32 cascade"
    description.write_text(json.dumps(content | {"end_below": 0.0}))
    with pytest.raises(ConfigError, match="has no cascade"):
        Inspector.load(changed, engine=asked)


# --- a machine without PyTorch


def test_predict_works_where_torch_is_not_installed(exported: Path, photos: list[Path], tmp_path: Path) -> None:
    expected = [result.score for result in Inspector.load(exported, engine="torch").inspect_files(photos)]
    for words in ((), ("--engine", "onnx", "--threads", 1, "--out", tmp_path / "out")):
        done = without_torch("predict", exported, photos[0].parent, *words)
        assert done.returncode == 0, done.stderr
        scores = [json.loads(line)["score"] for line in done.stdout.splitlines()]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


def test_a_run_without_exports_says_how_to_get_one(finished_run: Path, photos: list[Path]) -> None:
    done = without_torch("predict", finished_run, photos[0])
    assert done.returncode == 2
    assert f"clipada export {finished_run} --engine onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate_works_where_torch_is_not_installed(changed: Path) -> None:
    data = json.loads((changed / "config.json").read_text())["training"]["data"]
    done = without_torch("evaluate", changed, data, "--engine", "onnx")
    assert done.returncode == 0, done.stderr
    assert json.loads((changed / "metrics.json").read_text())["protocol"]["engine"] == "onnx fp32"


def test_a_line_runs_where_torch_is_not_installed(changed: Path, photos: list[Path], tmp_path: Path) -> None:
    """Calibrate, predict, store, report and list: everything that a machine beside the camera does."""
    folder, out, database = photos[0].parent, tmp_path / "out", f"sqlite:///{tmp_path / 'history.db'}"
    guarantee = ("--false-alarm-rate", "0.5", "--mode", "marginal")
    for words, said in (
        (("calibrate", changed, folder, *guarantee, "--engine", "onnx"), "calibration.json"),
        (("predict", changed, folder, "--out", out, "--engine", "onnx", "--database", database), "inspected 5 images"),
        (("predict", changed, folder, "--out", out, "--engine", "onnx", "--skip-done"), "inspected 0 images"),
        (("report", changed, out, "--engine", "onnx", "--batch-size", 2, "--workers", 1), "reported 5 images"),
        (("history", "list", "--database", database), str(photos[4])),
        (("info", changed), "refinement: 1 pass"),
    ):
        done = without_torch(*words)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr
    assert json.loads((out / "predictions.jsonl").read_text().splitlines()[0])["calibration"]


UNNEEDED = (
    *("torch", "transformers", "kornia", "lightning_fabric", "onnx", "openvino", "ray", "pyarrow", "pandas"),
    *("matplotlib", "sklearn", "sqlalchemy", "scipy.stats", "scipy.optimize", "scipy.sparse", "scipy.signal"),
)


def test_predict_starts_without_what_it_does_not_need(exported: Path, photos: list[Path]) -> None:
    """Each would add to the time before the first verdict; `docs/export.md` has the figures."""
    code = f"""
import atexit, sys
atexit.register(lambda: sys.stderr.write(repr([name for name in {UNNEEDED} if name in sys.modules])))
from clipada.cli import main
main()
"""
    words = [sys.executable, "-c", code, "predict", str(exported), str(photos[0]), "--engine", "onnx"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["inspected 1 images, left out 0", "[]"]
