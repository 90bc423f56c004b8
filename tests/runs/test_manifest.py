"""The sealed run folder: every file that decides a verdict is the one in the manifest, or the run is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipada import Inspector, calibrate
from clipada.config import CalibrationConfig, HistoryConfig
from clipada.errors import ClipAdaError, RunError
from clipada.files import write_json
from clipada.history.store import History
from clipada.inspection.record import verdict_record
from clipada.runs import (
    ADAPTER,
    CALIBRATION,
    CONFIG,
    INPUT_CHECK,
    MANIFEST,
    PLAN,
    PROTOTYPES,
    TRAINED_ON,
    find_manifest,
    read_run,
)
from damaged import json_bytes
from run_folders import said, unseal

HALF = CalibrationConfig(false_alarm_rate=0.5, confidence=0.5)
DESCRIPTION, GRAPH = "exports/onnx-fp32/export.json", "exports/onnx-fp32/graph.onnx"
FILES = (CONFIG, ADAPTER, PROTOTYPES, INPUT_CHECK, TRAINED_ON, CALIBRATION, DESCRIPTION, GRAPH)


@pytest.fixture(scope="module")
def whole(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated run with exports, and the product that it is calibrated on. To be read only."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("whole") / "line3")
    products = Path(read_run(folder).training.data)
    calibrate(folder, [products / name / "test" / "good" for name in ("plate", "disc")], HALF, device="cpu")
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return shutil.copytree(whole, tmp_path / "copied")


def edited(path: Path) -> None:
    """Change one character and no size: a digit, which leaves JSON whole, or the last byte."""
    content = path.read_bytes()
    place = next((i for i in range(len(content) - 1, 0, -1) if chr(content[i]).isdigit()), len(content) - 1)
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


def load(folder: Path, engine: str) -> Inspector:
    return Inspector.load(folder, engine=engine, device="cpu")


# --- what is refused


@pytest.mark.parametrize("change", [edited, Path.unlink, dangling, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_that_decides_is_refused(copied: Path, name: str, change: Callable[[Path], object]) -> None:
    """By the engine that reads it; only what no verdict of an engine depends on may differ in its bytes there."""
    change(copied / name)
    readers = {PROTOTYPES: ["torch"], DESCRIPTION: ["onnx"], GRAPH: ["onnx"]}.get(name, ["torch", "onnx"])
    for engine in readers:
        if name == TRAINED_ON and change is edited:
            with pytest.raises(RunError) as caught:
                assert read_run(copied).training_sha256s
        else:
            with pytest.raises(ClipAdaError) as caught:
                load(copied, engine)
        assert name.rpartition("/")[2] in said(caught.value)
        assert caught.value.expected


@pytest.mark.parametrize("name", [CALIBRATION, "exports/onnx-int8/export.json"])
def test_an_added_file_that_decides_is_refused(run_folder: Path, whole: Path, name: str) -> None:
    (run_folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(whole / name.replace("int8", "fp32"), run_folder / name)
    with pytest.raises(RunError, match=f"{name} was added after the run was sealed") as caught:
        load(run_folder, "torch")
    assert caught.value.expected == "no such file"
    assert f"clipada verify {run_folder} --seal" in said(caught.value)


def test_an_edited_grid_is_refused_without_torch(copied: Path) -> None:
    """On a base install, where nothing else would notice it."""
    content = json.loads((copied / DESCRIPTION).read_text())
    content["cold_below"] = 1.0
    (copied / DESCRIPTION).write_text(json.dumps(content))
    script = (
        "import sys; sys.modules.update(torch=None, transformers=None)\n"
        f"from clipada import Inspector; Inspector.load({str(copied)!r}, engine='onnx', device='cpu')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert f"{DESCRIPTION} is not the file that the run was sealed with" in done.stderr


@pytest.mark.parametrize("plan", [False, True])
def test_a_missing_manifest_is_noticed(run_folder: Path, plan: bool) -> None:
    """A run of this version has one: it was deleted, or the training was killed before it was written."""
    (run_folder / MANIFEST).unlink()
    if plan:
        (run_folder / PLAN).write_text("{}")
    with pytest.raises(RunError, match="is incomplete") as caught:
        read_run(run_folder)
    remedy = "clipada train --resume --out" if plan else "copy the whole run folder again"
    assert remedy in said(caught.value)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_manifest_is_read_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    entry = {"sha256": "a1" * 32, "size": 7}
    content = {"format": 1, "files": {CONFIG: entry, ADAPTER: entry}, "next": {CONFIG: None, ADAPTER: entry}}
    (folder / MANIFEST).write_bytes(data.draw(json_bytes(content)))
    try:
        found = find_manifest(folder)
    except ClipAdaError as error:
        assert str(folder / MANIFEST) in error.what  # noqa: PT017
        assert error.remedy  # noqa: PT017
    else:
        assert found is not None
        assert len(found.sha256) == 64


@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "a/../../b", "", "C:\\run", "a\0b"])
def test_a_manifest_names_no_file_outside(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / MANIFEST, {"format": 1, "files": {name: {"sha256": "a1" * 32, "size": 7}}})
    with pytest.raises(RunError, match="names relative to the run folder"):
        find_manifest(tmp_path)


# --- what is not


def test_a_moved_run_of_links_is_the_same(copied: Path, tmp_path: Path) -> None:
    """As the hub's cache keeps it: a folder of links to files of other names."""
    before = load(copied, "torch").model
    moved = tmp_path / "elsewhere" / "renamed"
    for path in [path for path in copied.rglob("*") if path.is_file()]:
        stored = tmp_path / "blobs" / sha256(str(path).encode()).hexdigest()
        stored.parent.mkdir(exist_ok=True)
        link = moved / path.relative_to(copied)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(stored)
        link.symlink_to(stored)
    for engine in ("torch", "onnx"):
        model = load(moved, engine).model
        assert before is not None
        assert model is not None
        assert (model.sha256, model.manifest_sha256) == (before.sha256, before.manifest_sha256)


