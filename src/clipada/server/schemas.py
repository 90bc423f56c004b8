"""What the routes take and answer, as OpenAPI tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, create_model

from clipada.inspection.record import COLUMNS, FIELDS, Field
from clipada.server.errors import Problem
from clipada.types import ModelIdentity, Region

_Model = TypeVar("_Model", bound=BaseModel)


def _storable(text: str) -> str:
    """Refuse what some databases cannot hold."""
    if "\x00" in text or (not text.isascii() and text.encode(errors="replace").decode() != text):
        raise ValueError("text without NUL and lone surrogates")
    return text


ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
LongText = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_storable)]
MapKind = Literal["heat", "values", "channels"]
ModelName = Annotated[str | None, Query(description="Which model inspects; needed where there are several.")]
Group = Annotated[
    ShortText | None, Query(description="The group whose thresholds count, where the calibration has groups.")
]
MapChoice = Annotated[
    MapKind | None,
    Query(
        alias="map",
        description="Also the anomaly map as base64 PNG: `heat`, colours with transparency to lay over the image; "
        "`values`, grey of 16 bits, value / 65535, in the image's own geometry; or `channels`, the same as "
        "(256 red + green) / 65535, for what reads 8 bits a channel.",
    ),
]


def _with_fields(annotations: Mapping[str, Any]) -> Callable[[type[_Model]], type[_Model]]:
    """Return a class decorator that adds required fields to a model, so that each field is defined in one place."""

    def decorate(model: type[_Model]) -> type[_Model]:
        fields: dict[str, Any] = {name: (annotation, ...) for name, annotation in annotations.items()}
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )

    return decorate


def _annotations(fields: Iterable[Field], nested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotation of each field of a verdict; ``nested`` names the models of those that are JSON objects."""
    kinds = {field.name: nested.get(field.name, field.kind) for field in fields}
    return {field.name: kinds[field.name] | None if field.optional else kinds[field.name] for field in fields}


@_with_fields(get_type_hints(Region))
class RegionAnswer(BaseModel):
    """A connected area above the threshold: left, top, right, bottom in pixels, right and bottom exclusive."""


class MapStatistics(BaseModel):
    """The anomaly map in numbers."""

    model_config = ConfigDict(extra="allow")

    min: float
    mean: float
    max: float


@_with_fields(get_type_hints(ModelIdentity))
class Identity(BaseModel):
    """The model and the engine behind a verdict."""


@_with_fields(_annotations(FIELDS, {"map": MapStatistics, "regions": list[RegionAnswer], "model": Identity}))
class Record(BaseModel):
    """A verdict, as `clipada predict` prints it; `path` is the name that the caller gave the image."""

    model_config = ConfigDict(extra="forbid")


class Inspected(Record):
    """A verdict that is in the history, under `id`."""

    id: int
    served_as: str
    map_png: str | None = None


class BatchAnswer(BaseModel):
    """One result for each image, in order: a verdict, or why there is none."""

    results: list[Inspected | Problem]


@_with_fields({"id": int} | _annotations(COLUMNS, {}))
class _Stored(BaseModel):
    """The columns of a verdict in the history."""


class EntryAnswer(_Stored):
    """A verdict in the history, with the operator's latest feedback."""

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
    reason: LongText = ""


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
