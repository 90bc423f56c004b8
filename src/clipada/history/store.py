"""The history: every verdict and what operators said of it, in a database. Once stored, a verdict is on the disk."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import IO, Any, Self

from sqlalchemy import ColumnElement, Connection, Select, create_engine, delete, event, insert, make_url, select
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from clipada.config import HistoryConfig, Word
from clipada.errors import HistoryError
from clipada.history import outbox
from clipada.history.kept_images import keep_image
from clipada.history.tables import DELIVERIES, FEEDBACK, VERDICTS, migrate
from clipada.history.watching import seen
from clipada.inspection.record import COLUMNS, verdict_record
from clipada.types import Verdict

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
    """Which verdicts are asked for; what is ``None`` leaves none out.

    Attributes:
        defective: Those that found a defect, or that did not.
        word: Those that an operator confirmed, or rejected, or has said nothing of.
        group: Those of this group.
        since: Those given then or later. Without a time zone it is local time.
        until: Those given earlier.
        before: Those with a smaller number: what comes after a page that ended with it.
    """

    defective: bool | None = None
    word: Word | None = None
    group: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


class History:
    """Verdicts and feedback in a database.

    Args:
        settings: Which database, and which images to keep where.
        create: Whether an SQLite file that does not exist is made.
        sinks: The names of the sinks that each verdict is queued for as it is stored; a ``Courier`` delivers.

    Raises:
        HistoryError: The database cannot be reached, its driver is missing, or it is of a newer version.
    """

    def __init__(
        self, settings: HistoryConfig | None = None, *, create: bool = True, sinks: Sequence[str] = ()
    ) -> None:
        self.settings = settings or HistoryConfig()
        self.sinks = tuple(sinks)
        self._keeping = Lock()
        try:
            self._engine = create_engine(self.settings.database)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise HistoryError(
                "the history has no such database",
                expected="a URL such as sqlite:///history.db or postgresql+psycopg://user@host/name",
                got=str(error),
                remedy="pip install 'psycopg[binary]' for PostgreSQL" if "psycopg" in str(error) else None,
            ) from error
        file = self._engine.url.database
        if self._engine.dialect.name == "sqlite":
            if not create and file and not Path(file).is_file():
                raise HistoryError(f"no history in {file}", remedy="name the one that `predict --database` wrote")
            event.listen(self._engine, "connect", _durable)
        with self.transaction() as connection:
            migrate(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def place(self) -> str:
        """The database's URL, its password hidden."""
        return make_url(self.settings.database).render_as_string(hide_password=True)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def store(
        self,
        verdicts: Sequence[Verdict],
        contents: Sequence[bytes] | None = None,
        also: Callable[[Connection], None] | None = None,
    ) -> list[int]:
        """Store verdicts, all or none, queued for each sink, and their images where the settings say so.

        Args:
            verdicts: The verdicts.
            contents: The content of each one's image file, where it does not lie at the verdict's path.
            also: Writes what must be stored with them or not at all.

        Returns:
            Their numbers, in order, once they are on the disk.

        Raises:
            HistoryError: The database cannot be written to.
        """
        files: Sequence[bytes | None] = contents or [None] * len(verdicts)
        rows = [_row(verdict, self._keep(verdict, file)) for verdict, file in zip(verdicts, files, strict=True)]
        numbers: list[int] = []
        statement = insert(VERDICTS).returning(VERDICTS.c.id, sort_by_parameter_order=True)
        with self.transaction() as connection:
            if rows:
                numbers = list(connection.scalars(statement, rows))
                outbox.queue(connection, numbers, self.sinks)
            if also is not None:
                also(connection)
        return numbers

    def waiting(self) -> list[outbox.Waiting]:
        """What the sinks have not taken yet, for each sink that anything waits for."""
        with self.transaction() as connection:
            return outbox.waiting(connection)

    def abandon(self, sink: str, limit: int | None = None) -> int:
        """Give up what waits for a sink, or only so much of it, the oldest first; return how much that was."""
        with self.transaction() as connection:
            return outbox.abandon(connection, sink, limit)

    def record_feedback(self, verdict_id: int, *, confirmed: bool, reason: str = "") -> None:
        """Add an operator's word on a verdict; the last one counts.

        Raises:
            HistoryError: There is no such verdict.
        """
        with self.transaction() as connection:
            if connection.scalar(select(VERDICTS.c.id).where(VERDICTS.c.id == verdict_id)) is None:
                raise HistoryError(f"the history has no verdict {verdict_id}", remedy="see `clipada history list`")
            word = {"verdict_id": verdict_id, "time": _now(), "confirmed": confirmed, "reason": reason}
            connection.execute(insert(FEEDBACK).values(word))

    def find(self, verdict_id: int) -> tuple[Entry, dict[str, Any]] | None:
        """A verdict, and the whole of it as ``predict`` prints it; ``None`` if there is none of that number."""
        with self.transaction() as connection:
            row = connection.execute(_latest().where(VERDICTS.c.id == verdict_id)).one_or_none()
            record = connection.scalar(select(VERDICTS.c.record).where(VERDICTS.c.id == verdict_id))
            return None if row is None or record is None else (Entry(dict(row._mapping)), record)

    def entries(self, wanted: VerdictFilter = VerdictFilter(), *, limit: int | None = None) -> Iterator[Entry]:
        """The verdicts, newest first, at most ``limit`` of those that are wanted."""
        query = _latest().where(*_conditions(wanted)).limit(limit)
        with self.transaction() as connection:
            for row in connection.execution_options(yield_per=500).execute(query):
                yield Entry(dict(row._mapping))

    def false_alarms(self, model_sha256: str) -> dict[Path, str | None]:
        """The kept images of a model's alarms that operators rejected, and the group of each."""
        alarms = self.entries(VerdictFilter(defective=True, word="rejected"))
        return {Path(one.kept): one.group_name for one in alarms if one.kept and one.model_sha256 == model_sha256}

    def export_csv(self, file: IO[str]) -> int:
        """Write every entry as CSV, newest first, under a head of the names of ``Entry``; return their number.

        Names and reasons come from others: what a spreadsheet would take for a formula gets an apostrophe before it.
        """
        writer = csv.writer(file)
        writer.writerow(ENTRY_COLUMNS)
        count = 0
        for count, entry in enumerate(self.entries(), start=1):  # noqa: B007
            writer.writerow([_cell(value) for value in entry.columns.values()])
        return count

    def prune(self, before: datetime) -> int:
        """Delete what is older, feedback and kept images with it; return the number of verdicts deleted.

        A verdict that a sink has not taken yet stays. Files of a watched folder that are gone are forgotten too.
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
            path.unlink(missing_ok=True)
            with suppress(OSError):  # other images of that folder are kept still
                path.parent.rmdir()
        return count

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction; what the database raises becomes a ``HistoryError``."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise HistoryError(f"the history in {self.place} cannot be used", got=str(cause).strip()) from error

    def _keep(self, verdict: Verdict, content: bytes | None) -> str | None:
        """Keep the image if the settings say so, under its hash; return where."""
        if self.settings.keep == "none" or (self.settings.keep == "defective" and not verdict.defective):
            return None
        folder = Path(self.settings.images).absolute() / verdict.image_sha256[:2]
        with self._keeping:
            return str(keep_image(folder, verdict, content))


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _row(verdict: Verdict, kept: str | None) -> dict[str, Any]:
    columns = {field.name: _storable(field.value(verdict)) for field in COLUMNS}
    return columns | {"kept": kept, "record": verdict_record(verdict)}


def _storable(value: Any) -> Any:
    """Return a value as databases take it: a path's bytes that are no text become escapes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _latest() -> Select[Any]:
    """Every verdict with the operator's last word, newest first."""
    newer = FEEDBACK.alias()
    last = select(newer.c.id).where(newer.c.verdict_id == VERDICTS.c.id).order_by(newer.c.id.desc()).limit(1)
    joined = VERDICTS.outerjoin(FEEDBACK, FEEDBACK.c.id == last.correlate(VERDICTS).scalar_subquery())
    columns = [FEEDBACK.c[name] if name in ("confirmed", "reason") else VERDICTS.c[name] for name in ENTRY_COLUMNS]
    return select(*columns).select_from(joined).order_by(VERDICTS.c.id.desc())


def _conditions(wanted: VerdictFilter) -> Iterator[ColumnElement[bool]]:
    """What a row of ``_latest`` must meet."""
    if wanted.defective is not None:
        yield VERDICTS.c.defective.is_(wanted.defective)
    if wanted.word is not None:
        yield FEEDBACK.c.confirmed.is_({"confirmed": True, "rejected": False, "none": None}[wanted.word])
    if wanted.group is not None:
        yield VERDICTS.c.group_name == wanted.group
    if wanted.since is not None:
        yield VERDICTS.c.time >= _stored(wanted.since)
    if wanted.until is not None:
        yield VERDICTS.c.time < _stored(wanted.until)
    if wanted.before is not None:
        yield VERDICTS.c.id < wanted.before


def _durable(connection: Any, _: object) -> None:
    """SQLite: writers wait for each other, readers never, and a commit survives a power cut."""
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _now() -> str:
    return _stored(datetime.now(UTC))


def _stored(time: datetime) -> str:
    """A time as tables keep it: the later, the greater as text."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")
