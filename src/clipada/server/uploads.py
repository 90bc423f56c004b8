"""Images of a request: files of a form, or the whole body. Nothing is fetched, nothing is unpacked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import python_multipart  # noqa: F401 - reads forms; import it here so that its absence is an error at the start
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from clipada.errors import ImageSizeError
from clipada.images import read_header
from clipada.server.errors import RefusedError

IMAGE_TYPES = ("image/bmp", "image/jpeg", "image/png", "image/tiff", "image/webp")
"""Media types of the images that can be inspected."""

_FORM = "multipart/form-data"
_RAW = ("image/", "application/octet-stream")
_REMEDY = "send the image itself: curl -F file=@part.png, or --data-binary @part.png -H 'Content-Type: image/png'"


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An uploaded file.

    Attributes:
        name: The name that the caller gave it.
        content: Its bytes.
    """

    name: str | None
    content: bytes = field(repr=False)


def declared_bytes(request: Request, limit: int) -> int:
    """Return a request's ``Content-Length``; ``limit`` if it has none."""
    return int(request.headers.get("content-length", limit))


async def read_uploads(request: Request, field_name: str, most: int, seconds: float) -> list[Upload]:
    """Read a request's images.

    Args:
        request: The request.
        field_name: The field of the form that holds them.
        most: Largest number of images.
        seconds: Time in which they must arrive.

    Returns:
        At least one upload.

    Raises:
        RefusedError: There is no image, another field, or too many images; the request arrives too slowly (408); its
            names cannot be decoded.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, field_name, most)
    except HTTPException as error:
        if "Too many files" not in str(error.detail):
            raise
        raise RefusedError(
            400,
            "Too many files",
            expected="one image" if most == 1 else f"at most {most} images",
            got="more",
            remedy="POST /v1/inspect/batch" if most == 1 else "send fewer, or start the server with --batch-images N",
        ) from None
    except TimeoutError:
        raise RefusedError(
            408, "the request arrived too slowly", expected=f"all of it within {seconds:g} s", remedy="send it again"
        ) from None
    except UnicodeError as error:  # the form is not in the encoding that it names
        raise RefusedError(422, "the form's names cannot be read", expected="UTF-8", got=str(error)[:200]) from None
    except ClientDisconnect:
        raise RefusedError(400, "the caller disconnected") from None


async def pixels_of(content: bytes, most: int) -> int:
    """Return the number of pixels of an image, from its header alone: a decompression bomb is never decoded.

    Raises:
        ImageError: It is not an image, empty, damaged, or has more than ``most`` pixels.
    """
    try:
        header = await run_in_threadpool(read_header, content, most)
    except ImageSizeError as error:
        if "pixels" in (error.expected or ""):
            error.remedy = f"{error.remedy}, or start the server with --max-pixels PIXELS"
        raise
    return header.width * header.height


async def _read(request: Request, field_name: str, most: int) -> list[Upload]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith(_RAW):
        return [Upload(name=None, content=await request.body())]
    if kind != _FORM:
        raise RefusedError(
            415,
            "the request contains no image",
            expected=f"{_FORM} with the field {field_name}, or an image",
            got=kind[:200] or "no Content-Type",
            remedy=_REMEDY,
        )
    async with request.form(max_files=most, max_fields=1) as form:
        others = sorted({name for name, value in form.multi_items() if name != field_name or isinstance(value, str)})
        if others:
            got = ", ".join(others)[:200]
            expected = f"only files, in the field {field_name}; URLs are not fetched, model and group go in the query"
            raise RefusedError(422, "the form has other fields", expected=expected, got=got, remedy=_REMEDY)
        files = [value for value in form.getlist(field_name) if isinstance(value, UploadFile)]
        if not files:
            raise RefusedError(422, "the form contains no image", expected=f"the field {field_name}", remedy=_REMEDY)
        return [Upload(name=file.filename, content=await file.read()) for file in files]
