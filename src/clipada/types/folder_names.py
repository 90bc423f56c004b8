"""Names that inspection lines and data sets give to folders of good and of defective parts."""

from __future__ import annotations

import unicodedata

GOOD = frozenset(
    {"good", "goods", "normal", "ok", "okay", "pass", "passed", "accept", "accepted", "gut", "io", "i.o."}
    | {"intact", "undamaged", "flawless", "healthy", "defect_free", "defect-free", "defectfree"}
    | {"anomaly_free", "anomaly-free", "no_defect", "no-defect", "non_defective", "non-defective"}
)
"""Names of folders of good parts."""

BAD = frozenset(
    {"anomalous", "anomaly", "anomalies", "abnormal", "bad", "defect", "defects", "defective"}
    | {"fail", "failed", "faulty", "ko", "ng", "nok", "nio", "n.i.o.", "not_good", "not-good", "not_ok", "not-ok"}
    | {"reject", "rejected", "rejects", "scrap"}
)
"""Names of folders of defective parts."""


def plain(name: str) -> str:
    """Return a name for comparison: lower case, and composed characters, as macOS stores decomposed ones."""
    return unicodedata.normalize("NFC", name).casefold()
