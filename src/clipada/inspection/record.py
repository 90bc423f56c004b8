"""The fields of a verdict, defined once: JSON lines, API schemas, database columns, metrics and reports use them.

To add a field, add an attribute to ``Verdict``, set it where verdicts are made (``decision``), and add one ``Field``
here. A field that the database shall search also joins ``COLUMNS``, and a migration in ``history.tables``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clipada.scoring import map_statistics
from clipada.types import Failure, Verdict

Record = dict[str, Any]
"""The content of one JSON line."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A field that is a share, 0..1, whose distribution over many parts is of interest.

    Attributes:
        symbol: Its short name in reports.
        help: Its description in the server's metrics.
    """

    symbol: str
    help: str


@dataclass(frozen=True)
class Field:
    """One field of a verdict as it is written down.

    Attributes:
        name: Its key in JSON, or its column.
        kind: Type of its value in JSON.
        read: Read the value from a verdict; by default the attribute of the same name.
        optional: True if the value may be ``None``.
        length: The largest number of characters, where text has a limit in the database.
        indexed: True if the database searches by it.
        distribution: Set for a share whose distribution is shown.
    """

    name: str
    kind: type
    read: Callable[[Verdict], Any] | None = None
    optional: bool = False
    length: int | None = None
    indexed: bool = False
    distribution: Distribution | None = None

    def value(self, verdict: Verdict) -> Any:
        """Return the verdict's value as JSON takes it."""
        return getattr(verdict, self.name) if self.read is None else self.read(verdict)


def _path(verdict: Verdict) -> str | None:
    return None if verdict.path is None else str(verdict.path)


def _manifest(verdict: Verdict) -> str | None:
    return None if verdict.model is None else verdict.model.manifest_sha256


def _regions(verdict: Verdict) -> list[Record]:
    return [
        {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(region).items()}
        for region in verdict.regions
    ]


def _placement(verdict: Verdict) -> Record | None:
    return None if verdict.placement is None else verdict.placement.to_dict()


FIELDS = (
    Field("path", str, _path, optional=True),
    Field("score", float, distribution=Distribution(symbol="score", help="Image scores.")),
    Field("p_value", float, optional=True, distribution=Distribution(symbol="p", help="P-values.")),
    Field("score_threshold", float, optional=True),
    Field("defective", bool, optional=True),
    Field("decision", str, optional=True, length=16),
    Field("inspectable", bool, optional=True),
    Field("input_reason", str, optional=True),
    Field("group", str, optional=True),
    Field("width", int, lambda verdict: verdict.size[0]),
    Field("height", int, lambda verdict: verdict.size[1]),
    Field("map", dict, lambda verdict: map_statistics(verdict.anomaly_map, verdict.threshold)),
    Field("threshold", float),
    Field("regions", list, _regions),
    Field("placement", dict, _placement, optional=True),
    Field("calibration", str, optional=True, length=12),
    Field("model", dict, lambda verdict: verdict.model and asdict(verdict.model), optional=True),
    Field("image_sha256", str, length=64, indexed=True),
    Field("time", str, length=40, indexed=True),
    Field("latency_ms", float),
)
"""The fields of a JSON line, in its order."""

_BY_NAME = {field.name: field for field in FIELDS}

COLUMNS = (
    _BY_NAME["time"],
    _BY_NAME["path"],
    Field("run", str, lambda verdict: verdict.model and verdict.model.run, optional=True),
    _BY_NAME["score"],
    _BY_NAME["p_value"],
    _BY_NAME["score_threshold"],
    _BY_NAME["defective"],
    Field("group_name", str, lambda verdict: verdict.group, optional=True),  # GROUP is a reserved word of SQL
    _BY_NAME["calibration"],
    Field("model_sha256", str, lambda verdict: verdict.model and verdict.model.sha256, optional=True, length=64),
    _BY_NAME["image_sha256"],
    _BY_NAME["decision"],
    _BY_NAME["input_reason"],
    Field("manifest_sha256", str, _manifest, optional=True, length=64),
)
"""The fields that the history searches and lists, in the order of its columns; the full record is stored as well."""

DISTRIBUTIONS = {field.name: field.distribution for field in FIELDS if field.distribution is not None}
"""The fields whose distribution is shown, by name."""


def completed(record: Record) -> Record:
    """Return a record with all ``FIELDS``: in one of an older version, those that came later are ``None``.

    ``decision`` follows from ``defective`` there, as there was no input check.
    """
    known = {field.name: None for field in FIELDS if field.optional} | record
    if known["decision"] is None and known["defective"] is not None:
        known["decision"] = "defective" if known["defective"] else "good"
    return known


def placement_words(placement: Mapping[str, float]) -> str:
    """Say where the part is, relative to its reference, given the field ``placement``."""
    right, down = placement["right"], placement["down"]
    words = f"part {abs(right):.1f} pixels {'right' if right >= 0 else 'left'}, "
    words += f"{abs(down):.1f} {'down' if down >= 0 else 'up'}"
    if placement["degrees"] or placement["scale"] != 1:
        words += f", turned {placement['degrees']:.1f} degrees, scale {placement['scale']:.3f}"
    return f"{words} (fit {placement['fit']:.2f})"


def verdict_record(result: Verdict | Failure) -> Record:
    """Return the JSON line of a verdict, with all ``FIELDS``, or that of a failure, with its error."""
    if isinstance(result, Failure):
        return {"path": str(result.path), "error": str(result.error)}
    return {field.name: field.value(result) for field in FIELDS}
