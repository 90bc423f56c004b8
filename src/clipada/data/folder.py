"""Plain folder layout: images of good parts and, optionally, ``anomalous`` ones with their ``masks``.

A product is a folder with images directly inside or in a folder with a name of good parts, e.g. ``good`` or ``OK``.
``root`` is one product or a folder of products.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from clipada.data.categories import category_folders, choose_held_out, read_categories
from clipada.data.dataset import Dataset, Note
from clipada.data.labels import called_defective, look_like_masks
from clipada.data.listing import folder_name, images_in, subfolders
from clipada.data.names import BAD, GOOD, MASKS, SPLITS, is_good, mask_owner, plain
from clipada.data.pairing import match_masks, split_masks
from clipada.errors import DatasetError
from clipada.types import Sample

_KNOWN = GOOD | BAD | MASKS


def is_folder(root: Path) -> bool:
    """Return True if ``root`` is a product or contains one."""
    return bool(category_folders(root, _is_product))


def read_folder(root: Path) -> Dataset:
    """List a data set in this layout.

    Raises:
        DatasetError: Masks are ambiguous, or a folder of anomalous images is called good.
    """
    for folder in category_folders(root, _is_product):
        _require_product(root, folder)
    return read_categories(root, "folder", _is_product, _product, "no images directly inside or in good")


def _is_product(folder: Path) -> bool:
    return bool(_named(folder, GOOD | BAD)) or bool(images_in(folder))


def _named(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the subfolders that have one of some names."""
    return [found for found in subfolders(folder) if plain(found.name) in names]


def _require_product(root: Path, folder: Path) -> None:
    """Raise ``DatasetError`` for a folder that holds masks among good parts, or a split without names of good parts."""
    if folder != root and plain(folder.name) in SPLITS:
        got = f"the folder {folder.name} with {len(images_in(folder))} images directly inside"
    elif not _named(folder, GOOD) and (masks := split_masks(images_in(folder))[1]):
        got = f"{len(masks)} masks beside images in {folder}, e.g. {masks[0].name}"
    elif not _named(folder, GOOD) and (called := called_defective(images_in(folder))):
        got = f"{len(called)} images in {folder} that their names call defective, e.g. {called[0].name}"
    elif not _named(folder, GOOD) and (owner := _owner_of_masks(root, folder)) is not None:
        got = f"masks in {folder} of the images in {owner}"
    else:
        return
    raise DatasetError(
        f"good and defective parts cannot be told apart in {root}",
        expected="folders of good parts (good, ok, normal) and of defective ones (defective, bad, ng)",
        got=got,
        remedy="move good parts to good, defective ones to defective, and masks to masks",
    )


def _owner_of_masks(root: Path, folder: Path) -> Path | None:
    """Return the folder whose images the files of a folder are masks of, by names and content; ``None`` if none."""
    stems = {mask_owner(path.stem) or plain(path.stem) for path in images_in(folder)}
    for other in category_folders(root, _is_product):
        if other != folder and stems and stems <= {plain(path.stem) for path in images_in(other)}:
            return other if look_like_masks(images_in(folder)) else None
    return None


def _product(folder: Path, notes: list[Note]) -> Iterator[Sample]:
    """Yield the samples of one product; add to ``notes`` the files left out and the decisions made."""
    name = _product_name(folder)
    remarks: list[str] = []
    masks = _named(folder, MASKS)
    kinds = {plain(found.name) for each in masks for found in subfolders(each)} - _KNOWN
    good = _good_images(folder, remarks)
    anomalous = list(_anomalous(folder, name, remarks))
    for kind in _named(folder, kinds):
        anomalous += _defective(kind, [each / kind.name for each in masks], name, kind.name, remarks)
    held_out = _held_out(folder, good) if anomalous else set()
    notes += [Note(text=text, category=name) for text in remarks]
    if anomalous:
        notes.append(Note(text=_describe_split(held_out, good), category=name, splits=bool(held_out)))
    others = [found.name for found in subfolders(folder) if plain(found.name) not in _KNOWN | kinds]
    unnamed = "which has no name of good or defective parts or masks"
    notes += [Note(text=f"left out: folder {other}, {unnamed}", category=name) for other in others]
    yield from (Sample(path=path, category=name, split="train") for path in good if path not in held_out)
    yield from (Sample(path=path, category=name, split="test") for path in good if path in held_out)
    yield from anomalous


def _product_name(folder: Path) -> str:
    """Return the folder's name; above folders of good parts or of a split, which name no product, the one that does."""
    name = folder_name(folder)
    if plain(name) not in GOOD | SPLITS:
        return name
    above = (each.name for each in folder.resolve().parents)
    return next((each for each in above if each and plain(each) not in GOOD | SPLITS), name)


def _good_images(folder: Path, remarks: list[str]) -> list[Path]:
    """Return the images of good parts: those in folders of such a name if these exist, else those directly inside."""
    direct = images_in(folder)
    named = _named(folder, GOOD)
    if not named:
        return direct
    if direct:
        remarks.append(f"left out: {len(direct)} images beside the folder {named[0].name}")
    return [matched.path for matched in match_masks(named).images]


def _anomalous(folder: Path, category: str, remarks: list[str]) -> Iterator[Sample]:
    """Yield the anomalous images with their masks; a subfolder is named after its kind of defect."""
    masks = _named(folder, MASKS)
    for bad in _named(folder, BAD):
        wrong = next((found for found in subfolders(bad) if is_good(found.name)), None)
        if wrong is not None:
            raise DatasetError(
                f"anomalous images called good in {bad}",
                expected="folders named after kinds of defects",
                got=wrong.name,
                remedy=f"move good parts to {folder / 'good'}",
            )
        own = [each / bad.name for each in masks if (each / bad.name).is_dir()]
        yield from _defective(bad, own or masks, category, None, remarks)


def _defective(
    folder: Path, mask_folders: Sequence[Path], category: str, defect: str | None, remarks: list[str]
) -> Iterator[Sample]:
    """Yield the images of one folder of defective parts; without ``defect``, subfolders are kinds of defects."""
    matches = match_masks([folder], mask_folders[:1])
    for matched in matches.images:
        yield matched.sample(category, defect or (matched.place.parts[0] if matched.place.parts else folder.name))
    if matches.strays:
        remarks.append(f"left out: {len(matches.strays)} masks that belong to no image")


def _held_out(folder: Path, good: Sequence[Path]) -> set[Path]:
    """Choose a fixed share of the good images, at least one but never all, by a hash of their names."""
    names = {path.relative_to(folder).as_posix(): path for path in good} if len(good) > 1 else {}
    return {names[name] for name in choose_held_out(names)}


def _describe_split(held_out: Collection[Path], good: Sequence[Path]) -> str:
    if held_out:
        return f"{len(held_out)} of {len(good)} good images held out for the test, chosen by name"
    return "no good image held out for the test, as there are fewer than two"
