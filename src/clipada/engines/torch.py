"""The reference engine: the model itself in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.config import EngineOptions, EnginePrecision
from clipada.devices import find_device, to_tensor
from clipada.errors import ConfigError
from clipada.models.clip_ada import ClipAda, upsample

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
        self.image_size = model.config.image_size
        self.passes = model.config.refinements + 1
        with torch.inference_mode():
            self.text = self.model.text_vector()

    @torch.inference_mode()
    def localize_passes(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Compute the raw anomaly maps of every pass.

        Args:
            images: RGB, ``(B, S, S, 3)`` uint8, ``S`` the model's input size.

        Returns:
            ``(R + 1, B, S, S)`` float32, values 0..1: ``up(M_i)``, coarse pass first.
        """
        pixels = to_tensor(images, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            passes = self.model(pixels, self.text)
        maps = torch.stack([upsample(logits.float().sigmoid(), pixels.shape[-2:]) for logits in passes])
        return maps.cpu().numpy()
