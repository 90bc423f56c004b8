"""Files found by name in folders, without opening one: images, subfolders, and which mask belongs to which image."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from clipada.errors import DatasetError, ImageError

_MASK_ENDINGS = ("_mask", "_gt")

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


def subfolders(folder: Path) -> list[Path]:
    """The folders directly inside, sorted, hidden ones skipped; none if ``folder`` does not exist."""
    return _entries(folder, folders=True)


def images_in(folder: Path) -> list[Path]:
    """The image files directly inside, sorted, hidden ones skipped; none if ``folder`` does not exist."""
    return [path for path in _entries(folder, folders=False) if is_image(path)]


def pair_masks(images: Sequence[Path], masks: Iterable[Path]) -> tuple[dict[Path, Path], list[Path]]:
    """Match masks to images of one folder by name: ``000.png`` goes with ``000.png`` or ``000_mask.png``.

    Returns:
        Each image's mask, and the masks that belong to no image.

    Raises:
        DatasetError: Two masks fit one image, or two images one mask.
    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        by_stem[image.stem].append(image)
    paired: dict[Path, Path] = {}
    strays = []
    for mask in masks:
        owners = by_stem.get(mask.stem) or by_stem.get(_without_ending(mask.stem), [])
        if not owners:
            strays.append(mask)
        elif len(owners) > 1 or owners[0] in paired:
            raise _ambiguous(owners, [mask, *(paired[owner] for owner in owners if owner in paired)])
        else:
            paired[owners[0]] = mask
    return paired, strays


def name_of(folder: Path) -> str:
    """A folder's name, also where it is given as ``.`` or ``..``; a link keeps its own."""
    return folder.name if folder.name.strip(".") else folder.resolve().name


def contents(folder: Path) -> str:
    """What a folder holds, in a few words for an error."""
    folders, files = subfolders(folder), _entries(folder, folders=False)
    parts = [
        f"{len(found)} {kind} ({_some(found)})" for found, kind in ((folders, "folders"), (files, "files")) if found
    ]
    return " and ".join(parts) or "an empty folder"


def _entries(folder: Path, *, folders: bool) -> list[Path]:
    """The folders, or else the files, directly inside."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir() == folders)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DatasetError(f"cannot list folder {folder}", expected="a folder", got=error.strerror) from error
    return [folder / name for name in names]


def _without_ending(stem: str) -> str:
    """A mask's stem as its image has it."""
    ending = next((ending for ending in _MASK_ENDINGS if stem.endswith(ending)), "")
    return stem.removesuffix(ending)


def _ambiguous(images: Sequence[Path], masks: Sequence[Path]) -> DatasetError:
    """The error for masks whose image is in doubt."""
    return DatasetError(
        f"masks cannot be told apart in {masks[0].parent}",
        expected="one mask for each anomalous image",
        got=f"{_some(masks, 4)} for {_some(images, 4)}",
        remedy="remove or rename the one that is wrong",
    )


def _some(paths: Sequence[Path], limit: int = 6) -> str:
    """The first names of many."""
    return ", ".join(path.name for path in paths[:limit]) + (", ..." if len(paths) > limit else "")


def _cannot_list(error: OSError) -> NoReturn:
    """Say which folder is closed to us, where ``os.walk`` would pass over it."""
    raise ImageError(f"cannot list folder {error.filename}", expected="a folder", got=error.strerror) from error
