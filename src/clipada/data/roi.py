"""Reading of regions of interest: mask images, or polygons in JSON, for all products or each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipada.config.image_rules import ImageRules
from clipada.data.dataset import Dataset
from clipada.errors import ClipAdaError, ConfigError, DatasetError, ImageError, check_name, did_you_mean
from clipada.files import read_json
from clipada.images import read_levels, read_rgb
from clipada.images.roi import RegionOfInterest, RegionsOfInterest

SUFFIXES = (".json", ".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
"""Endings of files with a region of interest: polygons, or a mask."""

FAINT, MOST_FAINT = 0.25, 0.05
"""A mask's pixels are dark or bright: at most this share is farther than ``FAINT`` of its range from both ends."""

_FORMS = "a mask image (white counts), a .json file with polygons, or a folder with one of them for each product"


def read_regions(path: Path, dataset: Dataset, rules: ImageRules) -> RegionsOfInterest:
    """Read the regions of interest of a data set's products.

    Args:
        path: A file for all products; a file with one for each, as a run has it; or a folder of files that are named
            after products. A product without one counts as a whole.
        dataset: The products, to whose training images the sizes must fit.
        rules: Rules by which these images are read.

    Raises:
        DatasetError: There is no such file, no such product, or nothing to be read; a region is empty, outside of the
            image, or for images of another size.
    """
    if path.is_dir():
        regions = _of_folder(path, dataset)
    elif path.is_file():
        regions = _of_file(path, dataset.categories)
    else:
        raise DatasetError(
            f"no region of interest in {path}", expected=_FORMS, got="no such file", remedy=check_name(path)
        )
    for name, region in regions.items():
        _require_known(name, dataset, path)
        _require_size(region, _training_size(name, dataset, rules), name, path)
    return RegionsOfInterest(products=regions)


def _of_folder(folder: Path, dataset: Dataset) -> dict[str, RegionOfInterest]:
    """Read the files of a folder, each of which is named after a product."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    regions: dict[str, RegionOfInterest] = {}
    for path in files:
        name = path.stem
        _require_known(name, dataset, path)
        if path.suffix.lower() not in SUFFIXES or name in regions:
            got = path.name if name not in regions else f"two files, {path.name} one of them"
            raise DatasetError(f"cannot read the region of interest of {name} in {folder}", expected=_FORMS, got=got)
        regions[name] = _of_one(path)
    if not regions:
        raise DatasetError(f"no region of interest in {folder}", expected=_FORMS, got="an empty folder")
    return regions


def _of_file(path: Path, categories: tuple[str, ...]) -> dict[str, RegionOfInterest]:
    """Read a file for all products, or a file of a run."""
    if path.suffix.lower() != ".json":
        return dict.fromkeys(categories, _of_one(path))
    content = _content(path)
    if "products" not in content:
        return dict.fromkeys(categories, _of_one(path))
    try:
        return dict(RegionsOfInterest.from_dict(content).products)
    except ConfigError as error:
        raise _unusable(path, error) from error


def _of_one(path: Path) -> RegionOfInterest:
    """Read one region of interest."""
    if path.suffix.lower() == ".json":
        try:
            return RegionOfInterest.from_dict(_content(path))
        except ConfigError as error:
            raise _unusable(path, error) from error
    try:
        levels = read_levels(path).astype(np.float64)
    except ImageError as error:
        raise DatasetError(
            f"{path} is no region of interest", expected=_FORMS, got=str(error.got or error.what), remedy=error.remedy
        ) from error
    if not levels.any():
        raise DatasetError(f"the region of interest in {path} is empty", expected="white pixels", got="a black image")
    shares = levels / levels.max()
    faint = float((np.abs(shares - 0.5) < 0.5 - FAINT).mean())
    if faint > MOST_FAINT:
        raise DatasetError(
            f"{path} is no region of interest",
            expected="a mask: white counts, black does not",
            got=f"a picture: {faint:.0%} of the pixels are neither dark nor bright",
        )
    return RegionOfInterest.of_mask(shares > 0.5)


def _content(path: Path) -> dict[str, object]:
    try:
        return read_json(path, "draw it again, or correct the file")
    except ClipAdaError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: ClipAdaError) -> DatasetError:
    return DatasetError(
        f"{path} is no region of interest: {error.what}",
        expected=error.expected,
        got=error.got,
        remedy=error.remedy or "draw it on the page of `clipada serve`, or correct the file",
    )


def _require_known(name: str, dataset: Dataset, path: Path) -> None:
    if name not in dataset.categories:
        raise DatasetError(
            f"the region of interest in {path} is of an unknown product",
            expected=" | ".join(dataset.categories),
            got=name,
            remedy=did_you_mean(name, dataset.categories),
        )


def _training_size(name: str, dataset: Dataset, rules: ImageRules) -> tuple[int, int]:
    """Return width and height of the first training image of a product that can be read."""
    for sample in dataset.of(name).train:
        try:
            height, width, _ = read_rgb(sample.path, rules).shape
        except ImageError:
            continue
        return width, height
    raise DatasetError(f"no good image of {name} can be read", remedy="check the files")


def _require_size(region: RegionOfInterest, size: tuple[int, int], name: str, path: Path) -> None:
    if region.size != size:
        raise DatasetError(
            f"the region of interest in {path} does not fit the images of {name}",
            expected=f"{size[0]} x {size[1]} pixels, as the first training image",
            got=f"{region.size[0]} x {region.size[1]}",
            remedy="draw it on an image of the product at its own size",
        )
