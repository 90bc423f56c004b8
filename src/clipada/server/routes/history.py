"""Routes of the history: verdicts, their images and maps, operators' feedback."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from starlette.concurrency import run_in_threadpool

from clipada.config import ServeConfig, Word
from clipada.config.image_rules import DEFAULT_RULES, ImageRules, rules_of
from clipada.errors import ImageError
from clipada.history.store import Entry, VerdictFilter
from clipada.images import read_header, read_rgb
from clipada.server.batching import QueuedImage
from clipada.server.errors import RefusedError, documented
from clipada.server.pictures import map_png, png
from clipada.server.routes.inspect import inspect_one
from clipada.server.schemas import Feedback, MapKind, Page, ShortText, Time, VerdictAnswer
from clipada.server.served_model import ServedModel
from clipada.server.service import Served, Service
from clipada.types import Decision

router = APIRouter(prefix="/v1/verdicts", tags=["verdicts"], responses=documented(404, 413, 422, 503))

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Id of a verdict.")]
_SHOWN = frozenset({"image/png", "image/jpeg", "image/webp", "image/bmp"})
"""Kinds of images that every browser displays."""

_IMAGE: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in sorted(_SHOWN)}}}
_MAP: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}, **documented(404, 422, 429, 503)}


@router.get("", response_model=Page)
def verdicts(
    service: Served,
    defective: Annotated[bool | None, Query(description="Only those with a defect, or only those without.")] = None,
    decision: Annotated[Decision | None, Query(description="Only those with this decision.")] = None,
    word: Annotated[Word | None, Query(description="Only those with this latest feedback of an operator.")] = None,
    group: Annotated[ShortText | None, Query(description="Only those of this group.")] = None,
    since: Annotated[Time | None, Query(description="Only those of this time or later.")] = None,
    until: Annotated[Time | None, Query(description="Only those before this time.")] = None,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only those with a smaller id.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Largest number of verdicts.")] = ServeConfig.page_length,
) -> Any:
    """List verdicts, newest first."""
    chosen = VerdictFilter(
        defective=defective, decision=decision, word=word, group=group, since=since, until=until, before=before
    )
    found = list(service.history.entries(chosen, limit=limit))
    return {
        "verdicts": [_shown(entry) for entry in found],
        "next_before": found[-1].id if len(found) == limit else None,
    }


@router.get("/{number}", response_model=VerdictAnswer)
def verdict(service: Served, number: Number) -> Any:
    """Return one verdict with its full record."""
    entry, record = _found(service, number)
    return {**_shown(entry), "record": record}


@router.post("/{number}/feedback", response_model=VerdictAnswer)
def feedback(service: Served, number: Number, word: Feedback) -> Any:
    """Confirm or reject a verdict; the latest feedback counts."""
    _found(service, number)
    service.history.record_feedback(number, confirmed=word.confirmed, reason=word.reason)
    return verdict(service, number)


@router.get("/{number}/image", response_class=Response, responses=_IMAGE)
def image(service: Served, number: Number) -> Response:
    """Return the kept image; a TIFF or a 16-bit image is converted to 8-bit PNG, which browsers can display."""
    entry, _ = _found(service, number)
    content = _kept(entry)
    header = read_header(content)
    kind = header.media_type
    if header.deep or kind not in _SHOWN:
        content, kind = png(read_rgb(content, _rules_of(service, entry))), "image/png"
    return _file(content, kind)


@router.get("/{number}/map", response_class=Response, responses=_MAP)
async def anomaly_map(
    service: Served,
    number: Number,
    kind: Annotated[MapKind, Query(description="Format, as `map` of `POST /v1/inspect`.")] = "heat",
) -> Response:
    """Compute the anomaly map of a kept image again, with the model of the verdict."""
    entry, _ = await run_in_threadpool(_found, service, number)
    content = await run_in_threadpool(_kept, entry)
    header = await run_in_threadpool(read_header, content, service.settings.max_pixels)
    served = _model_of(service, entry)
    group = served.known_group(entry.group_name)  # the calibration may have lost it; the map is the same
    queued = QueuedImage(content=content, pixels=header.width * header.height, group=group, store=False)
    answer = await inspect_one(service, served, queued)
    return _file(await run_in_threadpool(map_png, answer.verdict, kind), "image/png")


def _found(service: Service, number: int) -> tuple[Entry, dict[str, Any]]:
    found = service.history.find(number)
    if found is None:
        raise RefusedError(404, f"the history has no verdict {number}", remedy="GET /v1/verdicts lists all")
    return found


def _shown(entry: Entry) -> dict[str, Any]:
    """Return an entry as callers see it, without the path of the kept image on this machine."""
    return dict(entry.columns) | {"kept": entry.kept is not None}


def _kept(entry: Entry) -> bytes:
    """Return the image of an entry. Checking the header ensures that a forged path exposes no other file."""
    what = f"the image of verdict {entry.id} is not kept"
    if entry.kept is None:
        raise RefusedError(404, what, remedy="start the server with --keep-images defective or all")
    try:
        content = FilePath(entry.kept).read_bytes()
        read_header(content)
    except (OSError, ImageError):
        raise RefusedError(404, what, got="it was removed, or is damaged") from None
    return content


def _model_of(service: Service, entry: Entry) -> ServedModel:
    """Return the model of a verdict, if it is served here."""
    for served in service.models.values():
        if served.inspector.model is not None and served.inspector.model.sha256 == entry.model_sha256:
            return served
    raise RefusedError(404, f"the model of verdict {entry.id} is not served here", got=entry.run)


def _rules_of(service: Service, entry: Entry) -> ImageRules:
    """Return the rules by which a verdict's image was read, if its model is served here."""
    models = [served.inspector for served in service.models.values()]
    same = (one.engine for one in models if one.model and one.model.sha256 == entry.model_sha256)
    return next(map(rules_of, same), DEFAULT_RULES)


def _file(content: bytes, kind: str) -> Response:
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, max-age=3600"}
    return Response(content, media_type=kind, headers=headers)
