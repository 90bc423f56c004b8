"""The file of a calibration: what is in it comes back, and damage is an error that names file and field."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings

from clipada.calibration import Calibration, CalibrationImage, find_calibration, read_calibration, write_calibration
from clipada.config import CalibrationConfig
from clipada.errors import CalibrationError, ClipAdaError
from clipada.runs import CALIBRATION
from damaged import DEEP, json_bytes

WHOLE = Calibration(
    settings=CalibrationConfig(false_alarm_rate=0.25, mode="marginal", per="product"),
    images=tuple(
        CalibrationImage(sha256=f"{index:064x}", score=index / 16, peak=index / 8, group="disc" if index % 2 else None)
        for index in range(8)
    ),
    rejected=(CalibrationImage(sha256="f" * 64, score=0.9, peak=0.95),),
    model_sha256="a" * 64,
    engine="torch fp32",
    created="2026-01-01T00:00:00+00:00",
    command="clipada calibrate line3 parts",
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the tests of this module overwrite."""
    return tmp_path_factory.mktemp("calibration") / CALIBRATION


@given(content=json_bytes(WHOLE.to_dict()))
@settings(max_examples=300, deadline=None)
def test_any_content_is_a_calibration_or_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        found = read_calibration(path)
        assert found.p_value(0.5, "disc") > 0
    except ClipAdaError as error:
        assert isinstance(error, CalibrationError)  # noqa: PT017 - most examples fail, some do not
        assert str(path) in error.what  # noqa: PT017
        assert error.remedy  # noqa: PT017


def test_what_was_written_is_read(path: Path) -> None:
    write_calibration(path, WHOLE)
    assert read_calibration(path) == find_calibration(path) == WHOLE


def test_a_wrong_field_is_named(path: Path) -> None:
    content = json.loads(json.dumps(WHOLE.to_dict()))
    content["images"][2]["score"] = "0.5"
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=r"field images\[2\].score .*\n  expected: float\n  got: '0.5'"):
        read_calibration(path)


def test_deep_nesting_is_an_error(path: Path) -> None:
    path.write_text('{"format": 1, "images": ' + DEEP + "}")
    with pytest.raises(CalibrationError, match="nested too deeply"):
        read_calibration(path)


def test_without_a_file_there_is_no_calibration(tmp_path: Path) -> None:
    assert find_calibration(tmp_path / CALIBRATION) is None


def test_a_link_to_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Without one, parts would be inspected without the guarantee, unnoticed."""
    link = tmp_path / CALIBRATION
    link.symlink_to(tmp_path / "stored.json")
    with pytest.raises(CalibrationError, match="link to a file that is missing") as caught:
        find_calibration(link)
    assert str(link) in caught.value.what
    assert str(tmp_path / "stored.json") in str(caught.value.got)
    write_calibration(tmp_path / "stored.json", WHOLE)
    assert find_calibration(link) == WHOLE


def test_no_command_ignores_a_link_to_a_missing_file(
    run_folder: Path, finished_run: Path, clipada: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    (run_folder / CALIBRATION).symlink_to(tmp_path / "gone.json")
    image = finished_run.parent / "products" / "disc" / "test" / "good" / "000.png"
    for words in (["predict", run_folder, image], ["calibrate", run_folder], ["info", run_folder]):
        code, out, err = clipada(*words)
        assert (code, "link to a file that is missing" in " ".join(err.split()), out) == (2, True, "")
