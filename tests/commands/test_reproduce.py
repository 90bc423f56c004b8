"""The paper's tables and figures on a tiny CLIP: all of them from one call, and unchanged by interruptions."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import PIL.Image
import pytest

from brief_baselines import BASELINE_SIZES
from clipada import evaluate
from clipada.commands.reproduce import Reproduction, plan_reproduction, reproduce
from clipada.config import BaselinesConfig, Config, RuntimeConfig
from clipada.errors import ConfigError, RunError
from clipada.evaluation.metrics import CategoryMetrics
from clipada.files import lock_folder
from clipada.research.baselines import BASELINES
from clipada.research.paper import ITEMS, MeasuredMethod, ReproductionPlan
from clipada.research.paper.baselines import NAMES
from clipada.research.paper.experiments import MAIN, VARIANTS
from clipada.research.paper.published import published_rows
from clipada.runs import ENCODERS, METRICS, read_run
from clipada.types import Progress, ProgressReport, unreported
from tiny import tiny_config, write_products

CPU = RuntimeConfig(device="cpu", workers=0)

NO_BASELINES = BaselinesConfig(include=())
TABLES = ("table1", "table2", "table4", "table5", "table6", "figure6")


def quick(clip_folder: Path) -> Config:
    """One epoch; the final map is the mean of the passes."""
    return tiny_config(clip_folder).updated(
        {
            "training.epochs": 1,
            "training.milestones": (),
            "training.checkpoint_seconds": 0.0,
            "scoring.fusion": "mean",
        }
    )


@pytest.fixture(scope="module", autouse=True)
def _short_timing() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipada.research.paper.speed.SECONDS", 0.0)
        patch.setattr("clipada.research.paper.speed.LARGEST_BATCH", 2)
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two products, one of them with the name of one of the paper's."""
    root = write_products(tmp_path_factory.mktemp("parts") / "products")
    (root / "disc").rename(root / "bottle")
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, parts: Path, clip_folder: Path) -> Reproduction:
    """All items of MVTec AD, never interrupted; read-only."""
    out = tmp_path_factory.mktemp("whole")
    return reproduce("mvtec", parts, out, quick(clip_folder), runtime=CPU, baselines=BASELINE_SIZES)


def figures(folder: Path, item: str) -> dict[tuple[str, ...], float]:
    """All numbers of a table except speeds, by row, origin, metric and category."""
    with (folder / f"{item}.csv").open(encoding="utf-8") as file:
        return {
            (line["row"], line["origin"], line["metric"], line["category"]): float(line["value"])
            for line in csv.DictReader(file)
            if "images_per_second" not in line["metric"] and line["metric"] != "best_batch"
        }


def test_every_table_and_figure_is_written(whole: Reproduction) -> None:
    folder = whole.page.parent
    expected = {f"{item}.{ending}" for item in TABLES for ending in ("md", "csv", "json")}
    expected |= {"figure3.png", "figure5.png", "figure6.svg"}
    assert {path.name for path in whole.files} == expected
    assert {path.name for path in folder.iterdir()} == {*expected, "README.md", "baselines", "runs"}
    assert len(list((folder / "runs").iterdir())) == 14
    page = whole.page.read_text()
    for name in ("Table 1", "Table 6", "figure3.png", "figure5.png", "figure6.svg"):
        assert page.count(name) == 1
    for name, columns in (("figure3.png", 3), ("figure5.png", 5)):
        with PIL.Image.open(folder / name) as image:
            assert image.width > columns * 192
            assert image.height > 4 * 150  # four scratched parts
    curves = ET.fromstring((folder / "figure6.svg").read_text())
    assert len(curves.findall(".//{*}circle")) == 3 * 5


