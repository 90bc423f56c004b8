"""Routes on the state of the server and its models: health, readiness, metrics, status, calibrations."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from clipada.calibration import QUANTILES as DRIFT_QUANTILES
from clipada.calibration import Calibration, DriftReport, rate_bound, threshold
from clipada.calibration.input_rate import InputReport
from clipada.devices import package_version
from clipada.history.rates import Step, rates
from clipada.inspection import Inspector
from clipada.report import calibration_summary
from clipada.runs import CARD
from clipada.server.errors import RefusedError, documented
from clipada.server.schemas import ModelAnswer, ModelName, Rates, Ready, Status
from clipada.server.served_model import ServedModel
from clipada.server.service import Served, Service
from clipada.types import written_size

log = logging.getLogger(__name__)

router = APIRouter(tags=["server"], responses=documented())

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
CURVE_POINTS = 200


@router.get("/healthz", response_model=Ready, responses=documented(503))
async def healthz(service: Served) -> Any:
    """Check that the process works; needs no token. On failure, restart it."""
    dead = [name for name, served in service.models.items() if not served.batcher.alive]
    if dead:
        log.error("the workers of these models have ended: %s", ", ".join(dead))
        raise RefusedError(503, "a worker has ended", remedy="start the server again")
    return {"ready": all(served.batcher.ready for served in service.models.values())}


@router.get("/readyz", response_model=Ready, responses=documented(503))
def readyz(service: Served) -> Any:
    """Check that images are accepted and verdicts can be written to the disk; needs no token."""
    waiting = [name for name, served in service.models.items() if not served.batcher.ready]
    if waiting or service.stopping:
        got = "the server is stopping" if service.stopping else "the server is starting"
        raise RefusedError(503, "not ready", got=got, retry_after=1)
    service.storage.require()
    return {"ready": True}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(service: Served) -> Response:
    """Return counts, latencies, scores, queues and drift for Prometheus."""
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


@router.get("/v1/status", response_model=Status)
def status(service: Served) -> Any:
    """Return the state of the server and of each model, with drift."""
    return {
        "version": package_version(),
        "uptime_seconds": round(time.time() - service.started, 1),
        "models": [_status(service, served) for served in service.models.values()],
    }


@router.get("/v1/rates", response_model=Rates, responses=documented(404, 422, 503))
def rates_over_time(
    service: Served,
    model: ModelName = None,
    by: Annotated[
        Step, Query(description="Minutes of the last hour, hours of the last two days, or days of the last 60.")
    ] = "hour",
) -> Any:
    """Count a model's defective parts in each minute, hour or day with inspections."""
    inspector = service.model(model).inspector
    sha256 = None if inspector.model is None else inspector.model.sha256
    return {
        "by": by,
        "promised": _guaranteed_rate(inspector),
        "rates": [asdict(rate) for rate in rates(service.history, by, sha256)],
    }


@router.get("/v1/models", response_model=list[str])
async def models(service: Served) -> Any:
    """List the names of the models."""
    return list(service.models)


@router.get("/v1/models/{name}", response_model=ModelAnswer, responses=documented(404, 422))
def model(service: Served, name: str) -> Any:
    """Describe a model, its calibration with the false-alarm rate of every threshold, and its card."""
    served = service.model(name)
    inspector, run = served.inspector, served.inspector.run
    card = None
    if run is not None:
        with suppress(OSError):
            card = (run.folder / CARD).read_text(encoding="utf-8", errors="replace")
    return {
        "name": name,
        "run": None if run is None else run.folder.resolve().name,
        "model": inspector.model and asdict(inspector.model),
        "image_size": written_size(inspector.engine.size),
        "threshold": inspector.threshold,
        "calibration": inspector.calibration and _calibration(inspector.calibration, inspector.caveat),
        "card": card,
    }


