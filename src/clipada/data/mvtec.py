"""The MVTec AD layout: ``<category>/train/good``, ``<category>/test/<defect>``, ``<category>/ground_truth/<defect>``.

Many data sets are available in this layout: MVTec AD 2, MVTec LOCO AD, BTAD, MPDD, VisA too; ``root`` may also be a
single category. Good parts in ``validation`` are set apart for thresholds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from clipada.data.categories import category_folders, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, subfolders
from clipada.data.names import MASKS, TEST, TRAIN, VALIDATION, is_good, plain
from clipada.data.pairing import match_masks
from clipada.types import Sample, Split

SATURATION_FILE = "defects_config.json"
"""File of a category of MVTec LOCO AD that says how much of each kind of defect has to be found."""


def is_mvtec(root: Path) -> bool:
    """Return True if ``root`` is a category in this layout or contains one."""
    return bool(category_folders(root, _is_category))


def read_mvtec(root: Path) -> Dataset:
    """List a data set in this layout. Normal test images are those in ``test/good``."""
    dataset = read_categories(root, "mvtec", _is_category, _category, "no train/good or test")
    files = {folder_name(each): each / SATURATION_FILE for each in category_folders(root, _is_category)}
    return replace(dataset, saturation_files={name: path for name, path in files.items() if path.is_file()})


def threshold_images(root: Path) -> list[Path]:
    """Return the good parts that a data set in this layout sets apart for thresholds; none for any other folder."""
    return [path for each in category_folders(root, _is_category) for path in _good_images(_within(each, VALIDATION))]


def _is_category(folder: Path) -> bool:
    return any(is_good(found.name) for found in _within(folder, TRAIN)) or bool(_tested(folder))


def _named(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the subfolders that have one of some names, in any case."""
    return [found for found in subfolders(folder) if plain(found.name) in names]


def _within(folder: Path, split: Collection[str]) -> list[Path]:
    """Return the folders in the folders of a split, which has one of some names."""
    return [each for found in _named(folder, split) for each in subfolders(found)]


def _tested(folder: Path) -> list[Path]:
    """Return the folders of test images, one for each kind of defect or for good parts."""
    return [each for each in _within(folder, TEST) if plain(each.name) not in MASKS]


def _masks(folder: Path) -> dict[str, list[Path]]:
    """Return the folders of masks of each kind of defect, in the category's folder or beside the test images."""
    found: dict[str, list[Path]] = defaultdict(list)
    for parent in (folder, *_named(folder, TEST)):
        for each in (kind for masks in _named(parent, MASKS) for kind in subfolders(masks)):
            found[plain(each.name)].append(each)
    return found


def _category(folder: Path, notes: list[Note]) -> Iterator[Sample]:
    """Yield the samples of one category; add to ``notes`` the files left out."""
    name = folder_name(folder)
    trained, tested, masked = _within(folder, TRAIN), _tested(folder), _masks(folder)
    splits: dict[Split, list[Path]] = {"train": trained, "validation": _within(folder, VALIDATION), "test": tested}
    for split, folders in splits.items():
        yield from (Sample(path=path, category=name, split=split) for path in _good_images(folders))
    if tested and not any(is_good(each.name) for each in tested):
        kinds = ", ".join(sorted({each.name for each in tested}))
        notes.append(Note(text=f"no test folder of good parts: {kinds} are taken for kinds of defects", category=name))
    strays = 0
    for defect in sorted({plain(each.name) for each in tested} | set(masked)):
        if is_good(defect):
            continue
        matches = match_masks([each for each in tested if plain(each.name) == defect], masked[defect])
        strays += len(matches.strays)
        for matched in matches.images:
            yield matched.sample(name, matched.path.parents[len(matched.place.parts)].name)
    if strays:
        notes.append(Note(text=f"left out: {strays} masks that belong to no image", category=name))
    for other in trained:
        if not is_good(other.name):
            place = other.parent.name
            text = f"left out: {place}/{other.name}, as only {place}/good is trained on"
            notes.append(Note(text=text, category=name))


def _good_images(folders: Sequence[Path]) -> list[Path]:
    """Return the images below the folders of good parts, without masks beside them."""
    matches = match_masks([each for each in folders if is_good(each.name)])
    return [matched.path for matched in matches.images]
