"""`compare`: a run beside baselines and other runs, resumed, with intervals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clipada.commands.compare import METHODS, compare
from clipada.commands.evaluate import evaluate
from clipada.commands.verify import verify
from clipada.errors import RunError
from clipada.types import Progress

BASELINES = ("anomaly-dino short_side=32 shots=2 masked=", "patchcore rows=40", "memory-bank share=0.5")


def stages(reports: list[Progress]) -> set[str]:
    return {report.stage for report in reports}


def test_a_run_is_compared_with_baselines_on_the_metrics_of_evaluate(
    run_folder: Path, products: Path, tmp_path: Path
) -> None:
    made = compare(run_folder, products, tmp_path / "out", baselines=BASELINES, resamples=20, device="cpu")
    assert [row.label for row in made.rows] == ["line3", *BASELINES]
    assert made.rows[0].categories == evaluate(run_folder, products, device="cpu").categories
    assert all(set(row.categories) == {"plate", "disc"} for row in made.rows)
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["label"] for row in record["methods"]] == ["line3", *BASELINES]
    assert (record["resamples"], record["level"]) == (20, 0.95)
    page = (tmp_path / "out" / "comparison.md").read_text()
    assert all(f"| {name} |" in page for name in BASELINES)


def test_finished_methods_are_reused_and_an_interrupted_one_continues(
    run_folder: Path, products: Path, tmp_path: Path
) -> None:
    """Killed after the first product of the second baseline: only the other product is fitted again."""
    out, seen = tmp_path / "out", []

    def stop(now: Progress) -> None:
        seen.append(now)
        if now.stage == "patchcore rows=40: core-set plate":
            raise KeyboardInterrupt

    arguments = {"baselines": BASELINES[:2], "resamples": 20, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        compare(run_folder, products, out, report=stop, **arguments)
    assert "patchcore rows=40: scoring disc" in stages(seen)
    again: list[Progress] = []
    resumed = compare(run_folder, products, out, report=again.append, **arguments)
    assert stages(again) == {f"patchcore rows=40: {what} plate" for what in ("reading", "core-set", "scoring")} | {
        "comparing"
    }
    whole = compare(run_folder, products, tmp_path / "whole", **arguments)
    assert resumed.rows == whole.rows


def test_another_run_costs_only_its_own_row(run_folder: Path, products: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run_folder, tmp_path / "line4")
    out, seen = tmp_path / "out", []
    compare(run_folder, products, out, baselines=["patchcore rows=40"], resamples=20, device="cpu")
    config = json.loads((other / "config.json").read_text())
    config["config"]["scoring"]["sigma"] = 1.0
    (other / "config.json").write_text(json.dumps(config))
    verify(other, seal=True)
    made = compare(
        other,
        products,
        out,
        runs=[run_folder],
        baselines=["patchcore rows=40"],
        resamples=20,
        device="cpu",
        report=seen.append,
    )
    assert stages(seen) == {"line4: scoring disc", "line4: scoring plate", "comparing"}
    assert [row.label for row in made.rows] == ["line4", "line3", "patchcore rows=40"]
    assert len(list((out / METHODS).iterdir())) == 3


def test_a_damaged_result_is_named(run_folder: Path, products: Path, tmp_path: Path) -> None:
    compare(run_folder, products, tmp_path / "out", baselines=(), resamples=5, device="cpu")
    kept = next((tmp_path / "out" / METHODS).glob("run-*/disc.json"))
    kept.write_text(kept.read_text().replace('"pixel_ap"', '"pixel_app"'))
    with pytest.raises(RunError, match=r"disc\.json is damaged"):
        compare(run_folder, products, tmp_path / "out", baselines=(), resamples=5, device="cpu")


def test_the_command_prints_and_writes_the_table(
    clipada: Callable[..., tuple[int, str, str]], run_folder: Path, products: Path, tmp_path: Path
) -> None:
    words = ("compare", run_folder, products, "--out", tmp_path / "out", "--device", "cpu", "--resamples", 20)
    code, shown, said = clipada(*words, "--baseline", "patchcore rows=40")
    assert code == 0, said
    assert "rows=40" in shown
    assert "I-AUC" in shown
    assert str(tmp_path / "out" / "comparison.md") in said
    code, _, said = clipada(*words, "--baseline", "padim")
    assert code == 2
    assert "no baseline 'padim'" in said
