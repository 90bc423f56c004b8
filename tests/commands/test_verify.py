"""`clipada verify`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clipada import verify
from clipada.errors import RunError
from clipada.runs import ADAPTER, CALIBRATION, CARD, CONFIG, INPUT_CHECK, MANIFEST, PLAN, find_manifest, read_run
from folder_hub import FolderHub
from run_folders import said, unseal

Clipada = Callable[..., tuple[int, str, str]]


def test_a_sealed_run_is_verified(clipada: Clipada, finished_run: Path) -> None:
    code, out, err = clipada("verify", finished_run)
    assert code == 0
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        *(ADAPTER, CONFIG, INPUT_CHECK, "prototypes.safetensors", "training-images.sha256")
    ]
    assert all(": unchanged; " in line for line in out.splitlines())
    manifest = find_manifest(finished_run)
    assert manifest is not None
    assert f"manifest: sha256 {manifest.sha256}" in err
    assert "5 files, all as the run was sealed" in err
    assert f"manifest: sha256 {manifest.sha256}" in clipada("info", finished_run)[1]


def test_every_kind_of_difference_is_in_the_table(clipada: Clipada, run_folder: Path) -> None:
    (run_folder / CONFIG).write_text((run_folder / CONFIG).read_text().replace("0", "1", 1))
    (run_folder / ADAPTER).unlink()
    (run_folder / CALIBRATION).write_text("{}")
    (run_folder / "prototypes.safetensors").unlink()
    (run_folder / "prototypes.safetensors").symlink_to("gone")
    code, out, _ = clipada("verify", run_folder)
    assert code == 1
    found = {line.partition(": ")[0]: line.partition(": ")[2].partition(";")[0] for line in out.splitlines()}
    assert found == {
        ADAPTER: "missing",
        CALIBRATION: "added",
        CONFIG: "changed",
        INPUT_CHECK: "unchanged",
        "prototypes.safetensors": "dangling link",
        "training-images.sha256": "unchanged",
    }


def test_a_change_is_accepted_on_request(clipada: Clipada, run_folder: Path) -> None:
    content = json.loads((run_folder / CONFIG).read_text())
    content["training"]["data"] = "/moved"
    (run_folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(RunError, match="is not the file that the run was sealed with"):
        read_run(run_folder)
    code, out, err = clipada("verify", run_folder, "--seal")
    assert code == 0
    assert "config.json: changed; " in out
    assert "4 files as before, 1 accepted as they are now" in err
    assert read_run(run_folder).training.data == "/moved"
    assert clipada("verify", run_folder)[0] == 0


def test_a_run_of_an_earlier_version_is_sealed_on_request(clipada: Clipada, run_folder: Path) -> None:
    unseal(run_folder)
    code, out, err = clipada("verify", run_folder)
    assert code == 1
    assert "adapter.safetensors: not sealed" in out
    assert f"next: clipada verify {run_folder} --seal" in err
    assert clipada("verify", run_folder, "--seal")[0] == 0
    assert verify(run_folder).intact


@pytest.mark.parametrize("content", ["", "[]", '{"format": 9, "files": {}}', '{"format": 1, "files": {"x": 3}}'])
def test_a_damaged_manifest_can_be_written_again(clipada: Clipada, run_folder: Path, content: str) -> None:
    (run_folder / MANIFEST).write_text(content)
    code, _, err = clipada("verify", run_folder)
    assert code == 2
    assert str(run_folder / MANIFEST) in err
    assert "clipada verify RUN --seal" in err
    assert clipada("verify", run_folder, "--seal")[0] == 0
    assert verify(run_folder).intact


def test_what_is_no_run_is_not_sealed(clipada: Clipada, run_folder: Path, tmp_path: Path) -> None:
    for words in ((), ("--seal",)):
        code, _, err = clipada("verify", tmp_path / "nowhere", *words)
        assert code == 2
        assert "no run in" in err
    (run_folder / CALIBRATION).write_text("{}")
    code, _, err = clipada("verify", run_folder, "--seal")
    assert (code, "calibration.json" in err) == (2, True)
    (run_folder / CALIBRATION).unlink()
    (run_folder / CONFIG).write_text("{")
    assert clipada("verify", run_folder, "--seal")[0] == 2


def test_an_unfinished_training_is_not_sealed(run_folder: Path) -> None:
    (run_folder / MANIFEST).unlink()
    (run_folder / PLAN).write_text("{}")
    for seal in (False, True):
        with pytest.raises(RunError) as caught:
            verify(run_folder, seal=seal)
        assert "clipada train --resume --out" in said(caught.value)


def test_a_run_of_the_hub_is_verified(hub: FolderHub, clipada: Clipada, run_folder: Path, tmp_path: Path) -> None:
    """A push seals what it uploads; a later one leaves no file of an earlier one."""
    from clipada import push_to_hub
    from clipada.runs import seal

    (run_folder / "exports" / "onnx-fp32").mkdir(parents=True)
    (run_folder / "exports" / "onnx-fp32" / "graph.onnx").write_text("a graph")
    seal(run_folder)
    push_to_hub(run_folder, "plant/line3", exports=True)
    assert "exports/onnx-fp32/graph.onnx" in {one.name for one in verify("plant/line3").files}
    push_to_hub(run_folder, "plant/line3")
    assert clipada("verify", "plant/line3")[0] == 0
    code, _, err = clipada("verify", "plant/line3", "--seal")
    assert (code, "is on the hub" in err) == (2, True)
    (run_folder / CARD).write_text("ours")
    (run_folder / ADAPTER).write_bytes((run_folder / ADAPTER).read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match=r"adapter.safetensors is not the file"):
        push_to_hub(run_folder, "plant/line3")
