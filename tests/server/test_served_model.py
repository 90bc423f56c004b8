"""A server with a real run: its calibration and its drift watch."""

import io
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from callers import send, until
from clipada import Inspector, calibrate, undo_calibration
from clipada.calibration import Calibration, CalibrationImage, read_calibration, write_calibration
from clipada.config import CalibrationConfig, ScoringConfig
from clipada.errors import HistoryError
from clipada.runs import CALIBRATION, MANIFEST, SealedFile, changing, seal
from clipada.types import ModelIdentity
from stand_in import StandIn, Started, encoded
from tiny import write_good_parts


@pytest.fixture
def calibrated(run_folder: Path, tmp_path: Path) -> Path:
    """A run with a calibration on twelve parts."""
    write_good_parts(tmp_path / "parts", 12)
    calibrate(run_folder, tmp_path / "parts", CalibrationConfig(false_alarm_rate=0.2, confidence=0.8), device="cpu")
    return run_folder


def test_a_real_run_with_its_calibration(started: Started, calibrated: Path, tmp_path: Path) -> None:
    inspector = Inspector.load(calibrated, device="cpu")
    client = started(models={"line3": inspector})
    content = (tmp_path / "parts" / "003.png").read_bytes()
    received = send(client, content).json()
    expected = inspector.inspect(content)
    assert received["score"] == pytest.approx(expected.score, abs=1e-6)
    assert (received["defective"], received["calibration"]) == (expected.defective, inspector.calibration.id)
    about = client.get("/v1/models/line3").json()
    assert about["card"].startswith("# line3")
    assert about["calibration"]["pooled"]["thresholds"]["score"] == received["score_threshold"]
    curve = about["calibration"]["pooled"]["curve"]
    assert [point["rate_bound"] for point in curve] == sorted(point["rate_bound"] for point in curve)
    rank = about["calibration"]["pooled"]["thresholds"]["rank"]
    assert curve[rank - 1]["threshold"] == received["score_threshold"]
    assert curve[rank - 1]["rate_bound"] <= 0.2
    shown = client.get(f"/v1/verdicts/{received['id']}/map?kind=values")
    assert np.asarray(PIL.Image.open(io.BytesIO(shown.content))).max() / 65535 == pytest.approx(
        received["map"]["max"], abs=1e-4
    )
    assert len(client.get("/v1/verdicts").json()["verdicts"]) == 1  # showing its map stores nothing
    until(lambda: drift_of(client)["parts"] == 1)
    assert drift_of(client)["drifting"] is False
    metrics = client.get("/metrics").text
    result = "defective" if expected.defective else "good"
    assert f'clipada_images_total{{model="line3",result="{result}"}} 1.0' in metrics
    assert 'clipada_drift{group="",model="line3"} 0.0' in metrics


