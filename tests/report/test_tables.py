"""Tables of metrics: sPRO has a column where it is defined, and nowhere else."""

from __future__ import annotations

import pytest

from clipada.evaluation.metrics import CategoryMetrics, mean_metrics
from clipada.report.tables import metric_columns, metrics_markdown, metrics_rows


def metrics(spro: float | None = None) -> CategoryMetrics:
    shares = ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "image_ap", "image_f1_max", "pixel_f1_max")
    return CategoryMetrics(**dict.fromkeys(shares, 0.5), n_normal=3, n_anomalous=2, spro=spro)


@pytest.mark.parametrize(("values", "mean"), [((None, 0.25), "25.0"), ((0.75, 0.25), "50.0")])
def test_spro_stands_behind_aupro_with_a_dash_where_a_category_has_none(
    values: tuple[float | None, ...], mean: str
) -> None:
    categories = {f"part{index}": metrics(value) for index, value in enumerate(values)}
    columns = list(metric_columns(categories.values()))
    place = columns.index("sPRO")
    assert columns[place - 1] == "AUPRO"
    first, second, last = metrics_rows(categories, mean_metrics(categories.values()))
    assert first[1 + place] == ("–" if values[0] is None else "75.0")
    assert (second[1 + place], last[1 + place]) == ("25.0", mean)
    lines = metrics_markdown(categories, mean_metrics(categories.values())).splitlines()
    assert {line.count("|") for line in lines} == {len(columns) + 2}


def test_without_saturation_there_is_no_column() -> None:
    categories = {"part": metrics()}
    assert "sPRO" not in metrics_markdown(categories, mean_metrics(categories.values()))
    assert "spro" not in mean_metrics(categories.values()).to_dict()
