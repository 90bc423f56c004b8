"""Detection of new and complete files in a folder, by polling, which works on network shares too."""

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
from clipada.inspection.pictures import is_picture

log = logging.getLogger(__name__)

CHUNK = 500
"""Files that are looked up in the history at a time."""


class NewFiles:
    """Finds image files below a folder that are complete and were not inspected in their present state.

    Hidden files and folders are skipped, and so are pictures that clipada wrote; links to folders are not followed.
    The number of files remembered between two scans is at most ``settings.backlog``.

    Args:
        folder: The folder; it is scanned at any depth.
        unseen: Returns those of some files that were not inspected in their present state.
        settings: Conditions of a complete file.
        excluded: Folders that are not scanned.
        clock: Returns seconds, monotonic.
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
        self._unreadable: set[Path] = set()

    @property
    def settling(self) -> int:
        """Number of files found that are not complete yet."""
        return len(self._settling)

    def complete(self) -> list[Stamp]:
        """Scan the folder once; return the files that have become complete, in the order of their last change."""
        now, before, self._settling = self._clock(), self._settling, {}
        stamps = self._files()
        while chunk := list(islice(stamps, CHUNK)):
            for stamp in self._unseen(chunk):
                earlier, since = before.get(stamp.path, (None, now))
                # A full backlog must not drop files that are settling already, or none would ever become complete.
                if len(self._settling) < self.settings.backlog or earlier is not None:
                    self._settling[stamp.path] = (stamp, since if stamp == earlier else now)
        done = [stamp for stamp, since in self._settling.values() if now - since >= self.settings.settle]
        for stamp in done:
            del self._settling[stamp.path]
        return sorted(done, key=lambda stamp: (stamp.mtime_ns, stamp.path))

    def _files(self) -> Iterator[Stamp]:
        """Yield the present stamp of every image file below the folder; files that vanish meanwhile are skipped."""
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
        """Return the entries of a folder; log once if it cannot be read."""
        try:
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except FileNotFoundError:
            if folder != self.folder:
                return []
            found, reason = [], "it does not exist"
        except OSError as error:
            found, reason = [], error.strerror or str(error)
        else:
            self._unreadable.discard(folder)
            return found
        if folder not in self._unreadable:
            self._unreadable.add(folder)
            log.warning("cannot read folder %s: %s; trying again", folder, reason)
        return found
