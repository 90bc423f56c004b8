"""Groups of images that share a threshold, read from the images' paths."""

from __future__ import annotations

import re
from pathlib import Path

from clipada.types.folder_names import BAD, GOOD, plain

PRODUCT, FOLDER = "product", "folder"

_SPLITS = ("train", "validation", "test", "test_public", "test_private", "test_private_mixed")


def group_of(path: Path, rule: str | None) -> str | None:
    """Return the group of an image.

    Args:
        path: The image file.
        rule: One of

            - ``None``: no groups.
            - ``product``: the folder that holds a split (``train``, ``test``, ``validation``, ``test_public``), as in
              the MVTec AD layout; without these, the nearest folder above the image that has no name of good or of
              defective parts, such as ``good``, ``OK`` or ``NG``.
            - ``folder``: the folder that contains the image.
            - Anything else: a regular expression, searched in the absolute path with ``/`` between names; its first
              group names the group, or the whole match where it has none.

    Returns:
        The group's name, or ``None`` where there is none.
    """
    if rule is None:
        return None
    folders = path.absolute().parts[1:-1]
    if rule == FOLDER:
        return folders[-1] if folders else None
    if rule == PRODUCT:
        return product_by_split(path) or _nearest(folders)
    match = re.search(rule, path.absolute().as_posix())
    return match and match[1 if match.re.groups else 0]


def product_by_split(path: Path) -> str | None:
    """Return the folder that holds a split, as in MVTec AD and MVTec AD 2, or ``None`` without one."""
    folders = path.absolute().parts[1:-1]
    splits = [place for place, name in enumerate(folders) if name in _SPLITS and place > 0]
    return folders[splits[-1] - 1] if splits else None


def _nearest(folders: tuple[str, ...]) -> str | None:
    """Return the nearest folder above the image that is not one of good or anomalous images."""
    return next((name for name in reversed(folders) if plain(name) not in GOOD | BAD), None)
