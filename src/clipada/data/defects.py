"""Photos of known defects, with masks, with boxes or with neither, that a training may learn from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clipada.data.boxes import box_mask, boxes_in
from clipada.data.dataset import Dataset
from clipada.data.layouts import load_dataset
from clipada.data.listing import describe_contents, images_below, images_in, subfolders
from clipada.data.masks import read_mask
from clipada.data.names import BAD, DEPTHS, MASKS, TEST, TRAIN, VALIDATION, is_good, plain
from clipada.data.pairing import Matches, match_beside, match_masks
from clipada.errors import DatasetError, ImageError, check_name, did_you_mean
from clipada.images import image_sha256, read_rgb
from clipada.types import Box, Failure, Mask, Sample
from clipada.types.words import counted

NAMELESS = "defective"
"""Kind of the defects of a folder whose name says no more than that they are some."""

ABOVE = 3
"""Number of folders, the named one among them, whose names may be that of the product."""


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Photos of known defects.

    Attributes:
        samples: The photos: anomalous, with masks or boxes as far as there are any.
        notes: Short lines on what was left out.
        sha256s: Hash of each photo's file, in the same order.
    """

    samples: tuple[Sample, ...] = ()
    notes: tuple[str, ...] = ()
    sha256s: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """First digits of a hash of the photos' hashes; empty without any."""
        together = " ".join(sorted(self.sha256s))
        return hashlib.sha256(together.encode()).hexdigest()[:12] if together else ""

    def of(self, product: str) -> list[Sample]:
        """Return the photos of a product."""
        return [sample for sample in self.samples if sample.category == product]

    def describe(self) -> list[str]:
        """Describe the photos of each product in a line, and what was left out."""
        lines = []
        for product in dict.fromkeys(sample.category for sample in self.samples):
            own = self.of(product)
            ways = Counter("masks" if one.masks else "boxes" if one.boxes else "neither" for one in own)
            marked = ", ".join(f"{ways[way]} with {way}" for way in ("masks", "boxes", "neither") if ways[way])
            kinds = ", ".join(f"{kind} {count}" for kind, count in Counter(one.defect for one in own).items())
            lines.append(f"{product}: {counted(len(own), 'photo')} of defects ({marked}): {kinds}")
        return lines + list(self.notes)


NO_DEFECTS = Defects()


def load_defects(root: Path | str, dataset: Dataset) -> Defects:
    """List the photos of defects below a folder, open their masks, and leave out what cannot be used.

    The folder is that of a product, or has one for each product: with photos directly inside, in folders named after
    kinds of defects, or in any layout of a data set with anomalous images, which may be the data set itself.

    Args:
        root: The folder.
        dataset: The images that are trained on.

    Raises:
        DatasetError: There is no photo that can be used, one is of no known product, or one is a training image.
    """
    root = Path(root)
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing"
        remedy = None if root.exists() else check_name(root)
        raise DatasetError(f"no folder of defects {root}", expected="a folder", got=got, remedy=remedy)
    notes: list[str] = []
    samples = list(_listed(root, dataset, notes)) if any(images_below(root)) else []
    if not samples:
        raise DatasetError(
            f"no photos of defects in {root}",
            expected="photos directly inside, in folders of kinds of defects, or of products",
            got=describe_contents(root),
        )
    return _checked(root, samples, dataset.train, notes)


def marked_area(sample: Sample, image_size: tuple[int, int]) -> Mask | None:
    """Return the area in which a photo shows its defect, ``(H, W)`` bool, at the size of its mask or of the photo.

    Args:
        sample: The photo.
        image_size: Its ``(width, height)``.

    Returns:
        The mask, or the area of the boxes; ``None`` if there is neither.

    Raises:
        ImageError: The mask cannot be read or understood, or has another aspect ratio than the photo.
    """
    if sample.masks:
        return read_mask(sample.masks, sample.path, image_size)
    return box_mask(sample.boxes, image_size[::-1]) if sample.boxes else None


def _listed(root: Path, trained: Dataset, notes: list[str]) -> Iterator[Sample]:
    """Yield the photos: of a data set with anomalous images, of folders of products, or of one product."""
    products = trained.categories
    if (known := _dataset(root, trained)) is not None:
        yield from _of_dataset(root, known, products, notes)
        return
    named = [folder for folder in subfolders(root) if folder.name in products]
    if not named:
        yield from _photos(root, _product_of(root, products), notes)
        return
    others = [folder.name for folder in subfolders(root) if folder not in named and any(images_below(folder))]
    if others:
        raise _unknown(root, others, products)
    for folder in named:
        yield from _photos(folder, folder.name, notes)


def _dataset(root: Path, trained: Dataset) -> Dataset | None:
    """Return the data set in a folder, with good and with anomalous images; ``None`` if there is none."""
    try:
        found = trained if root.resolve() == trained.root.resolve() else load_dataset(root)
    except (DatasetError, ImageError):  # a folder of defects alone, for example
        return None
    by_masks = found is not trained and found.layout == "kolektor"  # masks beside photos say nothing of good parts
    return found if not by_masks and len({sample.anomalous for sample in found.samples}) == 2 else None


def _of_dataset(root: Path, found: Dataset, products: Sequence[str], notes: list[str]) -> Iterator[Sample]:
    """Yield the anomalous images of a data set, with the boxes beside them."""
    known = [sample for sample in found.test if sample.anomalous]
    notes += [note.text for note in found.notes if note.text.startswith("left out")]
    categories = list(dict.fromkeys(sample.category for sample in known))
    if not set(categories) & set(products):
        if len(categories) > 1 or len(products) > 1:
            raise _unknown(root, categories, products)
        known = [replace(sample, category=products[0]) for sample in known]
    used = [sample for sample in known if sample.category in products]
    if len(used) < len(known):
        others = ", ".join(name for name in categories if name not in products)
        notes.append(f"left out: {counted(len(known) - len(used), 'photo')} of defects of {others}, not trained on")
    yield from _with_boxes(used, {sample.path.parent for sample in used}, notes)


