"""The bit depth of a camera, measured on many images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from clipada.config.image_rules import DEFAULT_RULES, ImageRules
from clipada.errors import ImageError
from clipada.images.depth import DepthUsage
from clipada.images.reading import read_depth_usage

MOST_MEASURED = 1000
"""Largest number of images that a depth is measured on; of more, evenly spread ones are read."""


def find_depth(paths: Sequence[Path], workers: int = 2, rules: ImageRules = DEFAULT_RULES) -> int | None:
    """Find the bits of a camera's values in 16-bit files: 8, 10, 12, 14 or 16.

    It is the depth that the files state, else the least whose range all but one pixel in a thousand of all the images
    stay in, so that broken pixels of a sensor do not count. Files of other kinds are not decoded, and those that cannot
    be read are left out.

    Args:
        paths: The images, of which at most ``MOST_MEASURED`` are read.
        workers: Threads that decode.
        rules: The channels and the page that are read.

    Returns:
        ``None`` if no image is 16-bit.
    """
    chosen = paths[:: max(1, -(-len(paths) // MOST_MEASURED))]
    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="clipada-depth") as pool:
        found = [usage for usage in pool.map(lambda path: _usage(path, rules), chosen) if usage]
    return sum(found[1:], found[0]).depth if found else None


def completed_rules(rules: ImageRules, paths: Sequence[Path], workers: int = 2) -> ImageRules:
    """Return rules with the depth that the camera's values have in 16-bit files, unless they name it."""
    return rules if rules.depth is not None else replace(rules, depth=find_depth(paths, workers, rules))


def _usage(path: Path, rules: ImageRules) -> DepthUsage | None:
    try:
        return read_depth_usage(path, rules)
    except ImageError:
        return None
