"""The history: all verdicts and operators' feedback, in a database. A stored verdict is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, select

from clipada.config import HistoryConfig, Word
from clipada.errors import ConfigError, HistoryError
from clipada.history import outbox
from clipada.history.database import Database
from clipada.history.kept_images import ImageFolder, remove_image
from clipada.history.tables import DELIVERIES, FEEDBACK, VERDICTS
from clipada.history.watching import seen
from clipada.inspection.csv_export import write_csv
from clipada.inspection.record import COLUMNS, completed, verdict_record
from clipada.types import Decision, Verdict

ENTRY_COLUMNS = ("id", *(field.name for field in COLUMNS), "kept", "confirmed", "reason")
"""The columns of an ``Entry``, and of the CSV export."""


@dataclass(frozen=True)
class Entry:
    """A verdict in the history, with the operator's latest feedback.

    Each column is an attribute, e.g. ``entry.score``: ``id``; the fields of ``record.COLUMNS``; ``kept``, the file of
    the kept image, if any; ``confirmed``, True if the feedback agrees with the verdict, ``None`` without feedback; and
    ``reason``, the words of the feedback.

    Attributes:
        columns: The values by name, in the order of ``ENTRY_COLUMNS``.
    """

    columns: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        """Return the column of that name."""
        if name in ENTRY_COLUMNS:
            return self.columns[name]
        raise AttributeError(f"a verdict in the history has no column {name!r}")


@dataclass(frozen=True, kw_only=True)
class VerdictFilter:
    """Conditions on verdicts; ``None`` is no condition.

    Attributes:
        defective: Verdicts with, or without, a defect.
        decision: Verdicts with this decision.
        word: Verdicts whose latest feedback confirms or rejects them, or that have none.
        group: Verdicts of this group.
        since: Verdicts of this time or later. A time without a zone is local.
        until: Verdicts before this time.
        before: Verdicts with a smaller id: the page after one that ended with this id.
    """

    defective: bool | None = None
    decision: Decision | None = None
    word: Word | None = None
    group: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


class History:
    """Verdicts and feedback in a database.

    Args:
        settings: The database, and which images to keep in which folder.
        create: Create the tables, and an SQLite file, where they are missing.
        sinks: Names of the sinks that each stored verdict is queued for; a ``Courier`` delivers.

    Raises:
        HistoryError: The database cannot be reached, its driver is missing, or it is of a newer version.
    """

    def __init__(
        self, settings: HistoryConfig | None = None, *, create: bool = True, sinks: Sequence[str] = ()
    ) -> None:
        self.settings = settings or HistoryConfig()
        self.sinks = tuple(sinks)
        self._images = ImageFolder(self.settings)
        self._database = Database(self.settings.database, create=create)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """The database's URL without password and query string."""
        return self._database.place

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def store(
        self,
        verdicts: Sequence[Verdict],
        contents: Sequence[bytes] | None = None,
        also: Callable[[Connection], None] | None = None,
    ) -> list[int]:
        """Store verdicts in one transaction, queue them for each sink, and keep their images as the settings say.

        Args:
            verdicts: The verdicts.
            contents: The content of each image file, where it is not at the verdict's path.
            also: Writes further rows in the same transaction.

        Returns:
            Their ids, in order, once they are on the disk.

        Raises:
            HistoryError: The database cannot be written to.
        """
        files: Sequence[bytes | None] = contents or [None] * len(verdicts)
        numbers: list[int] = []
        statement = insert(VERDICTS).returning(VERDICTS.c.id, sort_by_parameter_order=True)
        # An image is kept only with its verdict: if the transaction fails, the new files are deleted.
        with self._images.keeping() as keep, self.transaction() as connection:
            rows = [_values(verdict, keep(verdict, file)) for verdict, file in zip(verdicts, files, strict=True)]
            if rows:
                numbers = list(connection.scalars(statement, rows))
                outbox.queue(connection, numbers, self.sinks)
            if also is not None:
                also(connection)
        return numbers

    def waiting(self) -> list[outbox.Waiting]:
        """Return the queue of each sink that has not accepted all verdicts."""
        with self.transaction() as connection:
            return outbox.waiting(connection)

    def abandon(self, sink: str, limit: int | None = None) -> int:
        """Drop the deliveries for a sink, at most ``limit`` and the oldest first; return their number."""
        with self.transaction() as connection:
            return outbox.abandon(connection, sink, limit)

    def record_feedback(self, verdict_id: int, *, confirmed: bool, reason: str = "") -> None:
        """Add an operator's feedback on a verdict; the latest counts.

        Raises:
            HistoryError: There is no such verdict.
        """
        with self.transaction() as connection:
            if connection.scalar(select(VERDICTS.c.id).where(VERDICTS.c.id == verdict_id)) is None:
                raise HistoryError(f"the history has no verdict {verdict_id}", remedy="see `clipada history list`")
            word = {"verdict_id": verdict_id, "time": _now(), "confirmed": confirmed, "reason": reason}
            connection.execute(insert(FEEDBACK).values(word))

    def find(self, verdict_id: int) -> tuple[Entry, dict[str, Any]] | None:
        """Return a verdict and its full record, as ``predict`` prints it; ``None`` if there is no such id."""
        with self.transaction() as connection:
            row = connection.execute(_latest().where(VERDICTS.c.id == verdict_id)).one_or_none()
            record = connection.scalar(select(VERDICTS.c.record).where(VERDICTS.c.id == verdict_id))
            return None if row is None or record is None else (Entry(dict(row._mapping)), completed(record))

    def count_of(self, paths: Sequence[Path], model_sha256: str) -> int:
        """Count those of some image files, at most a few hundred, that have a verdict of a model."""
        names = [_storable(str(path)) for path in paths]
        found = VERDICTS.c.path.in_(names), VERDICTS.c.model_sha256 == model_sha256
        with self.transaction() as connection:
            return connection.scalar(select(func.count(VERDICTS.c.path.distinct())).where(*found)) or 0

    def entries(self, chosen: VerdictFilter = VerdictFilter(), *, limit: int | None = None) -> Iterator[Entry]:
        """Yield the verdicts that meet the conditions, newest first, at most ``limit``."""
        query = _latest().where(*_conditions(chosen)).limit(limit)
        with self.transaction() as connection:
            for row in connection.execution_options(yield_per=500).execute(query):
                yield Entry(dict(row._mapping))

    def groups(self) -> list[str]:
        """List the groups that verdicts were decided in."""
        named = select(VERDICTS.c.group_name).where(VERDICTS.c.group_name.is_not(None)).distinct()
        with self.transaction() as connection:
            return sorted(connection.scalars(named))

    def false_alarms(self, model_sha256: str) -> dict[Path, str | None]:
        """Return the kept images of a model's alarms that operators rejected, with their groups."""
        alarms = self.entries(VerdictFilter(defective=True, word="rejected"))
        return {Path(one.kept): one.group_name for one in alarms if one.kept and one.model_sha256 == model_sha256}

    def export_csv(self, file: IO[str]) -> int:
        """Write every entry as CSV, newest first, below a header of ``ENTRY_COLUMNS``; return their number.

        Names and reasons are untrusted: text that a spreadsheet would run as a formula gets a leading apostrophe.
        """
        return write_csv(file, ENTRY_COLUMNS, (entry.columns.values() for entry in self.entries()))

    def prune(self, before: datetime) -> int:
        """Delete older verdicts with their feedback and kept images; return the number of deleted verdicts.

        Verdicts that are queued for a sink stay. Rows of watched files that no longer exist are deleted too.
        """
        limit = _stored(before)
        with self.transaction() as connection:
            older = VERDICTS.c.time < limit, VERDICTS.c.id.not_in(select(DELIVERIES.c.verdict_id))
            ids = select(VERDICTS.c.id).where(*older)
            kept = set(connection.scalars(select(VERDICTS.c.kept).where(*older, VERDICTS.c.kept.is_not(None))))
            connection.execute(delete(FEEDBACK).where(FEEDBACK.c.verdict_id.in_(ids)))
            count = connection.execute(delete(VERDICTS).where(*older)).rowcount
            kept -= set(connection.scalars(select(VERDICTS.c.kept).distinct()))
            seen.forget(connection, limit)
        for path in map(Path, kept):
            remove_image(path)
        return count

    def check_writable(self) -> None:
        """Check that a verdict could be stored now, by writing as many bytes to the disk and deleting them again.

        Raises:
            HistoryError: The database, or the folder of kept images, accepts none.
        """
        self._images.check_writable()
        self._database.check_writable()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Open a transaction; errors of the database become ``HistoryError``."""
        with self._database.transaction() as connection:
            yield connection


def _values(verdict: Verdict, kept: str | None) -> dict[str, Any]:
    columns = {field.name: _storable(field.value(verdict)) for field in COLUMNS}
    return columns | {"kept": kept, "record": verdict_record(verdict)}


def _storable(value: Any) -> Any:
    """Return a value that databases can store: bytes of a path that are not valid text become escapes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _latest() -> Select[Any]:
    """Return the query for every verdict with its latest feedback, newest first."""
    newer = FEEDBACK.alias()
    last = select(newer.c.id).where(newer.c.verdict_id == VERDICTS.c.id).order_by(newer.c.id.desc()).limit(1)
    joined = VERDICTS.outerjoin(FEEDBACK, FEEDBACK.c.id == last.correlate(VERDICTS).scalar_subquery())
    columns = [FEEDBACK.c[name] if name in ("confirmed", "reason") else VERDICTS.c[name] for name in ENTRY_COLUMNS]
    return select(*columns).select_from(joined).order_by(VERDICTS.c.id.desc())


