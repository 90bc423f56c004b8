"""The files that are new in a folder, and complete. By looking again and again, which works on network shares too."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from clipada.config import WatchConfig
from clipada.data.listing import is_image
from clipada.history.watching.seen import Stamp
from clipada.inspection.batch import is_picture

log = logging.getLogger(__name__)

AT_ONCE = 500
"""Files that are looked up in the history at a time."""


class NewFiles:
    """Finds image files below a folder that are complete and were not inspected as they are now.

    Hidden files and folders are skipped, and so are pictures that clipada wrote; links to folders are not followed.
    What is remembered between two looks is bounded by ``settings.backlog``.

    Args:
        folder: Where to look, at any depth.
        unseen: Of files, those that were not inspected as they are.
        settings: When a file is complete.
        excluded: Folders that are not looked into.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        folder: Path,
        unseen: Callable[[Sequence[Stamp]], list[Stamp]],
        settings: WatchConfig | None = None,
        excluded: Iterable[Path] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder.absolute()
        self.settings = settings or WatchConfig()
        self._unseen = unseen
        self._excluded = {path.resolve() for path in excluded}
        self._clock = clock
        self._settling: dict[Path, tuple[Stamp, float]] = {}
        self._closed: set[Path] = set()

    @property
    def settling(self) -> int:
        """The number of files found that are not yet complete."""
        return len(self._settling)

    def complete(self) -> list[Stamp]:
        """Look once; return the files that have become complete, those changed first first."""
        now, before, self._settling = self._clock(), self._settling, {}
        stamps = self._files()
        while chunk := list(islice(stamps, AT_ONCE)):
            for stamp in self._unseen(chunk):
                earlier, since = before.get(stamp.path, (None, now))
                if len(self._settling) < self.settings.backlog or earlier is not None:
                    self._settling[stamp.path] = (stamp, since if stamp == earlier else now)
        done = [stamp for stamp, since in self._settling.values() if now - since >= self.settings.settle]
        for stamp in done:
            del self._settling[stamp.path]
        return sorted(done, key=lambda stamp: (stamp.mtime_ns, stamp.path))

    def _files(self) -> Iterator[Stamp]:
        """Every image file below the folder as it is; those that vanish meanwhile are skipped."""
        folders = [self.folder]
        while folders:
            for entry in self._entries(folders.pop()):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if path.resolve() not in self._excluded:
                        folders.append(path)
                elif is_image(path) and not is_picture(path.name):
                    try:
                        yield Stamp.of(path, entry.stat())
                    except OSError:
                        continue

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What a folder holds; one that is closed to us is named once."""
        try:
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            if folder != self.folder:
                return []
            found, closed = [], "it is not there"
        except OSError as error:
            found, closed = [], error.strerror or str(error)
        else:
            self._closed.discard(folder)
            return found
        if folder not in self._closed:
            self._closed.add(folder)
            log.warning("cannot look into %s: %s; looking again", folder, closed)
        return found
