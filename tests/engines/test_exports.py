"""Exports in use: which engine inspects, and machines without PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clipada import Inspector, export
from clipada.config import EngineOptions
from clipada.engines.exports import DESCRIPTION, EXPORTS
from clipada.errors import ConfigError, RunError
from clipada.images import read_rgb, resize

WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers", "kornia", "lightning_fabric", "onnx", "nncf"):
    sys.modules[name] = None  # importing it fails, as where it is not installed
sys.argv[0] = "clipada"
from clipada.cli import main
main()
"""


def without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process where PyTorch cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


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
    for cold_below in (1.0, 1e-9):
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
        images = np.stack([resize(read_rgb(path), engine.size) for path in photos[:4]])
        coarse = engine.localize(images).maps[0]
        short = engine.with_shortcut(float(np.median(coarse)), end_below=float(np.median(coarse.max(axis=(1, 2)))))
        together = short.localize(images).maps
        apart = np.concatenate([short.localize(images[i : i + 1]).maps for i in range(4)], axis=1)
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
    for end_below, same in ((1.0, False), (1e-9, True)):
        description.write_text(json.dumps(content | {"end_below": end_below}))
        inspector = Inspector.load(changed, engine=asked)
        assert (inspector.inspect(photos[0]).score == plain) == same
    assert inspector.engine_name == "onnx fp32 cascade"
    description.write_text(json.dumps(content | {"end_below": 0.0}))
    with pytest.raises(ConfigError, match="has no cascade"):
        Inspector.load(changed, engine=asked)


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
    said = done.stderr.splitlines()
    assert (said[0], said[-1]) == ("inspected 1 images, left out 0", "[]")
