"""Tables in terminals of different widths: no name is broken within a word, no number is cut."""

import io

import pytest
from rich.console import Console

from clipada.cli.tables import Column, print_kinds_table, print_metrics_table, print_table, short_path, wrapped_name
from clipada.evaluation.kinds import KindCount
from clipada.evaluation.metrics import CategoryMetrics


def metrics(value: float) -> CategoryMetrics:
    shares = dict.fromkeys(
        ["image_auroc", "pixel_auroc", "pixel_ap", "aupro", "image_ap", "image_f1_max", "pixel_f1_max"], value
    )
    return CategoryMetrics(**shares, n_normal=20, n_anomalous=63)  # type: ignore[arg-type]


def printed(width: int) -> Console:
    return Console(width=width, file=io.StringIO())


def lines(console: Console) -> list[str]:
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 60])
def test_metrics_keep_their_names_and_numbers(width: int) -> None:
    console = printed(width)
    categories = {"magnetic_tile": metrics(1.0), "metal_nut_of_the_second_line": metrics(0.5)}
    print_metrics_table(console, categories, "pass 0")
    shown = lines(console)
    assert all(len(line) <= width for line in shown)
    names = [line.split()[0] for line in shown[2:] if not line.startswith(("mean", "left out"))]
    assert "".join(names) == "magnetic_tilemetal_nut_of_the_second_line"
    assert all(name.endswith(("_", "tile", "line")) for name in names)  # broken between words alone
    assert sum("100.0  100.0  100.0" in line for line in shown) == 1
    assert [line.split()[-2:] for line in shown if line.startswith("mean")] == [["40", "126"]]
    left_out = [line for line in shown if line.startswith("left out of 60 columns: ")]
    assert len(left_out) == (width == 60)


def test_kinds_of_defects_with_their_totals() -> None:
    kinds = [
        KindCount(category="magnetic_tile", kind="blow_hole", images=8, defective=6),
        KindCount(category="magnetic_tile", kind="good", images=20, defective=1),
    ]
    console = printed(60)
    print_kinds_table(console, kinds, "decisions")
    rows = [line.split() for line in lines(console)]
    assert ["magnetic_tile", "blow_hole", "8", "6", "2", "–"] in rows
    assert ["magnetic_tile", "good", "20", "–", "–", "1"] in rows
    assert rows[-1] == ["all", "28", "6", "2", "1"]


def test_the_least_important_column_goes_first() -> None:
    console = printed(23)
    columns = [Column(head="name", name=True), Column(head="a" * 8, spare=1), Column(head="b" * 8, spare=2)]
    print_table(console, columns, [["part", "1", "2"]])
    assert lines(console) == ["name  aaaaaaaa", "part         1", "left out of 23 columns:", "bbbbbbbb"]


def test_names_are_wrapped_between_words() -> None:
    assert wrapped_name("magnetic_tile", 12) == ["magnetic_", "tile"]
    assert wrapped_name("magnetic_tile", 13) == ["magnetic_tile"]
    assert wrapped_name("of all images", 7) == ["of all", "images"]
    assert wrapped_name("kapselhalterung", 9) == ["kaps…rung"]
    assert wrapped_name("日本語の部品", 8) == ["日本…品"]
    assert wrapped_name("", 8) == [""]


def test_paths_keep_their_end() -> None:
    assert short_path("bottle/test/broken_large/000.png", 40) == "bottle/test/broken_large/000.png"
    assert short_path("bottle/test/broken_large/000.png", 24) == "…/broken_large/000.png"
    assert short_path("bottle/camera-2026-11-28-000017.png", 15) == "camera-…017.png"
