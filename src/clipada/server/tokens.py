"""The token that callers show: read from a file, or made and kept where only its owner reads it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from clipada.errors import ConfigError

SHORTEST = 16


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        ConfigError: There is no such file, or no token in it.
    """
    remedy = "leave --token out to have one made"
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token in {path}", got=str(error), remedy=remedy) from error
    if len(token) < SHORTEST or not token.isprintable() or " " in token:
        expected = f"one line of at least {SHORTEST} characters without spaces"
        raise ConfigError(f"the token in {path} is none", expected=expected, remedy=remedy)
    return token


def ensure_token(path: Path) -> str:
    """The token in a file; made first, for its owner's eyes only, if the file is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return read_token(path)