def test_tables_hold_what_the_runs_measured_beside_what_the_paper_says(whole: Reproduction) -> None:
    folder = whole.page.parent
    (run,) = (folder / "runs").glob("r1-learned-*")
    metrics = read_run(run).metrics
    assert metrics is not None
    bottle = 100 * metrics["categories"]["bottle"]["image_auroc"]
    table = figures(folder, "table1")
    label = "CLIP-ADA, R = 1, learned prompt"
    assert table[label, "measured", "image_auroc", "bottle"] == pytest.approx(bottle, abs=1e-4)
    assert table[label, "published", "image_auroc", "bottle"] == 99.8
    differing = f"{label}: measured less published"
    assert table[differing, "difference", "image_auroc", "bottle"] == pytest.approx(bottle - 99.8, abs=1e-4)
    assert table[label, "published", "image_auroc", "mean"] == 97.5
    assert table[label, "published", "image_auroc", "shared mean"] == 99.8
    # a mean over other categories than the paper's is not compared
    assert (differing, "difference", "image_auroc", "mean") not in table
    assert (differing, "difference", "image_auroc", "plate") not in table
    assert table["DiAD", "published", "image_auroc", "wood"] == 99.7


def test_published_and_measured_rows_never_mix(whole: Reproduction) -> None:
    for item in TABLES:
        content = json.loads((whole.page.parent / f"{item}.json").read_text())
        by_origin = {
            origin: [row for row in content["rows"] if row["origin"] == origin]
            for origin in ("published", "measured", "difference")
        }
        assert len(by_origin["published"]) == len(published_rows(item, MAIN))
        assert all(row["runs"] for row in by_origin["measured"])
        others = [row["row"] for row in by_origin["measured"] if not row["row"].startswith("CLIP-ADA")]
        assert others == (list(NAMES.values()) if item in ("table1", "table2") else [])
        assert not any(row["runs"] for row in by_origin["published"])
        assert sum(map(len, by_origin.values())) == len(content["rows"])


def test_baselines_are_scored_by_the_same_protocol_each_in_a_folder_of_its_own(whole: Reproduction) -> None:
    folder = whole.page.parent
    kept = {
        path.name.partition("-seed")[0]: json.loads((path / METRICS).read_text())
        for path in (folder / "baselines").iterdir()
    }
    assert set(kept) == set(BASELINES)
    (run,) = (folder / "runs").glob("r1-learned-*")
    protocol = (read_run(run).metrics or {})["protocol"]
    for name, content in kept.items():
        for same in ("data", "categories", "image_size", "masks", "sigma", "top_pixels", "left_out"):
            assert content["protocol"][same] == protocol[same]
        assert len(content["passes"]) == 2  # its paper's own image score, and the final map
        assert content["protocol"]["fusion"] == "last"
        value = figures(folder, "table1")[NAMES[name], "measured", "image_auroc", "bottle"]
        assert value == pytest.approx(100 * content["categories"]["bottle"]["image_auroc"], abs=1e-4)
    assert not list((folder / "baselines").rglob("*.safetensors"))
    assert "width 4, 2 epochs of batch 4" in (folder / "table1.md").read_text()


def test_variants_are_what_their_rows_say(whole: Reproduction) -> None:
    runs = {path.name.rpartition("-seed")[0]: read_run(path) for path in (whole.page.parent / "runs").iterdir()}
    assert {(runs[f"r{r}-fixed"].config.model.refinements) for r in (0, 1, 2)} == {0, 1, 2}
    assert not any(runs[f"r{r}-fixed"].config.prompt.learnable for r in (0, 1, 2))
    assert {name for name, run in runs.items() if (run.folder / ENCODERS).exists()} == {
        *("tune-text", "tune-image", "tune-both")
    }
    shares = [sum(runs[f"share-{share}"].training.categories.values()) for share in (10, 20, 30, 40, 50)]
    assert shares == [2, 2, 4, 4, 6]
    hashes = [runs[f"share-{share}"].training_sha256s or frozenset() for share in (10, 30, 50)]
    assert hashes[0] < hashes[1] < hashes[2]
    for metric in ("last pass alone", "± "):
        assert (metric in (whole.page.parent / "table4.md").read_text()) == (metric == "last pass alone")
    speeds = {
        line["metric"]
        for line in csv.DictReader((whole.page.parent / "table6.csv").open(encoding="utf-8"))
        if line["origin"] == "measured"
    }
    assert {"parameters_millions", "images_per_second_batch_1", "images_per_second_best"} <= speeds


