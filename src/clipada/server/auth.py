"""Checks of every request before its route: host name, web origin, token, size."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipada.server.errors import RefusedError, refusal_response
from clipada.server.routes import page

OPEN = frozenset({"/healthz", "/readyz", *page.FILES})
"""Paths that need no token."""

OTHER_BYTES = 100_000
"""Largest body of a request, in bytes, for routes that expect no image."""


class OriginGate:
    """Refuses requests that name another host, and those of web pages of origins that are not allowed.

    A page of another site can make a browser send requests to this server. If that site's own host name resolves to
    this address ("DNS rebinding"), the page could even read the answers.

    Args:
        app: The application behind this check.
        hosts: Host names that requests may name; ``None`` accepts any.
        origins: Allowed origins besides the server's own.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, origins: tuple[str, ...]) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal_response(refusal) if refusal else self.app)(scope, receive, send)

    def _refusal(self, headers: Headers) -> RefusedError | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self.hosts is not None and _name(host) not in self.hosts:
            expected = ", ".join(sorted(self.hosts))
            return RefusedError(400, "the request names another host", expected=expected, got=host[:200] or "none")
        if origin is not None and origin not in self.origins and origin.partition("//")[2] != host:
            remedy = f"start the server with --allow-origin {origin[:200]}"
            return RefusedError(
                403, "pages of another origin may not call this server", got=origin[:200], remedy=remedy
            )
        return None


class TokenGate:
    """Refuses requests without the token.

    Args:
        app: The application behind this check.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._digest = _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal_response(refusal) if refusal else self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        if scope["path"] in OPEN:
            return None
        scheme, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(shown.strip().encode()), self._digest):
            return None
        got = "another token" if shown else "no token"
        remedy = "the server printed at its start in which file the token is"
        return RefusedError(
            401,
            "this server requires a token",
            expected="Authorization: Bearer TOKEN",
            got=got,
            remedy=remedy,
            challenge=True,
        )


class BodyLimit:
    """Refuses requests that are too large, by their ``Content-Length`` or while their body arrives.

    Args:
        app: The application behind this check.
        limits: Bytes, and the option that sets them, by path; ``OTHER_BYTES`` for all others.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, tuple[int, str | None]]) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, option = self.limits.get(scope["path"], (OTHER_BYTES, None))
        headers = Headers(scope=scope)
        if {"content-length", "transfer-encoding"} <= set(headers.keys()):
            await refusal_response(_TWO_LENGTHS)(scope, receive, send)
            return
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 18 or int(declared) > limit:
            await refusal_response(_too_large(limit, option, f"{declared[:30]} bytes"))(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise _too_large(limit, option, "more")
            return message

        await self.app(scope, limited, send)


_TWO_LENGTHS = RefusedError(
    400,
    "the request gives its length in two ways",  # a proxy may use the other one: request smuggling
    expected="Content-Length or Transfer-Encoding",
    got="both",
    close=True,
)


def _too_large(limit: int, option: str | None, got: str) -> RefusedError:
    remedy = f"send less, or start the server with {option} BYTES" if option else "send less"
    return RefusedError(413, "the request is too large", expected=f"at most {limit:,} bytes", got=got, remedy=remedy)


def _digest(token: bytes) -> bytes:
    """Return a hash: all digests have one length, so the time of a comparison reveals nothing about the token."""
    return hashlib.sha256(token).digest()


def _name(host: str) -> str:
    """Return the name in a ``Host`` header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
