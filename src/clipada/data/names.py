"""Names that data sets and inspection lines give to folders of good parts, of defective parts, and to masks."""

from __future__ import annotations

import re

from clipada.types.folder_names import BAD, GOOD, plain

__all__ = [
    "BAD",
    "DEPTHS",
    "GOOD",
    "MASKS",
    "SPLITS",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "is_called_defective",
    "is_good",
    "is_numbered",
    "mask_owner",
    "plain",
]

MASKS = frozenset(
    {"masks", "mask", "ground_truth", "groundtruth", "ground-truth", "ground truth", "gt", "gts"}
    | {"annotation", "annotations", "label", "labels", "segmentation", "segmentations", "seg"}
)
"""Names of folders of masks."""

DEPTHS = frozenset({"xyz", "depth"})
"""Names of folders of depth maps beside those of images, as in MVTec 3D-AD."""

TRAIN = frozenset({"train", "training"})
"""Names of folders of the training split."""

VALIDATION = frozenset({"val", "valid", "validation"})
"""Names of folders of the validation split, whose good parts set thresholds."""

TEST = frozenset({"test", "testing", "test_public"})
"""Names of folders of the test split, as far as its labels are known."""

SPLITS = TRAIN | VALIDATION | TEST
"""Names of folders of a split, which are no products."""

_MASK_ENDING = re.compile(r"[_\-. ](?:mask|gt|label)(?P<number>[_\-]?\d+)?$")


def is_good(name: str) -> bool:
    """Return True for the name of a folder of good parts, in any case."""
    return plain(name) in GOOD


def is_called_defective(stem: str) -> bool:
    """Return True for the stem of a file whose first or last word is a name of defective parts, e.g. ``NG_0001``."""
    words = [word for word in re.split(r"[_\-. ]+", plain(stem)) if word]
    return bool(words) and (words[0] in BAD or words[-1] in BAD)


def mask_owner(stem: str) -> str | None:
    """Return the plain stem of the image that a mask's stem names, e.g. ``000`` for ``000_GT``; ``None`` if none."""
    owner = _MASK_ENDING.sub("", plain(stem))
    return owner if owner and owner != plain(stem) else None


def is_numbered(stem: str) -> bool:
    """Return True for the stem of one of several masks of an image, e.g. ``000_mask_0``."""
    ending = _MASK_ENDING.search(plain(stem))
    return ending is not None and ending["number"] is not None