def show_gauges(service: Service) -> None:
    """Add gauges, read at each request of the metrics: queues, readiness, calibrations, drift."""
    gauge, models = service.metrics.gauge, service.models

    def by_model(read: Any) -> Any:
        return lambda: [([name], float(read(served))) for name, served in models.items()]

    gauge("clipada_queue_images", "Places taken in the queue.", ["model"], by_model(lambda one: one.batcher.depth))
    gauge("clipada_ready", "Whether images are taken.", ["model"], by_model(lambda one: one.batcher.ready))
    length = service.settings.queue_length
    gauge("clipada_queue_length", "Places in the queue.", ["model"], by_model(lambda _: length))
    gauge("clipada_held_bytes", "What requests hold.", [], lambda: [([], float(service.held_bytes))])
    gauge(
        "clipada_calibration_info", "Calibration that counts.", ["model", "calibration"], lambda: _ids(models.values())
    )
    labels = ["model", "group"]
    gauge(
        "clipada_drift",
        "Whether parts drift from the calibration.",
        labels,
        lambda: [(names, float(report.drifting)) for names, report in _drift(models.values())],
    )
    gauge(
        "clipada_drift_evidence_share",
        "Evidence of drift, 1 where there is drift.",
        labels,
        lambda: [(names, report.evidence / report.limit) for names, report in _drift(models.values())],
    )


def _ids(models: Iterable[ServedModel]) -> list[tuple[list[str], float]]:
    return [([one.name, one.inspector.calibration.id], 1.0) for one in models if one.inspector.calibration is not None]


def _drift(models: Iterable[ServedModel]) -> list[tuple[list[str], DriftReport]]:
    return [([one.name, report.group or ""], report) for one in models for report in one.drift()]


def _status(service: Service, served: ServedModel) -> dict[str, Any]:
    identity, calibration = served.inspector.model, served.inspector.calibration
    return {
        "name": served.name,
        "ready": served.batcher.ready,
        "waiting": served.batcher.depth,
        "queue_length": service.settings.queue_length,
        "engine": served.inspector.engine_name,
        "model_sha256": identity and identity.sha256,
        "calibration": calibration and calibration.id,
        "drift": [_drift_answer(report) for report in served.drift()],
        "input_check": served.inspector.input_check is not None,
        "inputs": _inputs_answer(served.inputs()),
    }


def _inputs_answer(report: InputReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return asdict(report) | {"alarming": report.alarming, "description": report.describe()}


def _drift_answer(report: DriftReport) -> dict[str, Any]:
    quantiles = [
        {"level": level, "calibrated": calibrated, "seen": seen}
        for level, (calibrated, seen) in zip(DRIFT_QUANTILES, report.quantiles, strict=False)
    ]
    words = {"drifting": report.drifting, "description": report.describe(), "quantiles": quantiles}
    return asdict(report) | words


def _guaranteed_rate(inspector: Inspector) -> float | None:
    """Return the guaranteed false-alarm rate, if there is one."""
    calibration = inspector.calibration
    return None if calibration is None or inspector.caveat else calibration.settings.false_alarm_rate


def _calibration(calibration: Calibration, caveat: str | None) -> dict[str, Any]:
    settings = calibration.settings
    return {
        "id": calibration.id,
        "created": calibration.created,
        "false_alarm_rate": settings.false_alarm_rate,
        "confidence": settings.confidence,
        "mode": settings.mode,
        "per": settings.per,
        "caveat": caveat,
        "summary": calibration_summary(calibration),
        "pooled": _group(calibration, None),
        "groups": {name: _group(calibration, name) for name in calibration.groups},
    }


def _group(calibration: Calibration, group: str | None) -> dict[str, Any]:
    limits, scores = calibration.limits(group), calibration.scores(group)
    ranks = np.unique(np.geomspace(1, scores.size, CURVE_POINTS).round().astype(int)).tolist()
    return {
        "thresholds": asdict(limits) | {"rate_bound": calibration.rate_bound(limits)},
        "quantiles": dict(zip(map(str, QUANTILES), np.quantile(scores, QUANTILES).tolist(), strict=True)),
        "curve": [_point(calibration, scores, rank) for rank in ranks],
    }


def _point(calibration: Calibration, scores: Any, rank: int) -> dict[str, float]:
    """Return the rates of the ``rank``-th largest score as a threshold."""
    value = threshold(scores, rank)
    return {
        "threshold": value,
        "share": float(np.mean(scores > value)),
        "rate_bound": rate_bound(scores.size, rank, calibration.settings.confidence),
    }
