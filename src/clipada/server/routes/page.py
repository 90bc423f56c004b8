"""The inspection page: seven static files that call the same API as programs do."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

FOLDER = Path(__file__).parents[1] / "static"

_SOURCES = ("page.css", "page.js", "api.js", "picture.js", "charts.js", "roi.js")

FILES = {"/": "index.html"} | {f"/{name}": name for name in _SOURCES}
"""File by path. The files contain no secrets, so they need no token."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; "
    "connect-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

router = APIRouter(include_in_schema=False)


def _serve(path: str, name: str) -> None:
    @router.get(path)
    async def page() -> FileResponse:
        return FileResponse(FOLDER / name, headers=_HEADERS)


for _path, _name in FILES.items():
    _serve(_path, _name)
