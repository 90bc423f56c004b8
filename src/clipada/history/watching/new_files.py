"""Detection of new and complete files in a folder, by polling, which works on network shares too."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from clipada.config import WatchConfig
from clipada.data.listing import is_image, is_unread
from clipada.history.watching.seen import Stamp
from clipada.inspection.pictures import is_picture

log = logging.getLogger(__name__)

CHUNK = 500
"""Files that are looked up in the history at a time."""

RESTLESS = 5
"""A file that was not complete after so many settling times, and after as many seconds, is logged."""


class _Settling(NamedTuple):
    """Present stamp of a file, when it was first seen in this state, and when it was first seen at all."""

    stamp: Stamp
    since: float
    first: float


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
        self._settling: dict[Path, _Settling] = {}
        self._named: set[Path] = set()
        self._endings: set[str] = set()

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
                earlier = before.get(stamp.path)
                # A full backlog must not drop files that are settling already, or none would ever become complete.
                if earlier is None and len(self._settling) >= self.settings.backlog:
                    continue
                since = earlier.since if earlier is not None and earlier.stamp == stamp else now
                self._settling[stamp.path] = _Settling(stamp, since, now if earlier is None else earlier.first)
        done = [one.stamp for one in self._settling.values() if now - one.since >= self.settings.settle]
        for stamp in done:
            del self._settling[stamp.path]
        self._name_restless(now)
        return sorted(done, key=lambda stamp: (stamp.mtime_ns, stamp.path))

    def _name_restless(self, now: float) -> None:
        """Log, once each, the files that are written to so often that they never become complete."""
        wait = RESTLESS * max(1.0, self.settings.settle)
        for path, one in self._settling.items():
            if now - one.first >= wait and now - one.since < self.settings.settle:
                self._name(
                    path,
                    "%s is not inspected: it has been changing for %.0f s, but an image is complete "
                    "after %g s of rest\n  remedy: write each image to a file of its own, or rename it into place",
                    now - one.first,
                    self.settings.settle,
                )

    def _name(self, path: Path, message: str, *values: object) -> None:
        """Log a warning about a path, once."""
        if path not in self._named:
            self._named.add(path)
            log.warning(message, path, *values)

    def _files(self) -> Iterator[Stamp]:
        """Yield the present stamp of every image file below the folder.

        Files that vanish meanwhile are skipped; FIFOs, sockets and devices are logged once and skipped.
        """
        folders, unread = [self.folder], defaultdict[str, list[Path]](list)
        while folders:
            for entry in self._entries(folders.pop()):
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False):
                    if path.resolve() not in self._excluded:
                        folders.append(path)
                elif is_image(path) and not is_picture(path.name):
                    try:
                        status = entry.stat()
                    except OSError:
                        continue
                    if stat.S_ISREG(status.st_mode):
                        yield Stamp.of(path, status)
                    elif not stat.S_ISDIR(status.st_mode):
                        self._name(path, "left out: %s is not a regular file")
                elif is_unread(path.name):
                    unread[path.suffix.lower()].append(path)
        self._name_unread(unread)

    def _name_unread(self, found: Mapping[str, Sequence[Path]]) -> None:
        """Log, once for each file name ending, the number of files that are not read, and one of them."""
        for ending in found.keys() - self._endings:
            self._endings.add(ending)
            paths = found[ending]
            named = f"ending in {ending}" if ending else "without an ending"
            message = "left out: files %s are not read (%d here, e.g. %s)\n  remedy: save images as PNG"
            log.warning(message, named, len(paths), paths[0])

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
            self._named.discard(folder)
            return found
        self._name(folder, "cannot read folder %s: %s; trying again", reason)
        return found
