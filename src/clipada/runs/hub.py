"""Runs on the Hugging Face hub: found by their name, downloaded once, and kept in the hub's own cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipada.errors import RunError
from clipada.runs import ADAPTER, CALIBRATION, CARD, CONFIG, ENCODERS, METRICS, PROTOTYPES, TRAINED_ON

PATIENCE = 5.0
"""Seconds that the hub has to begin to answer."""

RUN_FILES = (CONFIG, ADAPTER, ENCODERS, PROTOTYPES, CALIBRATION, METRICS, CARD, TRAINED_ON)
"""What of a run folder goes to the hub and comes from it; exports may come along."""

EXPORTS = "exports"

_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def is_hub_name(run: Path | str) -> bool:
    """Whether a run can only be meant as ``owner/name`` on the hub: nothing of that path is there.

    Where the first part is a folder here, such as ``runs``, a mistyped run is not asked for elsewhere.
    """
    text = str(run)
    return bool(_NAME.fullmatch(text)) and not Path(text).exists() and not Path(text).parent.exists()


def fetch_run(name: str, revision: str | None = None) -> Path:
    """Download a run, or find it in the hub's cache where the hub does not answer.

    Args:
        name: ``owner/name``.
        revision: A branch, a tag or a commit; the newest by default.

    Returns:
        Its folder in the cache, to be read only.

    Raises:
        RunError: The hub has no such run, does not give it, or cannot be reached and nothing is cached.
    """
    from huggingface_hub import snapshot_download

    with refusals_told(
        f"no run {name} here, nor on the hub",
        expected="a run folder, or the owner/name of one on the Hugging Face hub",
        remedy="check the name; for a private one log in with `hf auth login`; without a network, run "
        f"`hf download {name} --local-dir FOLDER` on a machine that has one, copy FOLDER here and name it instead",
    ):
        folder = snapshot_download(
            name, revision=revision, allow_patterns=[*RUN_FILES, f"{EXPORTS}/*"], etag_timeout=PATIENCE
        )
    return Path(folder)


@contextmanager
def refusals_told(what: str, *, expected: str, remedy: str) -> Iterator[None]:
    """Turn whatever the hub or the network refuses in the block into a ``RunError`` that quotes its first line."""
    try:
        yield
    except Exception as error:  # the hub's own and its HTTP library's, which is another in each of its versions
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(what, expected=expected, got=got, remedy=remedy) from error
