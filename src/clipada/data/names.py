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

SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation"})
"""Names of folders of a split, which are no products."""

_MASK_ENDING = re.compile(r"[_\-. ](?:mask|gt|label)(?:[_\-]?\d+)?$")


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
