"""Errors of the server, sent as JSON: what failed, what was expected, what it got, and the remedy."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from clipada.errors import (
    CalibrationError,
    ClipAdaError,
    ConfigError,
    HistoryError,
    ImageError,
    ImageKindError,
    ImageSizeError,
)

log = logging.getLogger(__name__)

_STATUSES: tuple[tuple[type[ClipAdaError], int], ...] = (
    (ImageSizeError, 413),
    (ImageKindError, 415),
    (ImageError, 422),
    (ConfigError, 422),
    (CalibrationError, 422),
    (HistoryError, 503),
)


class Problem(BaseModel):
    """The reason why a request failed."""

    error: str
    expected: str | None = None
    got: str | None = None
    remedy: str | None = None


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route in OpenAPI: these statuses, and those of every route."""
    every = (400, 401, 403)  # another host or a malformed request, no token, a page of another origin
    return {status: {"model": Problem} for status in sorted({*every, *statuses})}


class RefusedError(ClipAdaError):
    """A request that is refused.

    Args:
        status: The HTTP status.
        what: As for every error, with ``expected``, ``got`` and ``remedy``.
        retry_after: Seconds after which the caller may try again.
        challenge: Ask for a token, by ``WWW-Authenticate``.
        close: Close the connection.
    """

    def __init__(
        self,
        status: int,
        what: str,
        *,
        retry_after: int | None = None,
        challenge: bool = False,
        close: bool = False,
        **parts: str | None,
    ) -> None:
        super().__init__(what, **parts)
        self.status = status
        self.headers = {"Retry-After": str(retry_after)} if retry_after else {}
        self.headers |= {"WWW-Authenticate": "Bearer"} if challenge else {}
        self.headers |= {"Connection": "close"} if close else {}


class _Plain(JSONResponse):
    """JSON in ASCII: an error may repeat text of the caller that UTF-8 cannot encode, such as lone surrogates."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


def problem(error: ClipAdaError) -> dict[str, str | None]:
    """Return an error as JSON. Errors of the history may name user and host of the database: only the log has them."""
    if isinstance(error, HistoryError):
        log.error("%s", error)
        error = HistoryError(
            "the history cannot be used", remedy="send it again later; the server's log has the reason"
        )
    return {"error": error.what, "expected": error.expected, "got": error.got, "remedy": error.remedy}


def refusal_response(error: ClipAdaError) -> JSONResponse:
    """Return the response for an error."""
    if isinstance(error, RefusedError):
        return _Plain(problem(error), error.status, error.headers)
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    if status >= 500 and not isinstance(error, HistoryError):
        log.error("%s", error)
    return _Plain(problem(error), status, {"Retry-After": "5"} if status == 503 else None)


def add_error_handlers(app: FastAPI) -> None:
    """Make an application send every error in the same form."""
    app.add_exception_handler(ClipAdaError, _clipada_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


async def _clipada_error(_: Request, error: Any) -> JSONResponse:
    return refusal_response(error)


async def _invalid(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"])
    return refusal_response(
        RefusedError(422, f"cannot use {where}", expected=first["msg"], got=repr(first.get("input"))[:200])
    )


async def _http_error(request: Request, error: Any) -> JSONResponse:
    what = f"{request.method} {request.url.path[:200]}: {error.detail}"
    answer = refusal_response(RefusedError(error.status_code, what, remedy="GET /openapi.json lists all routes"))
    answer.headers.update(error.headers or {})
    return answer


async def _unexpected(request: Request, _: Exception) -> JSONResponse:
    remedy = "see the server's log"
    return refusal_response(RefusedError(500, f"{request.method} {request.url.path[:200]} failed", remedy=remedy))
