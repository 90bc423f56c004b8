"""The token that callers send: read from a file, or created in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from clipada.errors import ConfigError

SHORTEST = 16


def read_token(path: Path) -> str:
    """Return the token in a file.

    Raises:
        ConfigError: The file cannot be read, or holds no token.
    """
    remedy = "omit --token to have one created"
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the token in {path}", got=str(error), remedy=remedy) from error
    if len(token) < SHORTEST or not token.isprintable() or " " in token:
        expected = f"one line of at least {SHORTEST} characters without spaces"
        raise ConfigError(f"{path} holds no valid token", expected=expected, remedy=remedy)
    return token


def ensure_token(path: Path) -> str:
    """Return the token in a file; if the file does not exist, create it, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_token(path)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return read_token(path)
