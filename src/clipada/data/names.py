"""Names that data sets and inspection lines give to folders of good parts, of defective parts, and to masks."""

from __future__ import annotations

import re
import unicodedata

GOOD = frozenset({"good", "normal", "ok", "okay", "pass", "passed"})
"""Names of folders of good parts."""

BAD = frozenset(
    {"anomalous", "anomaly", "anomalies", "abnormal", "bad", "defect", "defects", "defective"}
    | {"fail", "failed", "faulty", "ko", "ng", "nok", "not_good", "not_ok", "reject", "rejected", "rejects"}
)
"""Names of folders of defective parts."""

MASKS = frozenset({"masks", "mask", "ground_truth", "groundtruth", "ground-truth", "gt"})
"""Names of folders of masks."""

DEPTHS = frozenset({"xyz", "depth"})
"""Names of folders of depth maps beside those of images, as in MVTec 3D-AD."""

TRAIN = frozenset({"train", "training"})
"""Names of folders of the training split."""

TEST = frozenset({"test", "testing", "test_public"})
"""Names of folders of the test split, as far as its labels are known."""

SPLITS = TRAIN | TEST | {"val", "valid", "validation"}
"""Names of folders of a split, which are no products."""

_MASK_ENDING = re.compile(r"[_\-. ](?:mask|gt|label)(?P<number>[_\-]?\d+)?$")


def plain(name: str) -> str:
    """Return a name for comparison: lower case, and composed characters, as macOS stores decomposed ones."""
    return unicodedata.normalize("NFC", name).casefold()


def is_good(name: str) -> bool:
    """Return True for the name of a folder of good parts, in any case."""
    return plain(name) in GOOD


def mask_owner(stem: str) -> str | None:
    """Return the plain stem of the image that a mask's stem names, e.g. ``000`` for ``000_GT``; ``None`` if none."""
    owner = _MASK_ENDING.sub("", plain(stem))
    return owner if owner and owner != plain(stem) else None


def is_numbered(stem: str) -> bool:
    """Return True for the stem of one of several masks of an image, e.g. ``000_mask_0``."""
    ending = _MASK_ENDING.search(plain(stem))
    return ending is not None and ending["number"] is not None
