"""Images that are not inspectable in the answers, the history, the rates and the metrics of a server."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from starlette.testclient import TestClient

from callers import send, until
from clipada import Inspector, calibrate
from clipada.config import CalibrationConfig
from clipada.history.drift import DriftWatch
from clipada.history.store import History
from stand_in import Started
from tiny import write_good_parts


@pytest.fixture
def client(started: Started, run_folder: Path, tmp_path: Path) -> TestClient:
    """A server of a calibrated run."""
    write_good_parts(tmp_path / "parts", 12)
    calibrate(run_folder, tmp_path / "parts", CalibrationConfig(false_alarm_rate=0.2, confidence=0.8), device="cpu")
    return started(models={"line3": Inspector.load(run_folder, device="cpu")})


def frame(level: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.full((40, 48, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_an_answer_names_the_decision_and_its_reason(client: TestClient, tmp_path: Path) -> None:
    good = send(client, (tmp_path / "parts" / "003.png").read_bytes()).json()
    assert good["inspectable"] is True
    assert good["decision"] == ("defective" if good["defective"] else "good")
    black = send(client, frame(0)).json()
    assert (black["decision"], black["inspectable"], black["defective"]) == ("not_inspectable", False, None)
    assert black["p_value"] is None
    assert black["input_reason"].startswith("dark: black pixels 100 %")


def test_they_are_found_in_history_rates_metrics_and_status(client: TestClient, tmp_path: Path) -> None:
    send(client, (tmp_path / "parts" / "003.png").read_bytes())
    numbers = [send(client, frame(level)).json()["id"] for level in (0, 255, 0)]
    listed = client.get("/v1/verdicts?decision=not_inspectable").json()["verdicts"]
    assert [entry["id"] for entry in listed] == numbers[::-1]
    assert {entry["input_reason"].partition(":")[0] for entry in listed} == {"dark", "overexposed"}
    assert client.get(f"/v1/verdicts/{numbers[0]}").json()["record"]["decision"] == "not_inspectable"
    assert client.get("/v1/verdicts?decision=perhaps").status_code == 422
    (rate,) = client.get("/v1/rates").json()["rates"]
    assert (rate["inspected"], rate["judged"], rate["not_inspectable"]) == (4, 1, 3)
    metrics = client.get("/metrics").text
    assert 'clipada_images_total{model="line3",result="not_inspectable"} 3.0' in metrics
    assert 'clipada_score_count{model="line3"} 1.0' in metrics  # a refused image's score says nothing on a part

    def status() -> dict[str, object]:
        (model,) = client.get("/v1/status").json()["models"]
        return model  # type: ignore[no-any-return]

    until(lambda: (status()["inputs"] or {}).get("images") == 4)  # type: ignore[attr-defined]
    found = status()
    assert found["input_check"] is True
    assert found["inputs"]["alarming"] is True  # type: ignore[index]
    assert found["drift"][0]["parts"] == 1  # type: ignore[index]


def test_a_restarted_drift_watch_counts_them_once(client: TestClient, url: str) -> None:
    for _ in range(3):
        send(client, frame(0))
    calibration = client.app.state.service.models["line3"].inspector.calibration  # type: ignore[attr-defined]
    with History(client.app.state.service.history.settings) as history:  # type: ignore[attr-defined]
        watch = DriftWatch(history, calibration)
        (report,) = watch.update()
        assert report.describe().startswith("3 of 3 images not inspectable")
        assert watch.update() == ()
