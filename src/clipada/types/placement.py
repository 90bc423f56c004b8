"""The place of a part in an image, relative to the reference of its product."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The place of a part in an image: moved, turned about the image's center, and scaled.

    Attributes:
        size: Height and width of the image, in pixels.
        right: Pixels of the image that the part is to the right of its place in the reference.
        down: The same downward.
        degrees: Degrees that it is turned clockwise, -180 to 180.
        scale: Its size as a multiple of that in the reference.
        fit: Likeness of the part and the reference, -1 to 1: see ``images.registration``.
    """

    size: tuple[int, int]
    right: float
    down: float
    degrees: float = 0.0
    scale: float = 1.0
    fit: float

    def matrix(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """Return the map from places in the reference to those in the image, ``(2, 3)``, for ``(x, y, 1)``.

        Args:
            size: Height and width, in pixels, to which both are resized, which may change their aspect.
        """
        height, width = self.size
        stretch = np.diag([size[1] / width, size[0] / height, 1.0])
        full = np.vstack([similarity(self.size, self.right, self.down, self.degrees, self.scale), [0.0, 0.0, 1.0]])
        matrix: NDArray[np.float64] = (stretch @ full @ np.linalg.inv(stretch))[:2]
        return matrix

    def enlarged(self, size: tuple[int, int]) -> Placement:
        """Return the same place in the image resized to a height and width."""
        down, right = size[0] / self.size[0], size[1] / self.size[1]
        return replace(self, size=size, right=self.right * right, down=self.down * down)

    def to_dict(self) -> dict[str, float]:
        """Return it as plain values, rounded, ready for JSON."""
        return {
            "right": round(self.right, 2),
            "down": round(self.down, 2),
            "degrees": round(self.degrees, 2),
            "scale": round(self.scale, 4),
            "fit": round(self.fit, 3),
        }


def similarity(size: tuple[int, int], right: float, down: float, degrees: float, scale: float) -> NDArray[np.float64]:
    """Return the matrix ``(2, 3)`` that turns places ``(x, y, 1)`` about the center of a ``size``, and moves them."""
    height, width = size
    angle = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = np.array([width / 2, height / 2])
    moved = center + np.array([right, down]) - turn @ center
    return np.hstack([turn, moved[:, np.newaxis]])


def inverted(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a matrix ``(2, 3)`` of places ``(x, y, 1)``."""
    inverse: NDArray[np.float64] = np.linalg.inv(np.vstack([matrix, [0.0, 0.0, 1.0]]))[:2]
    return inverse
