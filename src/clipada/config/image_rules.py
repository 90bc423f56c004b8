"""Rules by which image files become RGB: chosen once, recorded in the run, and the same in training and on the line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from clipada.errors import ConfigError

Bayer = Literal["bayer-rggb", "bayer-bggr", "bayer-grbg", "bayer-gbrg"]
"""Colors of the first two pixels of the first row and of the second one, of a color sensor's raw values."""

_EXPECTED = f"rgb, gray, a channel such as 2, three such as 3,2,1, or {' | '.join(get_args(Bayer))}"


@dataclass(frozen=True, kw_only=True)
class ImageRules:
    """Rules of a run, from its settings ``model.image_channels``, ``image_depth`` and ``image_page``.

    Attributes:
        channels: ``rgb``: colors, or gray in all three, as the file says. ``gray``: the luminance of colors. ``2``:
            that channel of the file alone, counted from 1. ``3,2,1``: those channels as red, green and blue.
            ``bayer-rggb``, ``-bggr``, ``-grbg``, ``-gbrg``: gray values are those of a color sensor with this pattern.
        depth: Bits of the camera's values in 16-bit files, 8 to 16; ``None`` for all 16.
        page: Page of a TIFF, counted from 1; ``None`` for the largest, which must be the only one of its size.

    Raises:
        ConfigError: A value is out of range.
    """

    channels: str = "rgb"
    depth: int | None = None
    page: int | None = None

    def __post_init__(self) -> None:
        known = self.channels in ("rgb", "gray", *get_args(Bayer)) or len(self.numbers) in (1, 3)
        _require(known and 0 not in self.numbers, "image_channels", _EXPECTED, self.channels)
        _require(self.depth is None or 8 <= self.depth <= 16, "image_depth", "8 to 16", self.depth)
        _require(self.page is None or 1 <= self.page <= 1000, "image_page", "1 to 1000", self.page)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The channels that are chosen by number, from 1; none for rules in words."""
        parts = self.channels.split(",")
        return tuple(map(int, parts)) if all(one.isascii() and one.isdigit() and len(one) < 4 for one in parts) else ()

    @property
    def pattern(self) -> str | None:
        """The four colors of a Bayer pattern, e.g. ``"rggb"``; ``None`` without one."""
        return self.channels.removeprefix("bayer-") if self.channels in get_args(Bayer) else None


def rules_of(engine: object) -> ImageRules:
    """Return the rules by which images are read for an engine, which may state its ``depth`` alone."""
    found = getattr(engine, "rules", None)
    return found if isinstance(found, ImageRules) else ImageRules(depth=getattr(engine, "depth", None))


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise ConfigError(f"setting model.{name} is out of range", expected=expected, got=repr(got))


DEFAULT_RULES = ImageRules()
