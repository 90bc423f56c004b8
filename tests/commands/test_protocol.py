"""The test protocol of a run: criteria before the test, numbers of parts with a second source, no claim too many."""

from pathlib import Path

import pytest
from scipy import stats

import clipada
from clipada.config import CalibrationConfig, ProtocolConfig
from clipada.errors import ConfigError
from clipada.report.blocks import Grid, Section, Steps, to_html, to_markdown
from clipada.runs import read_run
from tiny import write_good_parts


def test_it_says_what_is_tested_and_asks_for_signatures_before_the_test(run_folder: Path, tmp_path: Path) -> None:
    path = clipada.protocol(run_folder, tmp_path / "protocol.md")
    text = path.read_text()
    run = read_run(run_folder)
    assert run.model_sha256 in text
    assert "plate, disc" in text or "disc, plate" in text
    assert "none: nothing can be tested before `clipada calibrate`" in text
    order = ["Acceptance criteria, signed before", "Independent data", "Procedure", "Record sheet", "What was measured"]
    assert [text.index(title) for title in order] == sorted(text.index(title) for title in order)
    assert text.index("criteria fixed by") < text.index("## 3.")
    assert "--out protocol-test`" in text
    other = clipada.protocol(run_folder, tmp_path / "other.md", engine="openvino", precision="int8").read_text()
    assert "--out protocol-test --engine openvino --precision int8`" in other
    assert "Evaluation: none. Which defects are found is not known." in text
    assert clipada.protocol(run_folder) == run_folder / "protocol.md"


def test_a_calibrated_run_is_held_to_its_own_rate(run_folder: Path, tmp_path: Path) -> None:
    parts = write_good_parts(tmp_path / "more" / "disc", 30, seed=5)
    settings = CalibrationConfig(false_alarm_rate=0.1)
    calibration = clipada.calibrate(run_folder, parts, settings, force=True, device="cpu").calibration
    text = clipada.protocol(run_folder, tmp_path / "protocol.md").read_text()
    assert "of good parts, at most 10 % are called defective, with 95 % confidence" in text
    assert calibration.id in text
    assert "| A: good parts | 29 | 46 | 61 |" in text


@pytest.mark.parametrize(("detection", "confidence"), [(0.95, 0.95), (0.9, 0.9), (0.99, 0.95)])
def test_the_numbers_of_parts_are_those_of_the_exact_binomial_bound(
    run_folder: Path, tmp_path: Path, detection: float, confidence: float
) -> None:
    settings = ProtocolConfig(detection=detection, confidence=confidence)
    text = clipada.protocol(run_folder, tmp_path / "protocol.md", settings).read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("| B: parts of each kind"))
    for wrong, cell in enumerate(line.split("|")[2:-1]):
        count = int(cell)
        chances = [stats.binom.cdf(wrong, number, 1 - detection) for number in (count - 1, count)]
        assert chances[1] <= 1 - confidence < chances[0]


def test_html_and_markdown_say_the_same(run_folder: Path, tmp_path: Path) -> None:
    html = clipada.protocol(run_folder, tmp_path / "protocol.html").read_text()
    assert html.startswith("<!doctype html>")
    assert "<h2>2. Acceptance criteria, signed before the test</h2>" in html
    assert "`" not in html
    with pytest.raises(ConfigError, match=r"\.md or \.html"):
        clipada.protocol(run_folder, tmp_path / "protocol.pdf")
    assert not (tmp_path / "protocol.pdf").exists()


def test_names_of_products_break_neither_form() -> None:
    sections = [
        Section(title="a <b>", blocks=("x & `y<z`", Grid(head=("a|b",), rows=(("<i>",),)), Steps(items=("1 < 2",))))
    ]
    assert to_markdown("t", sections) == "# t\n\n## 1. a <b>\n\nx & `y<z`\n\n| a\\|b |\n| --- |\n| <i> |\n\n1. 1 < 2\n"
    html = to_html("t", sections)
    assert "<td>&lt;i&gt;</td>" in html
    assert "<code>y&lt;z</code>" in html
