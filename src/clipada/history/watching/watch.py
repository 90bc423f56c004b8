"""Following a folder: each image that is dropped there is inspected and stored once, whatever happens in between."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from clipada.config import WatchConfig
from clipada.errors import ImageError
from clipada.history.store import History
from clipada.history.watching import seen
from clipada.history.watching.new_files import NewFiles
from clipada.history.watching.seen import Stamp
from clipada.inspection import Inspector
from clipada.types import Failure, Verdict

ATTEMPTS = 5
"""How often a file is tried that is there but that the operating system does not let us read."""

Results = list[Verdict | Failure]


class FolderWatch:
    """Inspects the images that are dropped into a folder.

    A verdict and the memory of its file are stored in one transaction, so that each file, as it was when it was read,
    is judged once, over restarts too. A file that changes later is another image.

    Args:
        inspector: What inspects.
        history: Where verdicts and the memory of files are stored.
        folder: Where cameras drop files, at any depth.
        settings: When a file is complete.
        excluded: Folders below it that are not looked into.
        batch_size: Images at a time.
        workers: Threads that decode.

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
        batch_size: int = 8,
        workers: int = 2,
    ) -> None:
        if not folder.is_dir():
            raise ImageError(f"cannot watch {folder}", expected="a folder", got="none")
        self.inspector = inspector
        self.history = history
        self.settings = settings or WatchConfig()
        self.files = NewFiles(folder, self._unseen, self.settings, excluded)
        self.batch_size, self.workers = batch_size, workers
        self._refusals: Counter[Stamp] = Counter()

    def batches(self, *, once: bool = False, stopped: Callable[[], bool] = lambda: False) -> Iterator[Results]:
        """Follow the folder.

        Args:
            once: Whether to end when everything that is there was inspected.
            stopped: Asked after each batch and each look whether to end.

        Yields:
            The results of each batch, once they are stored: a verdict for each image, a failure for each unreadable
            file. Files that vanish or change while they are read are left out; the latter are looked at again.
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

    def _inspected(self, stamps: list[Stamp]) -> Iterator[Results]:
        """Inspect files batch by batch, storing each before it is handed out."""
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
        """Whether the result is of the file as it was found; a verdict on one that has gone since stands."""
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
        """Store verdicts and the memory of files, all or nothing."""
        errors = [(stamp, str(result.error) if isinstance(result, Failure) else None) for stamp, result in taken]
        verdicts = [result for _, result in taken if isinstance(result, Verdict)]
        self.history.store(verdicts, also=lambda connection: seen.remember(connection, self.files.folder, errors))

    def _unseen(self, stamps: Sequence[Stamp]) -> list[Stamp]:
        with self.history.transaction() as connection:
            return seen.unseen(connection, stamps)


def _refused(failure: Failure) -> bool:
    """Whether the operating system kept the file from us, as while another program holds it, or on a network's fault.

    What Pillow raises on damaged files is an ``OSError`` too, without a number.
    """
    cause = failure.error.__cause__
    return isinstance(cause, OSError) and cause.errno is not None
