"""Numbers with their nouns, for people."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: ``1 image``, ``2 images``.

    Args:
        number: The number.
        one: The noun for one.
        many: The noun for several; by default with an ``s``.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