def test_a_new_calibration_counts_without_a_restart(
    started: Started, calibrated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = started(models={"line3": Inspector.load(calibrated, device="cpu")})
    content = (tmp_path / "parts" / "003.png").read_bytes()
    before = send(client, content).json()
    path = calibrated / CALIBRATION
    whole = path.read_text()

    path.write_text(whole[: len(whole) // 2])
    assert send(client, content).json()["calibration"] == before["calibration"]

    path.unlink()
    assert send(client, content).json()["calibration"] == before["calibration"]

    path.write_text(whole)
    old = read_calibration(path)
    new = old.with_guarantee(CalibrationConfig(false_alarm_rate=0.5, confidence=0.8))
    write_calibration(path, new)
    assert send(client, content).json()["calibration"] == before["calibration"]  # nobody sealed it
    assert f"{path} is not the file that the run was sealed with" in caplog.text

    write_calibration(path, old)
    with changing(calibrated, {CALIBRATION: SealedFile.of_json(new.to_dict())}):
        write_calibration(path, new)
    os.utime(path, ns=(1, 1))  # a clock that went back is no reason to miss it
    after = send(client, content).json()
    manifest = sha256((calibrated / MANIFEST).read_bytes()).hexdigest()
    assert after["model"] == before["model"] | {"manifest_sha256": manifest}
    assert before["model"]["manifest_sha256"] != manifest
    assert (after["calibration"], after["score_threshold"]) == (new.id, new.pooled.score)
    assert after["threshold"] == new.pooled.pixel
    until(lambda: client.get("/v1/models/line3").json()["calibration"]["id"] == new.id)


def test_an_undone_calibration_counts_without_a_restart(started: Started, calibrated: Path, tmp_path: Path) -> None:
    first = read_calibration(calibrated / CALIBRATION)
    calibrate(calibrated, settings=CalibrationConfig(false_alarm_rate=0.5, confidence=0.8))
    client = started(models={"line3": Inspector.load(calibrated, device="cpu")})
    content = (tmp_path / "parts" / "003.png").read_bytes()
    assert send(client, content).json()["calibration"] != first.id
    undo_calibration(calibrated)
    after = send(client, content).json()
    assert (after["calibration"], after["score_threshold"]) == (first.id, first.pooled.score)


def test_thresholds_of_another_engine_have_no_guarantee(started: Started, calibrated: Path) -> None:
    path = calibrated / CALIBRATION
    write_calibration(path, replace(read_calibration(path), engine="onnx int8"))
    seal(calibrated)
    client = started(models={"line3": Inspector.load(calibrated, device="cpu")})
    caveat = client.get("/v1/models/line3").json()["calibration"]["caveat"]
    assert (
        "calibrated with engine onnx int8, inspecting with torch fp32: the false-alarm rate is not guaranteed" in caveat
    )
    assert client.get("/v1/rates").json()["promised"] is None


def bright_calibration() -> Calibration:
    """As if made from parts that are brighter than those of the test."""
    scores = np.random.default_rng(0).uniform(0.3, 0.9, 200)
    images = tuple(
        CalibrationImage(sha256=f"{index:064}", score=float(score), peak=0.5) for index, score in enumerate(scores)
    )
    settings = CalibrationConfig(false_alarm_rate=0.05)
    return Calibration(
        settings=settings, images=images, model_sha256="a" * 64, engine="torch fp32", created="now", command="test"
    )


def drift_of(client: TestClient) -> dict[str, object]:
    """What the server says of it; nothing before a part was seen."""
    received = client.get("/v1/status").json()["models"][0]["drift"]
    return received[0] if received else {"parts": 0}


def test_drift_is_warned_of_and_goes_on_over_restarts(
    started: Started, engine: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelIdentity(run="line3", sha256="a" * 64, backbone_sha256="b" * 64, engine="torch fp32")

    def start() -> TestClient:
        inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=model, calibration=bright_calibration())
        return started(models={"line3": inspector})

    def send_dark(client: TestClient) -> None:
        files = [("files", (f"{index}.png", encoded(seed=index, below=60))) for index in range(12)]
        assert client.post("/v1/inspect/batch", files=files).status_code == 200

    first = start()
    send_dark(first)
    until(lambda: drift_of(first)["parts"] == 12)
    assert not drift_of(first)["drifting"]
    second = start()  # of the same database
    send_dark(second)
    until(lambda: drift_of(second)["parts"] == 24)
    assert drift_of(second)["drifting"]
    assert "scores are lower" in str(drift_of(second)["description"])
    assert "model line3: drift: since part" in caplog.text
    assert 'clipada_drift{group="",model="line3"} 1.0' in second.get("/metrics").text


def test_without_its_database_a_server_watches_no_drift_until_it_is_back(
    started: Started, engine: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelIdentity(run="line3", sha256="a" * 64, backbone_sha256="b" * 64, engine="torch fp32")
    inspector = Inspector(engine, ScoringConfig(sigma=1.0), model=model, calibration=bright_calibration())
    client = started(models={"line3": inspector})

    def away(*_: object) -> object:
        raise HistoryError("the history cannot be used", got="connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(client.app.state.service.history, "transaction", away)
        until(lambda: "cannot be watched for drift at present" in caplog.text)
        assert send(client).status_code == 503
    assert send(client).status_code == 200
    until(lambda: drift_of(client)["parts"] == 1)
