"""The watch of a folder: each new image is inspected and stored exactly once, also after a kill or a restart."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from clipada.config import BatchConfig, WatchConfig
from clipada.errors import ImageError, check_name
from clipada.history.store import History
from clipada.history.watching import seen
from clipada.history.watching.new_files import NewFiles
from clipada.history.watching.seen import Stamp
from clipada.inspection import Inspector
from clipada.types import Failure, Verdict

ATTEMPTS = 5
"""Number of attempts at a file that exists but that the operating system does not let us read."""

Results = list[Verdict | Failure]


class FolderWatch:
    """Inspects the images that are written to a folder.

    A verdict and the record of its file are stored in one transaction, so that each state of a file is inspected
    once, over restarts too. A file that changes later is a new image.

    Args:
        inspector: Inspects the images.
        history: Stores verdicts and the records of files.
        folder: The folder that cameras write to, at any depth.
        settings: Conditions of a complete file.
        excluded: Folders below it that are not scanned.
        batch_size: Images per batch.
        workers: Threads that decode.
        before_store: Called with the files of a batch's verdicts before they are stored.

    Raises:
        ImageError: There is no such folder.
    """

    def __init__(
        self,
        inspector: Inspector,
        history: History,
        folder: Path,
        settings: WatchConfig | None = None,
        *,
        excluded: Iterable[Path] = (),
        batch_size: int = BatchConfig.batch_size,
        workers: int = BatchConfig.workers,
        before_store: Callable[[list[Stamp]], object] = lambda _: None,
    ) -> None:
        require_folder(folder)
        self._before_store = before_store
        self.inspector = inspector
        self.history = history
        self.settings = settings or WatchConfig()
        self.files = NewFiles(folder, self._unseen, self.settings, excluded)
        self.batch_size, self.workers = batch_size, workers
        self._refusals: Counter[Stamp] = Counter()

    def batches(self, *, once: bool = False, stopped: Callable[[], bool] = lambda: False) -> Iterator[Results]:
        """Watch the folder.

        Args:
            once: End when all present files were inspected.
            stopped: Called after each batch and each scan; True ends the watch.

        Yields:
            The results of each batch, once they are stored: a verdict for each image, a failure for each unreadable
            file. Files that vanish or change while they are read are left out; the latter are inspected again.
        """
        while not stopped():
            stamps = self.files.complete()
            for results in self._inspected(stamps):
                yield results
                if stopped():
                    return
            if not stamps:
                if once and not self.files.settling:
                    return
                time.sleep(self.settings.poll)

    def again(self, stamps: Sequence[Stamp]) -> Iterator[Verdict]:
        """Inspect files whose verdicts are stored once more and store nothing; skip those that changed or vanished."""
        unseen = set(self._unseen(stamps))
        paths = [stamp.path for stamp in stamps if stamp not in unseen and _is_unchanged(stamp)]
        for result in self.inspector.inspect_files(paths, batch_size=self.batch_size, workers=self.workers):
            if isinstance(result, Verdict):
                yield result

    def _inspected(self, stamps: list[Stamp]) -> Iterator[Results]:
        """Inspect files in batches, and yield each batch after it was stored."""
        files = iter(stamps)
        results = self.inspector.inspect_files(
            [stamp.path for stamp in stamps], batch_size=self.batch_size, workers=self.workers
        )
        while batch := list(islice(results, self.batch_size)):
            pairs = zip(islice(files, len(batch)), batch, strict=True)
            taken = [(stamp, result) for stamp, result in pairs if self._counts(stamp, result)]
            self._store(taken)
            if taken:
                yield [result for _, result in taken]

    def _counts(self, stamp: Stamp, result: Verdict | Failure) -> bool:
        """Return True if the result is valid for the stamp: the file is unchanged, or was removed after a verdict."""
        try:
            same = Stamp.of(stamp.path, stamp.path.stat()) == stamp
        except OSError:
            del self._refusals[stamp]
            return isinstance(result, Verdict)
        if same and isinstance(result, Failure) and _refused(result):
            self._refusals[stamp] += 1
            same = self._refusals[stamp] >= ATTEMPTS
        if same:
            del self._refusals[stamp]
        return same

    def _store(self, taken: list[tuple[Stamp, Verdict | Failure]]) -> None:
        """Store verdicts and the records of their files in one transaction."""
        errors = [(stamp, str(result.error) if isinstance(result, Failure) else None) for stamp, result in taken]
        verdicts = [result for _, result in taken if isinstance(result, Verdict)]
        if verdicts:
            self._before_store([stamp for stamp, result in taken if isinstance(result, Verdict)])
        self.history.store(verdicts, also=lambda connection: seen.remember(connection, self.files.folder, errors))

    def _unseen(self, stamps: Sequence[Stamp]) -> list[Stamp]:
        with self.history.transaction() as connection:
            return seen.unseen(connection, stamps)


def require_folder(folder: Path) -> None:
    """Raise ``ImageError`` if there is no such folder to watch."""
    if not folder.is_dir():
        raise ImageError(
            f"cannot watch {folder}",
            expected="a folder",
            got="a file" if folder.exists() else "none",
            remedy=check_name(folder),
        )


def _is_unchanged(stamp: Stamp) -> bool:
    """Return True if the file is still in the state of the stamp."""
    try:
        return Stamp.of(stamp.path, stamp.path.stat()) == stamp
    except OSError:
        return False


def _refused(failure: Failure) -> bool:
    """Return True if the operating system refused to read the file, e.g. a locked file or a network error.

    Pillow raises ``OSError`` for damaged files too, but without an ``errno``.
    """
    cause = failure.error.__cause__
    return isinstance(cause, OSError) and cause.errno is not None
