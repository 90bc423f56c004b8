"""The reference engine: the model itself in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.config import EngineOptions, EnginePrecision
from clipada.devices import find_device, to_tensor
from clipada.errors import ConfigError
from clipada.images.roi import RegionsOfInterest
from clipada.models.clip_ada import ClipAda
from clipada.types import Localization, product_numbers

PRECISIONS: tuple[EnginePrecision, ...] = ("fp32", "bf16")
"""Arithmetic that this engine offers, the default first."""


class TorchEngine:
    """Localizes anomalies with a ``ClipAda`` model. The prompt is embedded once, at construction.

    Args:
        model: A trained model.
        device: A name that ``find_device`` knows.
        precision: ``"fp32"``, which is the default, or ``"bf16"`` for bfloat16 autocast.

    Raises:
        ConfigError: There is no such device or precision.
    """

    def __init__(
        self, model: ClipAda, device: str = EngineOptions.device, precision: EnginePrecision | None = None
    ) -> None:
        precision = PRECISIONS[0] if precision is None else precision
        if precision not in PRECISIONS:
            raise ConfigError(
                f"no precision {precision!r} in torch",
                expected=" | ".join(PRECISIONS),
                remedy="pass --engine onnx or --engine openvino, whose exports may have it",
            )
        self.precision = precision
        self.device = find_device(device)
        self.model = model.to(self.device).eval()
        self.size, self.rules = model.config.size, model.config.rules
        self.regions: RegionsOfInterest | None = None
        self.passes = model.passes
        self.products = () if model.head is None else model.head.products
        with torch.inference_mode():
            self.text = self.model.text_vector()

    @torch.inference_mode()
    def localize(
        self,
        images: NDArray[np.uint8],
        products: Sequence[str | None] | None = None,
        inside: NDArray[np.bool_] | None = None,
    ) -> Localization:
        """Compute the raw anomaly maps of every pass, ``up(M_i)``, and descriptors.

        Args:
            images: RGB, ``(B, H, W, 3)`` uint8, of the model's input size.
            products: Names of the products they show, where they are known; for a model with a memory.
            inside: As for ``types.ProductEngine``.
        """
        shown = None if inside is None else torch.from_numpy(inside).to(self.device)
        pixels = to_tensor(images, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found = self.model.run(pixels, self.text, self._numbers(products), shown)
        detection = found.detection
        return Localization(
            maps=found.maps(pixels.shape[-2:]).cpu().numpy(),
            descriptors=found.descriptors.float().cpu().numpy(),
            scores=None if detection is None else detection.scores.double().cpu().numpy(),
            products=None if detection is None else detection.products.cpu().numpy(),
        )

    def _numbers(self, products: Sequence[str | None] | None) -> torch.Tensor | None:
        """Return the memory's numbers of products, -1 for those it does not know; ``None`` to find them all."""
        if not self.products or products is None:
            return None
        return torch.from_numpy(product_numbers(self.products, products)).to(self.device)
