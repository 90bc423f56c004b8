"""Check that verdicts can be stored, for the readiness route."""

from __future__ import annotations

import math
import threading
import time

from clipada.errors import HistoryError
from clipada.history.store import History

CHECK_SECONDS = 3.0
"""Seconds for which a result is valid, so that callers cannot make the server write to the disk without end."""


class StorageCheck:
    """Checks by writing to the disk, and reuses each result for ``CHECK_SECONDS``.

    Args:
        history: The history that stores the verdicts.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._running = threading.Lock()
        self._checked = -math.inf
        self._error: HistoryError | None = None

    def require(self) -> None:
        """Check that verdicts can be stored.

        While one caller waits for the database, the others get the last result, so that they block no threads.

        Raises:
            HistoryError: They cannot be stored.
        """
        if time.monotonic() - self._checked >= CHECK_SECONDS and self._running.acquire(blocking=False):
            try:
                self._error = self._result()
            finally:
                self._checked = time.monotonic()
                self._running.release()
        if self._error is not None:
            raise self._error.with_traceback(None)

    def failed(self, error: HistoryError | OSError) -> None:
        """Record that a verdict could not be stored: the next callers get this error until a later check succeeds."""
        self._error = (
            error if isinstance(error, HistoryError) else HistoryError("a verdict was not stored", got=str(error))
        )
        self._checked = time.monotonic()

    def _result(self) -> HistoryError | None:
        """Return the error of a check; ``None`` if verdicts can be stored."""
        try:
            self._history.check_writable()
        except HistoryError as error:
            return error
        return None
