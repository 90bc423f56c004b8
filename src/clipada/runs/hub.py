"""Runs on the Hugging Face hub: downloaded once by name into the hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clipada.errors import RunError
from clipada.runs import EXPORTS, Run, read_run
from clipada.runs.contents import PUBLISHED

PATIENCE = 5.0
"""Timeout of the hub's first answer, in seconds."""

_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def is_hub_name(run: Path | str) -> bool:
    """Return True if ``run`` has the form ``owner/name`` and cannot be a local path.

    If the first part is a local folder, such as ``runs``, it is a mistyped path: the hub must not be queried.
    """
    text = str(run)
    return bool(_NAME.fullmatch(text)) and not Path(text).exists() and not Path(text).parent.exists()


def find_run(run: Path | str | Run, revision: str | None = None) -> Run:
    """Read a run folder, or a run on the Hugging Face hub.

    Args:
        run: A run folder, or a run already read, whose manifest is read again; if there is no such folder,
            ``owner/name`` of a run on the hub.
        revision: A branch, a tag or a commit on the hub; the newest by default.

    Raises:
        RunError: There is no such run, or it is incomplete.
    """
    if isinstance(run, Run):
        return run.present()
    if is_hub_name(run):
        return replace(read_run(fetch_run(str(run), revision)), name=str(run))
    return read_run(Path(run))


def fetch_run(name: str, revision: str | None = None) -> Path:
    """Download a run, or use the hub's cache if the hub does not answer.

    Args:
        name: ``owner/name``.
        revision: A branch, a tag or a commit; the newest by default.

    Returns:
        Its folder in the cache, which must not be changed.

    Raises:
        RunError: The hub has no such run or denies access to it, or it cannot be reached and nothing is cached.
    """
    from huggingface_hub import snapshot_download

    with as_run_errors(
        f"no run {name} here or on the hub",
        expected="a run folder, or the owner/name of one on the Hugging Face hub",
        remedy="check the name; for a private one log in with `hf auth login`; without a network, run "
        f"`hf download {name} --local-dir FOLDER` on a machine that has one, copy FOLDER here and name it instead",
    ):
        folder = snapshot_download(
            name, revision=revision, allow_patterns=[*PUBLISHED, f"{EXPORTS}/*"], etag_timeout=PATIENCE
        )
    return Path(folder)


@contextmanager
def as_run_errors(what: str, *, expected: str, remedy: str) -> Iterator[None]:
    """Turn any error of the hub or the network in the block into a ``RunError`` that quotes its first line."""
    try:
        yield
    except Exception as error:  # the hub's own errors and those of its HTTP library, which changes with its version
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(what, expected=expected, got=got, remedy=remedy) from error
