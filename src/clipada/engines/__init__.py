"""What turns images into raw anomaly maps, behind one interface."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """Anything that localises anomalies in images of the model's input size."""

    image_size: int
    """Side ``S`` of the square it takes, in pixels."""

    passes: int
    """Number of maps it makes: the coarse one and the refined ones."""

    def localise_passes(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw maps of every pass.

        Args:
            images: RGB, ``(B, S, S, 3)``.

        Returns:
            ``(passes, B, S, S)``, values 0..1, coarse pass first.
        """
        ...
