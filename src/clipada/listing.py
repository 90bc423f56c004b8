"""Image files found by name in folders, without opening one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from clipada.errors import ImageError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""File name endings, in lower case, that mark an image in a folder."""


def is_image(path: Path | str) -> bool:
    """Whether the file's name ends as an image's does, in upper or lower case."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - of a million names, no Path is made


def find_images(paths: Iterable[Path]) -> list[Path]:
    """List the image files that ``paths`` name, each once.

    Folders are searched as ``image_folders`` does. Files named outright are kept whatever their suffix.

    Raises:
        ImageError: A path does not exist or cannot be listed, or there is no image at all.
    """
    paths = list(paths)
    require_paths(paths)
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(images_below(path) if path.is_dir() else [path]))
    if not found:
        raise no_images(paths)
    return list(found)


def require_paths(paths: Iterable[Path]) -> None:
    """Raise an ``ImageError`` that names the first of ``paths`` that does not exist, if any."""
    for path in paths:
        if not path.exists():
            raise ImageError(
                f"no such file or folder: {path}",
                expected="image files, or folders that hold some",
                remedy="check the name" + ("" if path.is_absolute() else f"; it was looked for in {Path.cwd()}"),
            )


def no_images(paths: Sequence[Path]) -> ImageError:
    """The error for ``paths`` that hold no image."""
    return ImageError(
        "no images found",
        expected="files ending in " + ", ".join(sorted(IMAGE_SUFFIXES)),
        got="none in " + (", ".join(map(str, paths)) or "an empty list of paths"),
        remedy="name a folder that holds some, at any depth; a file named outright may end as it likes",
    )


def images_below(folder: Path) -> Iterator[Path]:
    """The image files at any depth below ``folder``, as ``image_folders`` finds them, one after another."""
    return (Path(where, name) for where, names in image_folders(folder) for name in names)


def image_folders(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Each folder from ``folder`` downwards, and the names of the image files directly inside.

    A folder's own come first, then each subfolder's, all sorted by name. Hidden files and folders are skipped, and
    links to folders are not followed. One folder is listed at a time, when it is asked for.

    Raises:
        ImageError: A folder cannot be listed.
    """
    for where, folders, files in os.walk(folder, onerror=_cannot_list):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield where, sorted(name for name in files if not name.startswith(".") and is_image(name))


def _cannot_list(error: OSError) -> NoReturn:
    """Say which folder is closed to us, where ``os.walk`` would pass over it."""
    raise ImageError(f"cannot list folder {error.filename}", expected="a folder", got=error.strerror) from error