def test_the_plan_lists_exactly_the_runs_that_are_then_made(
    whole: Reproduction, parts: Path, clip_folder: Path, tmp_path: Path
) -> None:
    def plan(out: Path) -> ReproductionPlan:
        return plan_reproduction(
            "mvtec", parts, out, quick(clip_folder), baselines=BASELINE_SIZES, images_per_second=10
        )

    made = {path.name for kind in ("runs", "baselines") for path in (whole.page.parent / kind).iterdir()}
    planned = plan(tmp_path)
    assert {one.run.folder.name for one in planned.runs} == made
    assert len(planned.runs) == len(made)
    assert all(one.hours > 0 for one in planned.runs)
    assert plan(whole.page.parent).hours == 0  # all of them are finished


def test_called_again_nothing_is_trained_or_timed(whole: Reproduction, parts: Path, clip_folder: Path) -> None:
    folder, steps = whole.page.parent, list[Progress]()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/**/*.*")}
    page = whole.page.read_text()
    reproduce("mvtec", parts, folder, quick(clip_folder), runtime=CPU, baselines=BASELINE_SIZES, report=steps.append)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/**/*.*")} == before
    assert not [step for step in steps if not step.stage.startswith(("timing", "writing"))]
    assert whole.page.read_text() == page


def test_an_evaluation_on_other_images_is_not_reused(
    whole: Reproduction, parts: Path, clip_folder: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(whole.page.parent, tmp_path / "out")
    main = next((out / "runs").glob(f"{MAIN}-*"))
    shutil.copytree(parts / "bottle", tmp_path / "others" / "bottle")
    evaluate(main, tmp_path / "others")
    again = reproduce("mvtec", parts, out, quick(clip_folder), only=["table1"], runtime=CPU, baselines=BASELINE_SIZES)
    assert again.tables["table1"] == whole.tables["table1"]
    assert figures(out, "table1") == figures(whole.page.parent, "table1")


def test_a_folder_takes_one_process_and_one_data_set(
    whole: Reproduction, parts: Path, clip_folder: Path, tmp_path: Path
) -> None:
    with lock_folder(tmp_path), pytest.raises(RunError, match="another process is at work"):
        reproduce("mvtec", parts, tmp_path, quick(clip_folder), only=["table1"], runtime=CPU, baselines=NO_BASELINES)
    with pytest.raises(RunError, match="contains tables of another data set") as refused:
        reproduce("visa", parts, whole.page.parent, quick(clip_folder), runtime=CPU, baselines=NO_BASELINES)
    assert "MVTec AD" in str(refused.value.got)


def test_variants_do_not_depend_on_what_a_preset_tunes() -> None:
    tuned = Config.preset("quick").updated({"training.image_share": 0.5, "training.tune": "image"})
    for name in (MAIN, "r0-fixed", "tune-text", "share-20"):
        training = tuned.updated(VARIANTS[name]).training
        assert training.tune == ("text" if name == "tune-text" else "none")
        assert training.image_share == (0.2 if name == "share-20" else 1.0)


def test_killed_again_and_again_it_ends_the_same(
    whole: Reproduction, parts: Path, clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_in(stage: str, done: int) -> ProgressReport:
        def kill(step: Progress) -> None:
            if step.stage.startswith(stage) and step.done == done:
                raise KeyboardInterrupt

        return kill

    def again(report: ProgressReport = unreported) -> Reproduction:
        return reproduce(
            "mvtec", parts, tmp_path, quick(clip_folder), runtime=CPU, baselines=BASELINE_SIZES, report=report
        )

    monkeypatch.setattr("clipada.config.TrainingConfig.checkpoint_seconds", 0.0)  # the baselines' networks
    networks = ("reconstruction, seed 0: training", 4), ("draem, seed 0: training", 4)
    kills = (*networks, ("r0-learned, seed 0: training", 2), ("tune-image, seed 0: evaluating", 1))
    for kill in (kill_in(*where) for where in kills):
        with pytest.raises(KeyboardInterrupt):
            again(kill)
    killed = again()
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        path.name for path in (whole.page.parent / "runs").iterdir()
    }
    for item in TABLES:
        assert figures(tmp_path, item) == figures(whole.page.parent, item)
    for name in ("figure3.png", "figure5.png", "figure6.svg"):
        assert (tmp_path / name).read_bytes() == (whole.page.parent / name).read_bytes()
    assert killed.tables.keys() == whole.tables.keys()


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
    words += ["--preset", "quick", "--scale", "0.3", "--only", "table1", "--only", "figure5", "--device", "cpu"]
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
