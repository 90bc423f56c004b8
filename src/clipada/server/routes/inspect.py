"""Routes that accept images and return verdicts. Each verdict is stored before it is sent."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from clipada.errors import ClipAdaError
from clipada.inspection.record import verdict_record
from clipada.server.batching import Answer, QueuedImage
from clipada.server.errors import RefusedError, documented, problem
from clipada.server.pictures import map_png
from clipada.server.schemas import BatchAnswer, Group, Inspected, MapChoice, MapKind, ModelName, ShortText
from clipada.server.served_model import ServedModel, display_name
from clipada.server.service import Served, Service
from clipada.server.uploads import IMAGE_TYPES, declared_bytes, pixels_of, read_uploads

INSPECT, BATCH = "/v1/inspect", "/v1/inspect/batch"

router = APIRouter(tags=["inspect"])

_FILE = {"type": "string", "format": "binary"}
_PROBLEMS = documented(404, 408, 413, 415, 422, 429, 503)


def _form(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}
    return {"multipart/form-data": {"schema": schema}}


_FILES = {"type": "array", "items": _FILE, "minItems": 1}
_WHOLE = {kind: {"schema": _FILE} for kind in (*IMAGE_TYPES, "application/octet-stream")}
_ONE = {"requestBody": {"required": True, "content": _form({"file": _FILE}) | _WHOLE}}
_SEVERAL = {"requestBody": {"required": True, "content": _form({"files": _FILES})}}


@router.post(INSPECT, response_model=Inspected, responses=_PROBLEMS, openapi_extra=_ONE)
async def inspect(
    request: Request,
    service: Served,
    model: ModelName = None,
    group: Group = None,
    map_kind: MapChoice = None,
    name: Annotated[ShortText | None, Query(description="Name of the image; by default the file's name.")] = None,
) -> Any:
    """Inspect one image: a form with the field `file`, or the image as the whole request."""
    settings, served = service.settings, service.model(model)
    served.require_group(group)
    with served.batcher.reservation() as slots, service.holding(declared_bytes(request, settings.upload_bytes)):
        (upload,) = await read_uploads(request, "file", 1, settings.upload_seconds)
        pixels = await pixels_of(upload.content, settings.max_pixels)
        queued = QueuedImage(content=upload.content, pixels=pixels, name=display_name(name or upload.name), group=group)
        (answer,) = await _await_answers(service, served, [slots.submit(queued)])
    if not isinstance(answer, Answer):
        raise answer
    return await _verdict_json(served, answer, map_kind)


@router.post(BATCH, response_model=BatchAnswer, responses=_PROBLEMS, openapi_extra=_SEVERAL)
async def inspect_batch(
    request: Request, service: Served, model: ModelName = None, group: Group = None, map_kind: MapChoice = None
) -> Any:
    """Inspect several images: a form with the field `files`, repeated. One result each, in order."""
    settings, served = service.settings, service.model(model)
    served.require_group(group)
    with served.batcher.reservation() as slots, service.holding(declared_bytes(request, settings.batch_bytes)):
        uploads = await read_uploads(request, "files", settings.batch_images, settings.upload_seconds)
        slots.extend(len(uploads) - 1)
        outcomes: list[Future[Answer] | ClipAdaError] = []
        for upload in uploads:
            try:
                pixels = await pixels_of(upload.content, settings.max_pixels)
            except ClipAdaError as error:
                outcomes.append(error)
                continue
            queued = QueuedImage(content=upload.content, pixels=pixels, name=display_name(upload.name), group=group)
            outcomes.append(slots.submit(queued))
        answers = iter(await _await_answers(service, served, [one for one in outcomes if isinstance(one, Future)]))
        results = [next(answers) if isinstance(one, Future) else one for one in outcomes]
    results_json = [
        await _verdict_json(served, one, map_kind) if isinstance(one, Answer) else problem(one) for one in results
    ]
    return {"results": results_json}


async def inspect_one(service: Service, served: ServedModel, queued: QueuedImage) -> Answer:
    """Inspect one image that another route has read.

    Raises:
        ClipAdaError: It could not be inspected.
    """
    with served.batcher.reservation() as slots, service.holding(len(queued.content)):
        (answer,) = await _await_answers(service, served, [slots.submit(queued)])
    if isinstance(answer, Answer):
        return answer
    raise answer


async def _await_answers(
    service: Service, served: ServedModel, futures: Sequence[Future[Answer]]
) -> list[Answer | ClipAdaError]:
    """Wait for accepted images. One that waits too long is canceled, unless its batch is already running."""
    started = time.perf_counter()
    waiting = [asyncio.wrap_future(future) for future in futures]
    if waiting:
        await asyncio.wait(waiting, timeout=service.settings.answer_seconds)
    canceled = [future.cancel() for future in futures]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    service.metrics.answered(served.name, time.perf_counter() - started)
    return [
        _outcome(outcome, was_canceled, service.settings.answer_seconds)
        for outcome, was_canceled in zip(outcomes, canceled, strict=True)
    ]


def _outcome(outcome: Answer | BaseException, canceled: bool, seconds: float) -> Answer | ClipAdaError:
    if canceled:
        remedy = "send it again; nothing was stored"
        return RefusedError(503, f"the image waited for more than {seconds:g} s", remedy=remedy, retry_after=5)
    if isinstance(outcome, Answer | ClipAdaError):
        return outcome
    if isinstance(outcome, OSError):
        return RefusedError(503, "the verdict could not be stored", got=outcome.strerror, retry_after=5)
    return RefusedError(500, "the image could not be inspected", remedy="see the server's log")


async def _verdict_json(served: ServedModel, answer: Answer, map_kind: MapKind | None) -> dict[str, Any]:
    """Return a verdict as JSON."""
    record = await run_in_threadpool(verdict_record, answer.verdict)
    content = {"id": answer.id, "served_as": served.name, **record}
    if map_kind is not None:
        content["map_png"] = base64.b64encode(await run_in_threadpool(map_png, answer.verdict, map_kind)).decode()
    return content
