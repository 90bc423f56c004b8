"""Who may come in, and with how much: host names, web origins, the token, the size of a request."""

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
"""The largest request where no image is expected."""


class OriginGate:
    """Lets in only what names this host, and of web pages only its own and those allowed.

    A page of another site can make a browser send requests here, and with a name of its own that leads to this address
    ("DNS rebinding") it could read the answers too.

    Args:
        app: What lies behind.
        hosts: Names that the server may be called by; ``None`` for any.
        origins: OriginGate allowed besides the server's own.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None, origins: tuple[str, ...]) -> None:
        self.app = app
        self.hosts = hosts
        self.origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
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
    """Lets in only who shows the token.

    Args:
        app: What lies behind.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._digest = _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal_response(refusal) if refusal else self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        if scope["path"] in OPEN:
            return None
        scheme, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(shown.strip().encode()), self._digest):
            return None
        got = "another token" if shown else "no token"
        remedy = "the server said at its start in which file the token is"
        return RefusedError(
            401,
            "this server wants a token",
            expected="Authorization: Bearer TOKEN",
            got=got,
            remedy=remedy,
            challenge=True,
        )


class BodyLimit:
    """Refuses requests that are too large, by what they say of themselves and by what comes; and those of two lengths.

    Args:
        app: What lies behind.
        limits: Bytes for each path; ``OTHER_BYTES`` for all others.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limits.get(scope["path"], OTHER_BYTES)
        headers = Headers(scope=scope)
        if {"content-length", "transfer-encoding"} <= set(headers.keys()):
            await refusal_response(_TWO_LENGTHS)(scope, receive, send)
            return
        said = headers.get("content-length", "0")
        if not said.isdecimal() or len(said) > 18 or int(said) > limit:
            await refusal_response(_too_large(limit, f"{said[:30]} bytes"))(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > limit:
                raise _too_large(limit, "more")
            return message

        await self.app(scope, counted, send)


_TWO_LENGTHS = RefusedError(
    400,
    "the request tells its length in two ways",  # a proxy may believe the other, and be smuggled a second request
    expected="Content-Length or Transfer-Encoding",
    got="both",
    close=True,
)


def _too_large(limit: int, got: str) -> RefusedError:
    return RefusedError(
        413, "the request is too large", expected=f"at most {limit:,} bytes", got=got, remedy="send a smaller file"
    )


def _digest(token: bytes) -> bytes:
    """Of one length for every token, so that comparing tells nothing of it."""
    return hashlib.sha256(token).digest()


def _name(host: str) -> str:
    """The name in a ``Host`` header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
