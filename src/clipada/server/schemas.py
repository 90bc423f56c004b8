"""Requests and responses of the routes, as documented by OpenAPI."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, create_model
from pydantic import Field as JsonField

from clipada.inspection.record import COLUMNS, FIELDS, Field
from clipada.server.errors import Problem
from clipada.types import Decision, ModelIdentity, Region

_Model = TypeVar("_Model", bound=BaseModel)


def _storable(text: str) -> str:
    """Refuse text that some databases cannot store."""
    if "\x00" in text or (not text.isascii() and text.encode(errors="replace").decode() != text):
        raise ValueError("text without NUL and lone surrogates")
    return text


_NO_NUL = JsonField(json_schema_extra={"pattern": r"^[^\u0000]*$"})

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable), _NO_NUL]


def _is_date(time: object) -> object:
    """Refuse numbers, which pydantic reads as seconds since 1970."""
    if not isinstance(time, str) or not _DATE.match(time):
        raise ValueError("a time such as 2026-03-02T07:14:05Z")
    return time


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ]|$)", re.ASCII)

Time = Annotated[
    datetime, BeforeValidator(_is_date), JsonField(json_schema_extra={"pattern": r"^(?!0001-01-01|9999-12-31)"})
]
"""A time in ISO 8601; without a zone, of the server's own zone. The first and the last day may not exist in UTC."""

LongText = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_storable), _NO_NUL]
MapKind = Literal["heat", "values", "channels"]
ModelName = Annotated[str | None, Query(description="The model to use; required if several are served.")]
Group = Annotated[
    ShortText | None, Query(description="The group whose thresholds apply, where the calibration has groups.")
]
MapChoice = Annotated[
    MapKind | None,
    Query(
        alias="map",
        description="Also return the anomaly map as base64 PNG: `heat`, colors with transparency to overlay on the "
        "image; `values`, 16-bit gray, value / 65535, in the image's own geometry; or `channels`, the same as "
        "(256 red + green) / 65535, for programs that read 8 bits per channel, with blue 255 where nothing counts.",
    ),
]


def _with_fields(
    annotations: Mapping[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[type[_Model]], type[_Model]]:
    """Return a class decorator that adds fields to a model, so that each field is defined in one place.

    Fields are required, but for those with a default: verdicts stored by earlier versions lack them.
    """

    def decorate(model: type[_Model]) -> type[_Model]:
        fields: dict[str, Any] = {
            name: (annotation, defaults.get(name, ...)) for name, annotation in annotations.items()
        }
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


@_with_fields(get_type_hints(ModelIdentity), {"manifest_sha256": None})
class Identity(BaseModel):
    """The model and the engine behind a verdict."""


_NESTED = {"map": MapStatistics, "regions": list[RegionAnswer], "model": Identity, "decision": Decision}
_NESTED |= {"placement": dict[str, float]}


@_with_fields(_annotations(FIELDS, _NESTED))
class Record(BaseModel):
    """A verdict, as `clipada predict` prints it; `path` is the name that the caller gave the image."""

    model_config = ConfigDict(extra="forbid")


class Inspected(Record):
    """A verdict that is in the history, under `id`."""

    id: int
    served_as: str
    map_png: str | None = None


class BatchAnswer(BaseModel):
    """One result for each image, in order: a verdict or an error."""

    results: list[Inspected | Problem]


@_with_fields({"id": int} | _annotations(COLUMNS, _NESTED))
class _Stored(BaseModel):
    """The columns of a verdict in the history."""


class EntryAnswer(_Stored):
    """A verdict in the history, with the operator's latest feedback."""

    kept: bool
    confirmed: bool | None
    reason: str | None


class VerdictAnswer(EntryAnswer):
    """A verdict in the history, with the full record."""

    record: Record


class Page(BaseModel):
    """Verdicts, newest first; `next_before` is the `before` of the next page, null on the last one."""

    verdicts: list[EntryAnswer]
    next_before: int | None


class Feedback(BaseModel):
    """An operator's feedback on a verdict."""

    model_config = ConfigDict(extra="forbid", strict=True)

    confirmed: bool
    reason: LongText = ""


class Ready(BaseModel):
    """Readiness of the server."""

    ready: bool


class Thresholds(BaseModel):
    """The thresholds of a group, and the false-alarm rate that they stay below with the calibration's confidence."""

    score: float
    pixel: float
    images: int
    rank: int
    rate_bound: float


class CurvePoint(BaseModel):
    """A score threshold, the share of calibration images above it, and the upper bound of its false-alarm rate."""

    threshold: float
    share: float
    rate_bound: float


class GroupAnswer(BaseModel):
    """Thresholds of a group, or of all images pooled, and the false-alarm rates of other thresholds."""

    thresholds: Thresholds
    quantiles: dict[str, float]
    curve: list[CurvePoint]


class CalibrationAnswer(BaseModel):
    """The calibration; with a `caveat`, its guarantee does not hold for this model's verdicts."""

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
    """The score that a share `level` of the passing parts does not exceed, at calibration and since then."""

    level: float
    calibrated: float
    seen: float


class DriftAnswer(BaseModel):
    """Drift of a group's parts from those of the calibration."""

    group: str | None
    drifting: bool
    parts: int
    defective: int
    evidence: float
    limit: float
    quantiles: list[Quantile]
    description: str


class InputsAnswer(BaseModel):
    """Images that are not inspectable; alarming if their share is too high."""

    images: int
    not_inspectable: int
    alarming: bool
    description: str


class ModelStatus(BaseModel):
    """State of a model; `input_check` is false for a model without one, whose verdicts say `inspectable: null`."""

    name: str
    ready: bool
    waiting: int
    queue_length: int
    engine: str
    model_sha256: str | None
    calibration: str | None
    drift: list[DriftAnswer]
    input_check: bool
    inputs: InputsAnswer | None


class Status(BaseModel):
    """State of the server."""

    version: str
    uptime_seconds: float
    models: list[ModelStatus]


class RateAnswer(BaseModel):
    """Numbers of images in the minute, hour or day from `time` on.

    All; those called good or defective; the defective ones; those that are not inspectable.
    """

    time: str
    inspected: int
    judged: int
    defective: int
    not_inspectable: int


class Rates(BaseModel):
    """Defective parts over time, and the guaranteed false-alarm rate."""

    by: Literal["minute", "hour", "day"]
    promised: float | None
    rates: list[RateAnswer]


class ModelAnswer(BaseModel):
    """A model, its calibration and its card."""

    name: str
    run: str | None
    model: Identity | None
    image_size: int | tuple[int, int]
    threshold: float
    calibration: CalibrationAnswer | None
    card: str | None
