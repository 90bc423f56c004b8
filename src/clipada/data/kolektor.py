"""KolektorSDD and KolektorSDD2: a mask beside each image, black for a good part; defects have no folder of their own.

KolektorSDD2 has the folders ``train`` and ``test``. KolektorSDD has a folder for each item (``kos01``) and no split.
``root`` may also contain several such products, or be a single folder of images and masks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from clipada.data.categories import category_folders, choose_held_out, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, images_in, subfolders
from clipada.data.masks import read_marked
from clipada.data.names import BAD, GOOD, TEST, TRAIN, plain
from clipada.data.pairing import Matched, match_beside, split_masks
from clipada.errors import ImageError
from clipada.types import Sample, Split

DEFECT = "defect"
"""Kind of all defects: the layout names none."""

_ITEM = re.compile(r"kos\d+")


class _Labeled(NamedTuple):
    """An image beside its mask; ``marked`` is ``None`` if the mask cannot be read."""

    image: Matched
    marked: bool | None


def is_kolektor(root: Path) -> bool:
    """Return True if ``root`` is a product in this layout or contains one."""
    return bool(category_folders(root, _is_product))


def read_kolektor(root: Path) -> Dataset:
    """List a data set in this layout. Every mask is opened, to tell good parts from defective ones.

    Raises:
        DatasetError: Masks are ambiguous.
    """
    labels: list[Path] = []
    listed = partial(_product, labels=labels)
    dataset = read_categories(root, "kolektor", _is_product, listed, "no masks beside images")
    return replace(dataset, label_files=tuple(labels))


def _is_product(folder: Path) -> bool:
    named = any(plain(found.name) in GOOD | BAD for found in subfolders(folder))
    return not named and any(split_masks(images_in(each))[1] for each in _places(folder))


def _places(folder: Path) -> list[Path]:
    """Return the folders that may hold a product's images: its own, those of its split and of its items."""
    return [folder, *(found for found in subfolders(folder) if _split(found) or _ITEM.fullmatch(plain(found.name)))]


def _split(folder: Path) -> Split | None:
    """Return the split that a folder is named after."""
    name = plain(folder.name)
    return "train" if name in TRAIN else "test" if name in TEST else None


def _product(folder: Path, notes: list[Note], labels: list[Path]) -> Iterator[Sample]:
    """Yield the samples of one product; add to ``notes`` what is left out or decided, to ``labels`` the black masks."""
    name = folder_name(folder)
    remarks: list[str] = []
    found = {place: _labeled(place, remarks) for place in _places(folder)}
    good = {place: [one.image.path for one in images if not one.marked] for place, images in found.items()}
    labels += [mask for images in found.values() for one in images if not one.marked for mask in one.image.masks]
    held_out, decided = _held_out(name, {place: paths for place, paths in good.items() if not _split(place)})
    normal = [
        Sample(path=path, category=name, split=_split(place) or ("test" if path in held_out else "train"))
        for place, paths in good.items()
        for path in paths
    ]
    yield from sorted(normal, key=lambda sample: sample.split, reverse=True)
    for place, images in found.items():
        defective = [one.image for one in images if one.marked]
        if _split(place) == "train" and defective:
            remarks.append(
                f"left out: {len(defective)} defective images of {place.name}, as only good ones are trained on"
            )
        else:
            yield from (image.sample(name, DEFECT) for image in defective)
    notes += [*(Note(text=text, category=name) for text in remarks), *decided]


def _labeled(folder: Path, remarks: list[str]) -> list[_Labeled]:
    """Return the images directly inside whose masks can be read; add to ``remarks`` how many others there are."""
    images = match_beside(images_in(folder)).images
    if not any(one.masks for one in images):
        return []
    without = [one.path for one in images if not one.masks]
    if without:
        remarks.append(f"left out: {len(without)} images of {folder.name} without a mask, e.g. {without[0].name}")
    with ThreadPoolExecutor() as pool:
        labeled = list(pool.map(_label, (one for one in images if one.masks)))
    unclear = [one.image.path for one in labeled if one.marked is None]
    if unclear:
        remarks.append(f"left out: {len(unclear)} images of {folder.name} with unclear masks, e.g. {unclear[0].name}")
    return [one for one in labeled if one.marked is not None]


def _label(image: Matched) -> _Labeled:
    try:
        return _Labeled(image, any(read_marked(mask).any() for mask in image.masks))
    except ImageError:
        return _Labeled(image, None)


def _held_out(category: str, good: Mapping[Path, Sequence[Path]]) -> tuple[set[Path], list[Note]]:
    """Choose the good images for the test where there is no split: those of some items, else some of the images."""
    filled = {place.name: paths for place, paths in good.items() if paths}
    items: dict[str, Sequence[Path]] = dict(filled)
    alone = len(filled) == 1
    if alone:
        items = {path.name: [path] for paths in filled.values() for path in paths}
    if len(items) < 2:
        return set(), []
    chosen = choose_held_out(items)
    held_out = {path for item in chosen for path in items[item]}
    counted = f"{len(held_out)} of {sum(map(len, filled.values()))} good images"
    text = (
        f"{counted} held out for the test, chosen by name"
        if alone
        else f"{counted}, those of {len(chosen)} of {len(items)} items, held out for the test"
    )
    return held_out, [Note(text=text, category=category, splits=alone)]
