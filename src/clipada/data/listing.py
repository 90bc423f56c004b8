"""Files found by name, without opening one: images and subfolders."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from clipada.errors import DatasetError, ImageError, check_name

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".tif", ".tiff", ".webp"})
"""File name endings, in lower case, that mark an image in a folder."""

_COMPANION_NAMES = frozenset({"LICENSE", "README", "MAKEFILE", "CHANGELOG"})

log = logging.getLogger(__name__)

_warned_of: set[Path] = set()
_SHOWN = 4

COMPANION_SUFFIXES = frozenset(
    {".txt", ".md", ".pdf", ".rtf", ".doc", ".docx", ".html", ".htm", ".log", ".ini", ".cfg", ".toml", ".yaml", ".yml"}
    | {".json", ".jsonl", ".csv", ".tsv", ".xml", ".xls", ".xlsx", ".db", ".db-wal", ".db-shm", ".sqlite", ".lnk"}
    | {".py", ".sh", ".bat", ".ipynb", ".sha256", ".md5", ".part", ".tmp"}
)
"""File name endings, in lower case, of files that are usual beside images. All other files that are no images are named
and counted, since they may be images of a kind that is not read, e.g. ``.raw`` or ``.jp2``."""


def is_image(path: Path | str) -> bool:
    """Return True if the file name has an image suffix, in upper or lower case."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million Path objects would be slow


def is_unread(name: str) -> bool:
    """Return True for the name of a file that is passed over, though it may be an image of another kind."""
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122
    companion = ending in COMPANION_SUFFIXES or name.upper() in _COMPANION_NAMES
    return not (name.startswith(".") or is_image(name) or companion)


def find_images(paths: Iterable[Path]) -> list[Path]:
    """List the image files that ``paths`` name, each once.

    Folders are searched as in ``image_folders``. Files that are named directly are kept with any suffix.

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
                remedy=check_name(path),
            )


def no_images(paths: Sequence[Path]) -> ImageError:
    """Return the error for ``paths`` without an image."""
    return ImageError(
        "no images found",
        expected="files ending in " + ", ".join(sorted(IMAGE_SUFFIXES)),
        got="none in " + (", ".join(map(str, paths)) or "an empty list of paths"),
        remedy="name a folder with images at any depth; a file that is named directly may have any suffix",
    )


def images_below(folder: Path, links: list[Path] | None = None) -> Iterator[Path]:
    """Yield the image files at any depth below ``folder``, in the order of ``image_folders``."""
    return (Path(where, name) for where, names in image_folders(folder, links) for name in names)


def image_folders(folder: Path, links: list[Path] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from ``folder`` downward with the names of the image files directly inside.

    A folder comes before its subfolders; all are sorted by name. Hidden files and folders are skipped, and links to
    folders are not followed. Folders are listed lazily, one at a time. After the last one, a warning names and counts
    files of kinds that are not read, and one the links, unless the caller takes them in ``links``.

    Raises:
        ImageError: A folder cannot be listed.
    """
    unread: list[str] = []
    count = 0
    found = [] if links is None else links
    for where, folders, files in os.walk(folder, onerror=_cannot_list):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [path for path in (Path(where, name) for name in folders) if path.is_symlink()]
        others = sorted(name for name in files if is_unread(name))
        unread += others[: _SHOWN - len(unread)]
        count += len(others)
        yield where, sorted(name for name in files if not name.startswith(".") and is_image(name))
    if count:
        _warn_of_unread(folder, unread, count)
    if links is None and found:
        _warn_of_links(found)


def _warn_of_unread(folder: Path, names: Sequence[str], count: int) -> None:
    """Warn, once per process and folder, that files below ``folder`` are of kinds that are not read."""
    if not any(parent in _warned_of for parent in (folder, *folder.parents)):
        _warned_of.add(folder)
        log.warning(
            "left out of %s: %d files of kinds that are not read: %s%s\n  remedy: save them as PNG",
            folder,
            count,
            ", ".join(names),
            ", ..." if count > len(names) else "",
        )


def _warn_of_links(links: Sequence[Path]) -> None:
    """Warn, once per process, of each link to a folder that is not followed."""
    fresh = [link for link in links if link not in _warned_of]
    _warned_of.update(fresh)
    if fresh:
        log.warning(
            "left out: %d links to folders, which are not followed: %s%s\n  remedy: name the folders themselves too",
            len(fresh),
            ", ".join(map(str, fresh[:_SHOWN])),
            ", ..." if len(fresh) > _SHOWN else "",
        )


def subfolders(folder: Path) -> list[Path]:
    """List the folders directly inside, sorted, without hidden ones; none if ``folder`` does not exist."""
    return _entries(folder, folders=True)


def images_in(folder: Path) -> list[Path]:
    """List the image files directly inside, sorted, without hidden ones; none if ``folder`` does not exist."""
    return [path for path in _entries(folder, folders=False) if is_image(path)]


def folder_name(folder: Path) -> str:
    """Return a folder's name, also if it is given as ``.`` or ``..``; a link keeps its own name."""
    return folder.name if folder.name.strip(".") else folder.resolve().name


def describe_contents(folder: Path) -> str:
    """Describe the content of a folder in a few words for an error message."""
    folders, files = subfolders(folder), _entries(folder, folders=False)
    parts = [
        f"{len(found)} {kind} ({_some(found)})" for found, kind in ((folders, "folders"), (files, "files")) if found
    ]
    return " and ".join(parts) or "an empty folder"


def _entries(folder: Path, *, folders: bool) -> list[Path]:
    """List the folders, or the files, directly inside."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir() == folders)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DatasetError(f"cannot list folder {folder}", expected="a folder", got=error.strerror) from error
    return [folder / name for name in names]


def _some(paths: Sequence[Path], limit: int = 6) -> str:
    """Join the first names of many."""
    return ", ".join(path.name for path in paths[:limit]) + (", ..." if len(paths) > limit else "")


def _cannot_list(error: OSError) -> NoReturn:
    """Raise an error for a folder without read permission, which ``os.walk`` would skip silently."""
    raise ImageError(f"cannot list folder {error.filename}", expected="a folder", got=error.strerror) from error
