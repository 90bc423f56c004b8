"""A cluster says what one machine says."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clipada import predict, save_pretrained
from clipada.config import PredictConfig, Shard
from clipada.errors import RunError
from command_line import process
from tiny import save

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    """Ray on this machine."""
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="WARNING")
    yield ray
    ray.shutdown()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty images in two folders, one of them damaged."""
    rng = np.random.default_rng(3)
    for index in range(40):
        path = tmp_path / "photos" / ("a", "b")[index % 2] / f"{index:02}.png"
        save(path, rng.integers(0, 256, (20, 24, 3), dtype=np.uint8) // np.uint8(index % 5 + 1))
    (tmp_path / "photos" / "a" / "06.png").write_bytes(b"")
    return tmp_path / "photos"


def lines(path: Path) -> list[dict[str, object]]:
    """The records of a file, without what differs from one time to the next."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: record[name] for name in record if name not in ("time", "latency_ms")} for record in records]


@pytest.mark.slow
def test_ray_writes_what_one_machine_writes(
    ray: object, clipada: Command, finished_run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tasks of 16 batches each: same batches, same pictures, and the same lines in the same order."""
    monkeypatch.chdir(tmp_path)
    here, there = tmp_path / "here", tmp_path / "there"
    list(predict(finished_run, "photos", here, PredictConfig(batch_size=2), device="cpu"))
    words = ("--ray", "--batch-size", 2, "--device", "cpu")
    code, out, err = clipada("predict", finished_run, "photos", "--out", "there", *words)
    assert code == 0, err
    assert len(out.splitlines()) == 40
    expected, found = lines(here / "predictions.jsonl"), lines(there / "predictions.jsonl")
    assert [record["path"] for record in found] == [record["path"] for record in expected]
    for theirs, ours in zip(found, expected, strict=True):
        if "error" in ours:
            assert "an empty file" in str(theirs["error"])
        else:
            assert theirs["score"] == pytest.approx(ours["score"], abs=1e-6)
            assert {**theirs, "score": 0, "map": 0, "regions": 0} == {**ours, "score": 0, "map": 0, "regions": 0}
    pictures = {path.relative_to(here) for path in here.rglob("*.png")}
    assert pictures == {path.relative_to(there) for path in there.rglob("*.png")}
    assert len(pictures) == 2 * 39
    again = clipada("predict", finished_run, "photos", "--out", "there", *words, "--skip-done")
    assert len(again[1].splitlines()) == 1  # the damaged one


@pytest.mark.slow
def test_errors_of_other_machines_are_raised_here(ray: object, run_folder: Path, photos: Path, tmp_path: Path) -> None:
    from clipada import predict_on_ray

    settings = PredictConfig(shard=Shard(number=1, count=2))
    (run_folder / "adapter.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"adapter.safetensors is not the file that the run was sealed with"):
        list(predict_on_ray(run_folder, photos, tmp_path / "out", settings, device="cpu"))


@pytest.mark.slow
def test_a_run_of_the_hub_is_inspected_on_ray(
    run_folder: Path, clip_folder: Path, photos: Path, tmp_path: Path
) -> None:
    """The actors, processes of their own, find the run by its name in the hub's cache, without a network."""
    pytest.importorskip("ray.data")
    repository = tmp_path / "hf" / "hub" / "models--plant--line3"
    commit = "0" * 40
    save_pretrained(run_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    words = ("--out", tmp_path / "out", "--ray", "--backbone", clip_folder, "--device", "cpu")
    with process("predict", "plant/line3", photos, *words, env=environment) as running:
        out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err
    records = [json.loads(line) for line in out.splitlines()]
    assert len(records) == 40
    assert {record["model"]["run"] for record in records if "error" not in record} == {"plant/line3"}
    assert len(list((tmp_path / "out").rglob("*.overlay.png"))) == 39


@pytest.mark.parametrize(
    ("words", "said"), [(["--out", "out", "--database", "sqlite:///x.db"], "--database"), ([], "pass --out DIR")]
)
def test_what_a_cluster_cannot_do_is_said(
    clipada: Command, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = clipada("predict", finished_run, finished_run.parent, "--ray", *words)
    assert (code, said in err) == (2, True), err