def _conditions(chosen: VerdictFilter) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions of a filter on the rows of ``_latest``."""
    if chosen.defective is not None:
        yield VERDICTS.c.defective.is_(chosen.defective)
    if chosen.decision is not None:
        yield VERDICTS.c.decision == chosen.decision
    if chosen.word is not None:
        yield FEEDBACK.c.confirmed.is_({"confirmed": True, "rejected": False, "none": None}[chosen.word])
    if chosen.group is not None:
        yield VERDICTS.c.group_name == chosen.group
    if chosen.since is not None:
        yield VERDICTS.c.time >= _stored(chosen.since)
    if chosen.until is not None:
        yield VERDICTS.c.time < _stored(chosen.until)
    if chosen.before is not None:
        yield VERDICTS.c.id < chosen.before


def _now() -> str:
    return _stored(datetime.now(UTC))


def _stored(time: datetime) -> str:
    """Return a time as stored, in UTC, so that text order is time order.

    Raises:
        ConfigError: In UTC, the time is outside of the calendar.
    """
    try:
        return time.astimezone(UTC).isoformat(timespec="milliseconds")
    except (OverflowError, ValueError, OSError) as error:
        raise ConfigError(
            "cannot use the time", expected="a time of the years 1 to 9999 in UTC", got=str(time)
        ) from error
