"""The MVTec AD layout: ``<category>/train/good``, ``<category>/test/<defect>``, ``<category>/ground_truth/<defect>``.

Many data sets are available in this layout, VisA too; ``root`` may also be a single category.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from clipada.data.categories import category_folders, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.listing import folder_name, subfolders
from clipada.data.names import MASKS, TEST, TRAIN, is_good, plain
from clipada.data.pairing import match_masks
from clipada.types import Sample


def is_mvtec(root: Path) -> bool:
    """Return True if ``root`` is a category in this layout or contains one."""
    return bool(category_folders(root, _is_category))


def read_mvtec(root: Path) -> Dataset:
    """List a data set in this layout. Normal test images are those in ``test/good``."""
    return read_categories(root, "mvtec", _is_category, _category, "no train/good or test")


def _is_category(folder: Path) -> bool:
    return any(is_good(found.name) for found in _trained(folder)) or bool(_tested(folder))


def _named(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the subfolders that have one of some names, in any case."""
    return [found for found in subfolders(folder) if plain(found.name) in names]


def _trained(folder: Path) -> list[Path]:
    """Return the folders in the training split."""
    return [each for split in _named(folder, TRAIN) for each in subfolders(split)]


def _tested(folder: Path) -> list[Path]:
    """Return the folders of test images, one for each kind of defect or for good parts."""
    found = [each for split in _named(folder, TEST) for each in subfolders(split)]
    return [each for each in found if plain(each.name) not in MASKS]


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
    trained, tested, masked = _trained(folder), _tested(folder), _masks(folder)
    for path in _good_images(trained):
        yield Sample(path=path, category=name, split="train")
    for path in _good_images(tested):
        yield Sample(path=path, category=name, split="test")
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
            split = other.parent.name
            text = f"left out: {split}/{other.name}, as only {split}/good is trained on"
            notes.append(Note(text=text, category=name))


def _good_images(folders: Sequence[Path]) -> list[Path]:
    """Return the images below the folders of good parts, without masks beside them."""
    matches = match_masks([each for each in folders if is_good(each.name)])
    return [matched.path for matched in matches.images]