def _product_of(root: Path, products: Sequence[str]) -> str:
    """Return the product that a folder is of: the only one, or one that it or a folder above is named after."""
    above = [folder.name for folder in (root.resolve(), *root.resolve().parents)][:ABOVE]
    if (name := next((name for name in above if name in products), None)) is not None:
        return name
    if len(products) == 1:
        return products[0]
    raise _unknown(root, [folder.name for folder in subfolders(root)] or [root.name], products)


def _unknown(root: Path, names: Sequence[str], products: Sequence[str]) -> DatasetError:
    """Return the error for defects of no product that is trained on."""
    known = next((remedy for name in names if (remedy := did_you_mean(name, products)) is not None), None)
    return DatasetError(
        f"defects of unknown products in {root}",
        expected="a folder for each of " + ", ".join(products),
        got=", ".join(names),
        remedy=known or "name the folders of defects after the products",
    )


def _photos(folder: Path, product: str, notes: list[str]) -> Iterator[Sample]:
    """Yield the photos of one product: directly inside, or in folders that are named after kinds of defects."""
    for split in [each for each in subfolders(folder) if plain(each.name) in TEST]:
        yield from _photos(split, product, notes)
    around = [folder, folder.parent] if plain(folder.name) in BAD | TEST else [folder]
    masks = [each for one in around for each in subfolders(one) if plain(each.name) in MASKS]
    beside = [path for each in masks for path in images_in(each)]
    matches = match_beside(images_in(folder), beside)
    found, strays = [_sampled(matches, product, NAMELESS)], len(matches.strays)
    for kind in subfolders(folder):
        if plain(kind.name) in MASKS | DEPTHS | TEST:
            continue
        if is_good(kind.name) or plain(kind.name) in TRAIN | VALIDATION:
            notes.append(f"left out: {counted(len(list(images_below(kind))), 'image')} of good parts in {kind}")
            continue
        own = [each / kind.name for each in masks if (each / kind.name).is_dir()]
        matches = match_masks([kind], own)
        strays += len(matches.strays)
        found.append(_sampled(matches, product, NAMELESS if plain(kind.name) in BAD else kind.name))
    if strays:
        notes.append(f"left out: {counted(strays, 'mask')} in {folder} that belong to no photo")
    samples = [sample for some in found for sample in some]
    yield from _with_boxes(samples, {folder, *(sample.path.parent for sample in samples)}, notes)


def _sampled(matches: Matches, product: str, kind: str) -> list[Sample]:
    """Return the photos of a folder; a folder inside may name their kind where the folder itself does not."""
    inner = kind == NAMELESS
    return [
        matched.sample(product, matched.place.parts[0] if inner and matched.place.parts else kind)
        for matched in matches.images
    ]


def _with_boxes(samples: Sequence[Sample], folders: Collection[Path], notes: list[str]) -> Iterator[Sample]:
    """Yield photos with the boxes that files in some folders have for those without a mask."""
    boxes: dict[Path, tuple[Box, ...]] = {}
    for folder in sorted(folders):
        boxes |= boxes_in(folder)
    if lost := len(boxes.keys() - {sample.path for sample in samples}):
        notes.append(f"left out: boxes of {counted(lost, 'image')} that are not there")
    for sample in samples:
        yield sample if sample.masks else replace(sample, boxes=boxes.get(sample.path, ()))


def _checked(root: Path, samples: Sequence[Sample], train: Sequence[Sample], notes: list[str]) -> Defects:
    """Leave out photos that cannot be used; raise ``DatasetError`` if none is left or one is a training image."""
    trained = {image_sha256(sample.path): sample.path for sample in train if sample.path.is_file()}
    kept: dict[str, Sample] = {}
    failures: list[Failure] = []
    copies = empty = 0
    for sample in samples:
        try:
            sha256 = image_sha256(sample.path)
            height, width, _ = read_rgb(sample.path).shape
            area = marked_area(sample, (width, height))
        except ImageError as error:
            failures.append(Failure(path=sample.path, error=error))
            continue
        if sha256 in trained:
            raise _good_too(sample.path, trained[sha256])
        copies += sha256 in kept
        empty += area is not None and not area.any()
        if sha256 not in kept and (area is None or area.any()):
            kept[sha256] = sample
    if failures:
        first = str(failures[0].error).splitlines()[0]
        notes.append(f"left out: {counted(len(failures), 'photo')} of defects that cannot be used (first: {first})")
    if copies:
        notes.append(f"left out: {counted(copies, 'photo')} of defects of the same content as another")
    if empty:
        notes.append(f"left out: {counted(empty, 'photo')} of defects with an empty mask")
    if not kept:
        got = "; ".join(notes[-3:])
        raise DatasetError(f"no photo of a defect in {root} can be used", got=got, remedy="check photos and masks")
    return Defects(samples=tuple(kept.values()), notes=tuple(notes), sha256s=tuple(kept))


def _good_too(path: Path, trained: Path) -> DatasetError:
    """Return the error for a photo that is a defect and a good part at once."""
    return DatasetError(
        f"the defect {path} is also a training image",
        expected="photos of defects that are not among the good parts",
        got=f"the same content as {trained}",
        remedy="remove it from the one folder where it is wrong",
    )
