"""What the routes take and answer, as OpenAPI tells it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from clipada.server.errors import Problem


def _storable(text: str) -> str:
    """Refuse what some databases cannot hold."""
    if "\x00" in text or (not text.isascii() and text.encode(errors="replace").decode() != text):
        raise ValueError("text without NUL and lone surrogates")
    return text


Line = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
Text = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_storable)]
MapKind = Literal["heat", "values", "channels"]
ModelName = Annotated[str | None, Query(description="Which model inspects; needed where there are several.")]
Group = Annotated[Line | None, Query(description="The group whose thresholds count, where the calibration has groups.")]
MapChoice = Annotated[
    MapKind | None,
    Query(
        alias="map",
        description="Also the anomaly map as base64 PNG: `heat`, colours with transparency to lay over the image; "
        "`values`, grey of 16 bits, value / 65535, in the image's own geometry; or `channels`, the same as "
        "(256 red + green) / 65535, for what reads 8 bits a channel.",
    ),
]


class RegionAnswer(BaseModel):
    """A connected area above the threshold: left, top, right, bottom in pixels, right and bottom exclusive."""

    box: tuple[int, int, int, int]
    area: int
    peak: float
    peak_position: tuple[int, int]


class MapStatistics(BaseModel):
    """The anomaly map in numbers."""

    model_config = ConfigDict(extra="allow")

    min: float
    mean: float
    max: float


class Identity(BaseModel):
    """Which model judged, by which engine."""

    run: str
    sha256: str
    backbone_sha256: str
    engine: str


class Record(BaseModel):
    """A verdict, as `clipada predict` prints it; `path` is what the sender called the image."""

    model_config = ConfigDict(extra="forbid")

    path: str | None
    score: float
    p_value: float | None
    score_threshold: float | None
    defective: bool | None
    group: str | None
    width: int
    height: int
    map: MapStatistics
    threshold: float
    regions: list[RegionAnswer]
    calibration: str | None
    model: Identity | None
    image_sha256: str
    time: str
    latency_ms: float


class Inspected(Record):
    """A verdict that is in the history, under `id`."""

    id: int
    served_as: str
    map_png: str | None = None


class BatchAnswer(BaseModel):
    """One result for each image, in order: a verdict, or why there is none."""

    results: list[Inspected | Problem]


class EntryAnswer(BaseModel):
    """A verdict in the history, with the operator's last word."""

    id: int
    time: str
    path: str | None
    run: str | None
    score: float
    p_value: float | None
    score_threshold: float | None
    defective: bool | None
    group_name: str | None
    calibration: str | None
    model_sha256: str | None
    image_sha256: str
    kept: bool
    confirmed: bool | None
    reason: str | None


class VerdictAnswer(EntryAnswer):
    """The same with the whole record."""

    record: Record


class Page(BaseModel):
    """Verdicts, newest first; `next_before` asks for the page after this one, if it is not null."""

    verdicts: list[EntryAnswer]
    next_before: int | None


class Feedback(BaseModel):
    """An operator's word on a verdict."""

    model_config = ConfigDict(extra="forbid", strict=True)

    confirmed: bool
    reason: Text = ""


class Ready(BaseModel):
    """Whether images are taken."""

    ready: bool


class Thresholds(BaseModel):
    """The thresholds of a group, and the false-alarm rate that they stay below with the calibration's confidence."""

    score: float
    pixel: float
    images: int
    rank: int
    rate_bound: float


class CurvePoint(BaseModel):
    """A score threshold, the share of calibration images above it, and the bound on its false-alarm rate."""

    threshold: float
    share: float
    rate_bound: float


class GroupAnswer(BaseModel):
    """What a calibration says of a group, or of all images pooled."""

    thresholds: Thresholds
    quantiles: dict[str, float]
    curve: list[CurvePoint]


class CalibrationAnswer(BaseModel):
    """What verdicts rest on; with a `caveat` it promises nothing of them."""

    id: str
    created: str
    false_alarm_rate: float
    confidence: float
    mode: str
    per: str | None
    caveat: str | None
    summary: list[str]
    pooled: GroupAnswer
    groups: dict[str, GroupAnswer]


class Quantile(BaseModel):
    """The score that a share `level` of the parts does not exceed, at calibration and among those seen that pass."""

    level: float
    calibrated: float
    seen: float


class DriftAnswer(BaseModel):
    """Whether a group's parts still look like those of the calibration."""

    group: str | None
    drifting: bool
    parts: int
    defective: int
    evidence: float
    limit: float
    quantiles: list[Quantile]
    description: str


class ModelStatus(BaseModel):
    """How a model is doing."""

    name: str
    ready: bool
    waiting: int
    queue_length: int
    engine: str
    model_sha256: str | None
    calibration: str | None
    drift: list[DriftAnswer]


class Status(BaseModel):
    """How the server is doing."""

    version: str
    uptime_seconds: float
    models: list[ModelStatus]


class RateAnswer(BaseModel):
    """Parts of one minute, hour or day, which began at `time`: all, those judged, those called defective."""

    time: str
    inspected: int
    judged: int
    defective: int


class Rates(BaseModel):
    """How many parts were called defective over time, and the rate that is promised for good parts."""

    by: Literal["minute", "hour", "day"]
    promised: float | None
    rates: list[RateAnswer]


class ModelAnswer(BaseModel):
    """What a model is."""

    name: str
    run: str | None
    model: Identity | None
    image_size: int
    threshold: float
    calibration: CalibrationAnswer | None
    card: str | None
