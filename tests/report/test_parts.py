"""Lines that a report reads: whatever is in them, they give parts or an error that names file, line and field."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from clipada.errors import ClipAdaError, ImageError
from clipada.report.basis import Basis
from clipada.report.chapters import write_chapters
from clipada.report.decisions import decision_table
from clipada.report.headline import write_headline
from clipada.report.parts import Parts, ScoredPart
from clipada.report.reading import read_scores, read_verdicts
from clipada.runs import CONFIG, METRICS, SCORES, read_run
from clipada.types import Failure
from damaged import DEEP, json_bytes
from run_folders import unseal

PREDICTED = {
    "path": "parts/000.png",
    "score": 0.25,
    "p_value": 0.5,
    "score_threshold": 0.75,
    "defective": False,
    "group": None,
    "threshold": 0.5,
    "regions": [{"box": [0, 0, 4, 4], "area": 9}],
    "calibration": "0123456789ab",
    "model": {"run": "line3", "sha256": "a" * 64, "engine": "torch fp32"},
}
TESTED = {
    "path": "000.png",
    "mask": "000_mask.png",
    "category": "disc",
    "defect": "scratch",
    "scores": [0.5, None, 0.25],
}
SOUND = json.dumps(PREDICTED | {"score": 0.5}).encode()


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the tests of this module overwrite."""
    return tmp_path_factory.mktemp("lines") / "predictions.jsonl"


@pytest.fixture(scope="module")
def evaluated(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder whose scores the tests of this module overwrite."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "evaluation").mkdir()
    for name in (CONFIG, "adapter.safetensors", "prototypes.safetensors"):
        (folder / name).write_bytes((finished_run / name).read_bytes())
    unseal(folder)
    values: dict[str, Any] = dict.fromkeys(
        ("image_auroc", "pixel_auroc", "pixel_ap", "aupro", "image_ap", "image_f1_max", "pixel_f1_max"), 0.5
    )
    values |= {"n_normal": 2, "n_anomalous": 1}
    protocol = {"data": "parts", "image_size": 32, "masks": "nearest", "aupro_fpr_limit": 0.3, "left_out": []}
    content = {"protocol": protocol, "categories": {"disc": values}, "mean": values}
    (folder / METRICS).write_text(json.dumps(content))
    return folder


def laid_out(parts: Parts) -> None:
    """Lay out the chapters of a report whose images are missing."""

    def inspect(paths: Iterable[Path]) -> Iterator[Failure]:
        for path in paths:
            with suppress(OSError), path.open():
                pass
            yield Failure(path=path, error=ImageError("it is missing"))

    assert write_chapters(parts.scored, inspect)
    assert write_headline(parts, Basis()).figures
    assert (decision_table(parts) is not None) == parts.decided
    assert {(part.calibration, part.engine) for part in parts.scored}
    assert all(f"{share:.3g}" for part in parts.scored for share in part.shares.values())


@given(content=json_bytes(PREDICTED))
@settings(max_examples=300, deadline=None)
def test_any_line_of_a_prediction_is_a_part_or_an_error(lines: Path, content: bytes) -> None:
    lines.write_bytes(SOUND + b"\n" + content.replace(b"\n", b" ") + b"\n")
    try:
        laid_out(read_verdicts([lines]))
    except ClipAdaError as error:
        assert str(lines) in error.what  # noqa: PT017 - most examples fail, some do not
        assert error.remedy  # noqa: PT017


@given(content=json_bytes(TESTED))
@settings(max_examples=300, deadline=None)
def test_any_line_of_an_evaluation_is_a_part_or_an_error(evaluated: Path, content: bytes) -> None:
    whole = json.dumps(TESTED).encode()
    (evaluated / SCORES).write_bytes(whole + b"\n" + content.replace(b"\n", b" ") + b"\n")
    try:
        laid_out(read_scores(read_run(evaluated)))
    except ClipAdaError as error:
        assert str(evaluated / SCORES) in error.what  # noqa: PT017
        assert error.remedy  # noqa: PT017


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": 10**400}, ["line 2: field score is of the wrong type", "expected: float", "got: 1000000"]),
        ({"score": "0.5"}, ["line 2: field score is of the wrong type", "expected: float", "got: '0.5'"]),
        ({"score": 1e300}, ["line 2: field score is out of range", "expected: 0 to 1", "got: 1e+300"]),
        ({"score_threshold": float("inf")}, ["line 2: field score_threshold is out of range", "got: inf"]),
        ({"threshold": float("nan")}, ["line 2: field threshold is out of range", "got: nan"]),
        ({"p_value": [0.5]}, ["line 2: field p_value is of the wrong type", "got: [0.5]"]),
        ({"calibration": {"id": 1}}, ["line 2: field calibration is of the wrong type", "expected: str", "got: {'id'"]),
        ({"model": {"engine": None}}, ["line 2: field model.engine is of the wrong type", "got: None"]),
        ({"regions": 3}, ["line 2: field regions is of the wrong type", "got: 3"]),
        ({"path": "a\0b"}, ["line 2: field path is of the wrong type", "expected: Path"]),
        ({"p_value": 7.0}, ["line 2: field p_value is out of range", "expected: 0 to 1", "got: 7.0"]),
        ({"width": 0, "height": 40}, ["line 2: field width is out of range", "expected: 1 or more pixels", "got: 0"]),
        ({"height": -40}, ["line 2: field height is out of range", "got: -40"]),
        ({"latency_ms": -1.0}, ["line 2: field latency_ms is out of range", "got: -1.0"]),
        ({"latency_ms": float("nan")}, ["line 2: field latency_ms is out of range", "got: nan"]),
        ({"time": "yesterday"}, ["line 2: field time is out of range", "ISO 8601", "got: 'yesterday'"]),
        ({"time": "2026-13-45T00:00:00+00:00"}, ["line 2: field time is out of range"]),
        ({"decision": "bad"}, ["line 2: field decision is of the wrong type", "got: 'bad'"]),
        (
            {"decision": "defective"},
            ["line 2: field decision is out of range", "expected: good, by score"],
        ),
        ({"defective": True}, ["line 2: field defective is out of range", "expected: False, by score and threshold"]),
        ({"width": 3, "height": 3}, ["line 2: field regions[0].box is out of range", "inside the image, 3 x 3 pixels"]),
        ({"regions": [{"box": [4, 0, 4, 4]}]}, ["line 2: field regions[0].box is out of range", "got: (4, 0, 4, 4)"]),
        ({"regions": [{"box": [0, 0, 4, 4], "area": 17}]}, ["line 2: field regions[0].area", "expected: 1 to 16"]),
        ({"regions": ["left"]}, ["line 2: field regions[0] is of the wrong type", "got: 'left'"]),
        ({"error": ["no image"]}, ["line 2: field error is of the wrong type", "expected: str", "got: ['no image']"]),
    ],
)
def test_a_wrong_field_is_named(lines: Path, change: dict[str, object], said: list[str]) -> None:
    lines.write_text(f"{SOUND.decode()}\n{json.dumps(PREDICTED | change)}\n")
    with pytest.raises(ClipAdaError) as caught:
        read_verdicts([lines])
    for part in (str(lines), *said):
        assert part in str(caught.value)


