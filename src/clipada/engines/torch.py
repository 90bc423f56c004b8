"""The reference engine: the model itself in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.config import EngineOptions, EnginePrecision
from clipada.devices import find_device, to_tensor
from clipada.errors import ConfigError
from clipada.models.clip_ada import ClipAda, upsample
from clipada.types import Localization

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
        self.size, self.depth = model.config.size, model.config.image_depth
        self.passes = model.config.refinements + 1
        with torch.inference_mode():
            self.text = self.model.text_vector()

    @torch.inference_mode()
    def localize(self, images: NDArray[np.uint8]) -> Localization:
        """Compute the raw anomaly maps of every pass, ``up(M_i)``, and descriptors.

        Args:
            images: RGB, ``(B, H, W, 3)`` uint8, of the model's input size.
        """
        pixels = to_tensor(images, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found = self.model.run(pixels, self.text)
        maps = torch.stack([upsample(logits.float().sigmoid(), pixels.shape[-2:]) for logits in found.logits])
        return Localization(maps=maps.cpu().numpy(), descriptors=found.descriptors.float().cpu().numpy())
