"""Seeds, VisA and single items of a reproduction, through Python and the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from brief_baselines import BASELINE_SIZES
from clipada.commands.reproduce import reproduce
from clipada.errors import ConfigError
from clipada.evaluation.metrics import CategoryMetrics
from clipada.research.paper import ITEMS, MeasuredMethod
from clipada.runs import METRICS
from reproductions import CPU, NO_BASELINES, figures, quick, short_timing, write_parts


@pytest.fixture(scope="module", autouse=True)
def _short_timing() -> Iterator[None]:
    with short_timing():
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


def test_seeds_give_a_mean_and_a_spread(parts: Path, clip_folder: Path, tmp_path: Path) -> None:
    both = replace(BASELINE_SIZES, include=("memory-bank", "zero-shot"))
    result = reproduce(
        "mvtec", parts, tmp_path, quick(clip_folder), only=["table1"], seeds=2, runtime=CPU, baselines=both
    )
    *_, bank, zero_shot = (row for row in result.tables["table1"].rows if row.origin == "measured")
    assert (bank.seeds, zero_shot.seeds) == (2, 1)  # the prompts have no randomness
    assert len(list((tmp_path / "baselines").iterdir())) == 3
    row = next(row for row in result.tables["table1"].rows if row.origin == "measured")
    values = [
        100 * json.loads((tmp_path / "runs" / name / METRICS).read_text())["mean"]["image_auroc"] for name in row.runs
    ]
    assert row.seeds == len(values) == 2
    figure = row.figures["image_auroc"]["mean"]
    assert figure.value == pytest.approx(sum(values) / 2)
    assert figure.spread == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert " ± " in (tmp_path / "table1.md").read_text()


def test_visa_has_its_own_items_and_takes_rows_of_other_methods(parts: Path, clip_folder: Path, tmp_path: Path) -> None:
    bank = CategoryMetrics(
        image_auroc=0.9,
        pixel_auroc=0.8,
        pixel_ap=0.5,
        aupro=None,
        image_ap=None,
        image_f1_max=None,
        pixel_f1_max=None,
        n_normal=2,
        n_anomalous=2,
    )
    method = MeasuredMethod(name="memory bank", metrics=[{"bottle": bank, "plate": bank}])
    result = reproduce(
        "visa", parts, tmp_path, quick(clip_folder), runtime=CPU, methods=[method], baselines=NO_BASELINES
    )
    assert [path.name for path in result.files] == ["table3.md", "table3.csv", "table3.json", "figure4.png"]
    text = (tmp_path / "table3.md").read_text()
    assert "| memory bank | measured | 90.0 | 90.0 | 90.0 |" in text
    assert "shared mean" not in text.split("\n- ")[0]  # no category is the paper's
    with pytest.raises(ConfigError, match=r"nothing called table1(?s:.*)table3"):
        reproduce("visa", parts, tmp_path, quick(clip_folder), only=["table1"], runtime=CPU)
    assert not (tmp_path / "baselines").exists()
    assert ITEMS["visa"] == ("table3", "figure4")


def test_from_the_command_line(
    clipada: Callable[..., tuple[int, str, str]], parts: Path, clip_folder: Path, tmp_path: Path
) -> None:
    tiny = ["--set", "backbone.block=2", "--set", "prompt.prefix=a photo of a", "--set", "model.image_size=32"]
    words = ["reproduce", "mvtec", parts, "--out", tmp_path / "out", "--backbone", clip_folder, *tiny]
    words += ["--scale", "0.003", "--set", "training.batch_size=4", "--only", "table1", "--device", "cpu"]
    code, out, err = clipada(*words, "--baselines", "none", "--plan", "--images-per-second", "10")
    assert code == 0, err
    assert "r1-learned, seed 0" in out
    assert "24" in out.split()  # 12 images, 2 of the preset's 800 epochs
    assert "not MVTec AD as in the paper: 1 of its 15 categories and 1 others" in err
    assert not (tmp_path / "out").exists()
    code, out, err = clipada(*words, "--workers", "0", "--baselines", "memory-bank")
    assert code == 0, err
    assert f"all tables and figures are in {tmp_path / 'out' / 'README.md'}" in err
    assert "Table 1" in (tmp_path / "out" / "README.md").read_text()
    assert "memory bank, after PatchCore | measured" in (tmp_path / "out" / "table1.md").read_text()
    planned = "--baselines", "memory-bank,zero-shot", "--plan", "--images-per-second", "10"
    assert clipada(*words, *planned)[1].count("finished") == 2
    code, _, err = clipada(*words, "--baselines", "patchcore")
    assert code == 2
    assert "memory-bank, zero-shot" in err
    code, _, err = clipada(*words)
    assert code == 2
    assert "reconstruction.neighbourhood does not suit" in err  # 4 x 4 tokens; before anything is trained
    assert clipada(*words[:-4], "--only", "table9")[0] == 2


@pytest.mark.slow
def test_killed_twice_by_the_system_it_ends_the_same(parts: Path, clip_folder: Path, tmp_path: Path) -> None:
    """Real processes, real SIGKILLs: in a training, and while a baseline is fitted."""
    words = [sys.executable, "-m", "clipada", "reproduce", "mvtec", str(parts), "--backbone", str(clip_folder)]
    words += ["--preset", "prompt", "--scale", "0.3", "--only", "table1", "--only", "figure5", "--device", "cpu"]
    words += ["--workers", "0", "--set", "backbone.block=2", "--set", "prompt.prefix=a photo of a"]
    words += ["--set", "model.image_size=64", "--set", "training.batch_size=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    often = [*words, "--set", "training.checkpoint_seconds=0", "--out", str(killed)]
    for waiting_for in ("runs/*/checkpoint.safetensors", "baselines/draem-*"):
        process = subprocess.Popen(often, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not list(killed.glob(waiting_for)) and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (killed / "README.md").exists()
    for command in (often, [*words, "--out", str(whole)]):
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=500)
    assert figures(killed, "table1") == figures(whole, "table1")
    for path in whole.glob("runs/*/adapter.safetensors"):
        assert (killed / path.relative_to(whole)).read_bytes() == path.read_bytes()
    assert len(list(whole.glob("runs/*/adapter.safetensors"))) == 3
    assert {path.name for path in killed.glob("baselines/*")} == {path.name for path in whole.glob("baselines/*")}
    assert (killed / "figure5.png").read_bytes() == (whole / "figure5.png").read_bytes()
