"""Baselines by name and settings, and the table of a comparison."""

from collections.abc import Mapping

import numpy as np
import pytest

from clipada.config import BaselinesConfig, Config
from clipada.errors import ConfigError
from clipada.evaluation.metrics import CategoryTest
from clipada.evaluation.paired import ScoreCollector
from clipada.research.comparison import MethodScores, compared_methods, parse_baseline, with_budget
from clipada.research.comparison.table import markdown

SIZE = (16, 16)


def method(label: str, signal: float, images: int = 20) -> MethodScores:
    """A method whose maps are higher by ``signal`` on defects; noise and defects are the same for every method."""
    rng = np.random.default_rng(0)
    collector, exact = ScoreCollector(), CategoryTest()
    for index in range(images):
        mask = np.zeros(SIZE, np.bool_)
        mask[4:8, 4:8] = bool(index % 2)
        values = np.exp(rng.normal(size=SIZE) + signal * mask).astype(np.float32)
        collector.add(str(index), float(values.max()), bool(index % 2), values, mask)
        exact.update(float(values.max()), bool(index % 2), values, mask)
    return MethodScores(label=label, metrics={"plate": exact.compute()}, scores={"plate": collector.collect()})


def test_a_baseline_is_read_with_its_settings() -> None:
    found = parse_baseline("anomaly-dino block=6 shots=0 masked=plate,disc share=0.5", BaselinesConfig())
    own = found.settings.anomaly_dino
    assert (found.name, own.block, own.shots, own.masked, own.share) == ("anomaly-dino", 6, 0, ("plate", "disc"), 0.5)
    assert found.label == "anomaly-dino block=6 shots=0 masked=plate,disc share=0.5"
    assert parse_baseline("anomaly-dino masked=", BaselinesConfig()).settings.anomaly_dino.masked == ()
    assert not parse_baseline("memory-bank share=0.5", BaselinesConfig()).one_a_product


def test_patchcore_has_as_many_rows_as_the_run_in_all_its_views() -> None:
    base = Config.preset("accurate")
    for changes, rows in ({"memory.whole": True}, 13_000), ({"memory.whole": False}, 6_500):
        run = base.updated({**changes, "memory.rows": 6_500})
        assert with_budget(BaselinesConfig(), run).patchcore.rows == rows
    assert with_budget(BaselinesConfig(), Config.preset("prompt")) == BaselinesConfig()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("padim", "no baseline 'padim'"),
        ("", "no baseline ''"),
        ("patchcore rows", "cannot read 'rows' of baseline patchcore"),
        ("patchcore shots=3", "cannot read 'shots=3'"),
        ("patchcore rows=many", "rows cannot be read"),
        ("patchcore rows=1", r"patchcore.rows is out of range"),
        ("draem schedule=3", "schedule"),
    ],
)
def test_a_baseline_that_there_is_not_is_refused(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        parse_baseline(text, BaselinesConfig())


def test_the_better_method_is_ahead_by_an_interval_above_0() -> None:
    first, better, same = compared_methods([method("line3", 2.0), method("weak", 0.3), method("copy", 2.0)], 300)
    assert first.ahead == {}
    for name in ("image_auroc", "pixel_auroc", "pixel_ap", "aupro"):
        interval = better.intervals[name]
        assert interval is not None
        assert 0 < interval.low < better.ahead[name] < interval.high  # type: ignore[operator]
        assert (same.ahead[name], same.intervals[name]) == (0, (0, 0))


def test_the_page_shows_means_differences_and_categories() -> None:
    rows = compared_methods([method("line3", 2.0), method("a|b", 0.3)], 50)
    facts: Mapping[str, object] = {"data": "parts", "resamples": 50}
    page = markdown(rows, facts)
    assert "# Comparison on parts" in page
    assert f"| line3 | {100 * (rows[0].mean.image_auroc or 0):.1f} |" in page
    assert r"| a\|b | +" in page
    assert "10 normal and 10 anomalous test images" in page