@pytest.mark.parametrize("line", [DEEP, '{"path": ' + DEEP + "}", "[1, 2]", "3", '"error"', "{}"])
def test_a_line_of_another_form_is_an_error(lines: Path, line: str) -> None:
    lines.write_text(f"{SOUND.decode()}\n{line}\n")
    with pytest.raises(ClipAdaError, match="line 2"):
        read_verdicts([lines])


def test_whole_lines_are_read(lines: Path, evaluated: Path) -> None:
    failed = json.dumps({"path": "gone.png", "error": "it is  missing\n  remedy: none"})
    infinite = json.dumps(PREDICTED | {"score": float("inf")})
    lines.write_text(f"{json.dumps(PREDICTED | {'later': 1})}\n\n{failed}\n{infinite}\n")
    parts = read_verdicts([lines])
    assert parts.left_out == ("it is missing remedy: none", "the score of parts/000.png is not finite")
    assert parts.scored == (
        ScoredPart(
            path=Path("parts/000.png"),
            category="",
            score=0.25,
            threshold=0.5,
            regions=1,
            score_threshold=0.75,
            shares={"p": 0.5},
            calibration="0123456789ab",
            engine="torch fp32",
        ),
    )
    (evaluated / SCORES).write_text(json.dumps(TESTED | {"anomalous": True}))
    assert read_scores(read_run(evaluated)).scored == (
        ScoredPart(path=Path("000.png"), category="disc", score=0.25, defect="scratch", masks=(Path("000_mask.png"),)),
    )


def test_an_image_with_several_lines_counts_once_with_the_last(lines: Path) -> None:
    """A file written twice by `>>`, or an image inspected again after a calibration."""
    first = PREDICTED | {"image_sha256": "a" * 64, "score": 0.2}
    again = first | {"score": 0.3}
    other = PREDICTED | {"image_sha256": "b" * 64}  # another image under the same name
    unnamed = PREDICTED | {"path": None}
    written = [first, other, first, again, unnamed, unnamed]
    lines.write_text("".join(json.dumps(line) + "\n" for line in written))
    parts = read_verdicts([lines])
    assert [part.score for part in parts.scored] == [0.25, 0.3, 0.25, 0.25]
    assert parts.left_out == ("parts/000.png has a later line, which counts",) * 2
    lines.write_text(json.dumps(first) + "\n")
    more = lines.with_name("more.jsonl")
    more.write_text(json.dumps(again) + "\n")
    assert [part.score for part in read_verdicts([lines, more]).scored] == [0.3]


def test_a_test_image_that_is_there_twice_counts_once(evaluated: Path) -> None:
    (evaluated / SCORES).write_text(2 * (json.dumps(TESTED) + "\n"))
    parts = read_scores(read_run(evaluated))
    assert len(parts.scored) == 1
    assert parts.left_out == ("000.png has a later line, which counts",)