def test_other_files_of_a_run_may_change(copied: Path) -> None:
    (copied / "README.md").write_text("ours, at line 3")
    (copied / "notes.txt").write_text("x")
    (copied / "exports" / "parity.json").unlink()
    (copied / "exports" / ".onnx-int8.part").mkdir()
    (copied / "exports" / ".onnx-int8.part" / "graph.onnx").write_text("of a killed export")
    for engine in ("torch", "onnx"):
        load(copied, engine)


def test_a_run_that_is_not_sealed_loads_with_one_warning(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    unseal(copied)
    for _ in range(2):
        inspector = load(copied, "onnx")
    assert [record.message for record in caplog.records if "not sealed" in record.message] == [
        f"run {copied} is not sealed, so a changed or missing file would not be noticed: "
        f"seal it with `clipada verify {copied} --seal`"
    ]
    assert inspector.model is not None
    assert inspector.model.manifest_sha256 is None


def test_a_writer_accepts_no_change_of_another_file(copied: Path) -> None:
    edited(copied / DESCRIPTION)
    calibrate(copied, settings=CalibrationConfig(false_alarm_rate=0.4, confidence=0.5))
    with pytest.raises(RunError, match=DESCRIPTION):
        load(copied, "onnx")


def test_a_writer_seals_a_run_of_an_earlier_version(copied: Path) -> None:
    unseal(copied)
    calibrate(copied, settings=CalibrationConfig(false_alarm_rate=0.4, confidence=0.5))
    found = find_manifest(copied)
    assert found is not None
    assert set(FILES) < set(found.files)


# --- what a verdict says


def test_a_verdict_names_the_manifest(copied: Path, photos: list[Path], tmp_path: Path) -> None:
    verdict = load(copied, "onnx").inspect(photos[0])
    manifest = sha256((copied / MANIFEST).read_bytes()).hexdigest()
    assert verdict_record(verdict)["model"]["manifest_sha256"] == manifest
    with History(HistoryConfig(database=f"sqlite:///{tmp_path / 'history.db'}")) as history:
        history.store([verdict])
        assert [entry.manifest_sha256 for entry in history.entries()] == [manifest]
        with (tmp_path / "all.csv").open("w") as file:
            history.export_csv(file)
    assert manifest in (tmp_path / "all.csv").read_text()
    calibrate(copied, settings=CalibrationConfig(false_alarm_rate=0.4, confidence=0.5))
    model = load(copied, "onnx").model
    assert model is not None
    assert model.manifest_sha256 not in (None, manifest)
