"""The paper's tables and figures on a tiny CLIP: all of them from one call, and unchanged by interruptions."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import PIL.Image
import pytest

from brief_baselines import BASELINE_SIZES
from clipada import evaluate
from clipada.commands.reproduce import Reproduction, plan_reproduction, reproduce
from clipada.config import Config
from clipada.errors import RunError
from clipada.files import lock_folder
from clipada.research.baselines import BASELINES
from clipada.research.paper import ReproductionPlan
from clipada.research.paper.baselines import NAMES
from clipada.research.paper.experiments import MAIN, VARIANTS
from clipada.research.paper.published import published_rows
from clipada.runs import ENCODERS, METRICS, read_run
from clipada.types import Progress, ProgressReport, unreported
from reproductions import CPU, NO_BASELINES, figures, quick, short_timing, write_parts

TABLES = ("table1", "table2", "table4", "table5", "table6", "figure6")


@pytest.fixture(scope="module", autouse=True)
def _short_timing() -> Iterator[None]:
    with short_timing():
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, parts: Path, clip_folder: Path) -> Reproduction:
    """All items of MVTec AD, never interrupted; read-only."""
    out = tmp_path_factory.mktemp("whole")
    return reproduce("mvtec", parts, out, quick(clip_folder), runtime=CPU, baselines=BASELINE_SIZES)


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
    tuned = Config.preset("prompt").updated({"training.image_share": 0.5, "training.tune": "image"})
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
