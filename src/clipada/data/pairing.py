"""Masks found by name: beside their images, in folders of masks, or several in a folder named after one image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clipada.data.listing import image_folders
from clipada.data.names import DEPTHS, MASKS, is_numbered, mask_owner, plain
from clipada.errors import DatasetError
from clipada.types import Sample

Places = defaultdict[Path, list[Path]]
"""Files by their folder, relative to a common one."""

_PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".jpe"})


class Matched(NamedTuple):
    """An image, its folder below a common one, and its masks."""

    place: Path
    path: Path
    masks: tuple[Path, ...]

    def sample(self, category: str, defect: str) -> Sample:
        """Return the anomalous test image with its masks."""
        first, more = (self.masks[0], self.masks[1:]) if self.masks else (None, ())
        return Sample(path=self.path, category=category, split="test", defect=defect, mask=first, more_masks=more)


class Matches(NamedTuple):
    """The images below some folders, and the masks that belong to none of them."""

    images: list[Matched]
    strays: list[Path]


def match_masks(folders: Sequence[Path], mask_folders: Sequence[Path] = ()) -> Matches:
    """Match the images below some folders with masks beside them, in folders of masks among them, and in others.

    A mask is called as its image (``000.png``, ``000_mask.png``, ``000_mask_0.png``) and in the same place below its
    folder, or is any file in a folder that is called as the image. Depth maps beside images are left out.

    Raises:
        DatasetError: Two masks fit one image and are not numbered, or one mask fits two images.
    """
    photos, masks = _sorted_out(folders)
    for place, files in _by_place(mask_folders).items():
        masks[place] += files
    return _matched(photos, masks)


def match_beside(files: Sequence[Path], masks: Sequence[Path] = ()) -> Matches:
    """Match the images of one folder with the masks among them, as ``split_masks`` tells them apart, and with others.

    Raises:
        DatasetError: As for ``match_masks``.
    """
    photos, beside = split_masks(files)
    here = Path()
    return _matched(Places(list, {here: photos}), Places(list, {here: [*beside, *masks]}))


def _matched(photos: Places, masks: Places) -> Matches:
    """Match masks with images by their place and name."""
    owned: dict[Path, list[Path]] = defaultdict(list)
    strays: list[Path] = []
    stems = {place: _by_stem(files) for place, files in photos.items()}
    for place in sorted(masks):
        for mask in masks[place]:
            owners, together = _owners(stems, place, mask)
            if not owners:
                strays.append(mask)
            elif len(owners) > 1 or (owned[owners[0]] and not together):
                raise _ambiguous(owners, [mask, *(one for owner in owners for one in owned[owner])])
            else:
                owned[owners[0]].append(mask)
    return Matches(
        [Matched(place, path, tuple(owned[path])) for place in sorted(photos) for path in photos[place]], strays
    )


def split_masks(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split the image files of one folder into images and masks that are beside them.

    A mask is named after its image (``000_GT.png`` beside ``000.png``), or has its name and another suffix, if that
    holds for every image of the folder (``000.png`` beside ``000.jpg``, as in Real-IAD).
    """
    stems = {plain(path.stem) for path in files}
    masks = {path for path in files if mask_owner(path.stem) in stems}
    if not masks and len(files) == 2 * len(stems):
        photos = {path for path in files if path.suffix.lower() in _PHOTO_SUFFIXES}
        if {plain(path.stem) for path in photos} == stems and len(photos) == len(stems):
            masks = set(files) - photos
    return [path for path in files if path not in masks], [path for path in files if path in masks]


def _sorted_out(folders: Sequence[Path]) -> tuple[Places, Places]:
    """Return the photos and the masks below some folders, without depth maps."""
    photos, masks = Places(list), Places(list)
    for place, files in _by_place(folders).items():
        names = {plain(part) for part in place.parts}
        if names & MASKS:
            masks[place] += files
        elif not names & DEPTHS:
            photos[place], beside = split_masks(files)
            masks[place] += beside
    return photos, masks


def _by_place(folders: Sequence[Path]) -> Places:
    """Group the images below some folders by their place below them; none if a folder does not exist."""
    places = Places(list)
    for folder in folders:
        for where, names in image_folders(folder, []) if folder.is_dir() else ():
            if names:
                places[Path(where).relative_to(folder)] += [Path(where, name) for name in names]
    return places


def _by_stem(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Group files by their plain stem."""
    stems: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        stems[plain(path.stem)].append(path)
    return stems


def _owners(stems: Mapping[Path, dict[str, list[Path]]], place: Path, mask: Path) -> tuple[list[Path], bool]:
    """Return the images that a mask fits, and True if further masks may belong to them."""
    for near in _near(stems, place):
        found = stems[near].get(plain(mask.stem))
        if found:
            return found, False
        if found := stems[near].get(mask_owner(mask.stem) or ""):
            return found, is_numbered(mask.stem)
    around = stems.get(place.parent, {}) if place.parts else {}
    return around.get(plain(place.name), []), True


def _near(stems: Mapping[Path, object], place: Path) -> Iterator[Path]:
    """Yield the places of a mask's images: its own; of a folder of masks also the one around it and those beside it."""
    if place in stems:
        yield place
    if place.parts and plain(place.name) in MASKS:
        yield from (one for one in stems if one == place.parent or (one.parts and one.parent == place.parent))


def _ambiguous(images: Sequence[Path], masks: Sequence[Path]) -> DatasetError:
    """Return the error for masks that fit several images, or the reverse."""
    return DatasetError(
        f"masks are ambiguous in {masks[0].parent}",
        expected="one mask for each anomalous image, or numbered ones",
        got=f"{_some(masks, 4)} for {_some(images, 4)}",
        remedy="remove or rename the one that is wrong",
    )


def _some(paths: Sequence[Path], limit: int) -> str:
    """Join the first names of many."""
    return ", ".join(path.name for path in paths[:limit]) + (", ..." if len(paths) > limit else "")
