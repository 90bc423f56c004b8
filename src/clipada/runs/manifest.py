"""The manifest of a run folder: size and SHA-256 of every file that decides a verdict, in ``manifest.json``.

A writer that replaces a file first adds the new state to the manifest, as ``next`` beside ``files``, then replaces the
file, then writes the manifest with the new state alone. Whenever it is killed, the file is one of the two that the
manifest lists: the run is usable, with the old file or with the new one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from clipada.config.schema import build_known, require, shown
from clipada.errors import ConfigError, RunError
from clipada.files import json_text, open_regular, read_json, write_json
from clipada.runs.contents import MANIFEST
from clipada.runs.records import damaged

FORMAT = 1

_REMEDY = "copy the whole run folder again, or seal the files as they are with `clipada verify RUN --seal`"
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class SealedFile:
    """The state of a file.

    Attributes:
        sha256: Hash of its content, in hex.
        size: Its size in bytes.
    """

    sha256: str
    size: int

    def __post_init__(self) -> None:
        require(bool(_SHA256.fullmatch(self.sha256)), "sha256", "64 hexadecimal digits", self.sha256, "field")
        require(self.size >= 0, "size", "0 or more", self.size, "field")

    def __str__(self) -> str:
        return f"{self.size:,} bytes, sha256 {self.sha256[:12]}"

    @classmethod
    def of(cls, path: Path) -> SealedFile:
        """Read the state of a file.

        Raises:
            OSError: It cannot be read, or is not a regular file.
        """
        with open_regular(path) as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size)

    @classmethod
    def of_json(cls, value: Any) -> SealedFile:
        """Return the state of a file that ``files.write_json`` writes."""
        return cls.of_text(json_text(value))

    @classmethod
    def of_text(cls, text: str) -> SealedFile:
        """Return the state of a file that ``files.write_text`` writes."""
        content = text.encode(errors="backslashreplace")
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True)
class Manifest:
    """The files that decide the verdicts of a run.

    Attributes:
        files: Their states, by name relative to the run folder, with ``/``.
    """

    files: Mapping[str, SealedFile]

    @property
    def sha256(self) -> str:
        """Hash of ``manifest.json``, in hex; verdicts name it."""
        return SealedFile.of_json(self.to_dict()).sha256

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``manifest.json``."""
        return {"format": FORMAT, "files": {name: asdict(self.files[name]) for name in sorted(self.files)}}

    def changed(self, states: Mapping[str, SealedFile | None]) -> Manifest:
        """Return the manifest with other states of some files; ``None`` stands for no such file."""
        merged = {**self.files, **states}
        return Manifest({name: state for name, state in merged.items() if state is not None})


@dataclass(frozen=True, kw_only=True)
class _Content:
    """Content of ``manifest.json``."""

    files: dict[str, SealedFile]
    next: dict[str, SealedFile | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.files, *self.next):
            path = PurePosixPath(name)
            inside = path.parts and ".." not in path.parts and not path.is_absolute() and not set(name) & set("\\:\0")
            require(bool(inside), "files", "names relative to the run folder", shown(name), "field")


def write_manifest(folder: Path, manifest: Manifest, following: Mapping[str, SealedFile | None] | None = None) -> None:
    """Write the manifest of a run folder, with the states that some files are about to have."""
    states = {name: state and asdict(state) for name, state in (following or {}).items()}
    write_json(folder / MANIFEST, manifest.to_dict() | ({"next": states} if states else {}))


def find_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a run folder; ``None`` without one. Files that are being replaced are looked at.

    Raises:
        RunError: The file is damaged, of another format, or a link to a file that is missing.
    """
    path = folder / MANIFEST
    if not path.is_symlink() and not path.exists():
        return None
    content = read_json(path, _REMEDY)
    if content.get("format") != FORMAT:
        expected, got = f"format {FORMAT}", f"format {shown(content.get('format'))}"
        remedy = f"use the version of clipada that wrote it, or {_REMEDY}"
        raise RunError(f"{path} is of another format", expected=expected, got=got, remedy=remedy)
    try:
        states: _Content = build_known(_Content, content, "")
    except ConfigError as error:
        raise damaged(path, error, _REMEDY) from error
    arrived = {name: state for name, state in states.next.items() if _state(folder / name) == state}
    return Manifest(states.files).changed(arrived)


def _state(path: Path) -> SealedFile | None:
    """Read the state of a file; ``None`` if there is none that can be read."""
    try:
        return SealedFile.of(path)
    except OSError:
        return None
