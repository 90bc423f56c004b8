"""The reference engine: the model itself, in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from clipada.config import EnginePrecision
from clipada.devices import find_device
from clipada.errors import ConfigError
from clipada.models.clip_ada import ClipAda, upsample

PRECISIONS: tuple[EnginePrecision, ...] = ("fp32", "bf16")
"""Arithmetic that this engine has."""


class TorchEngine:
    """Localises anomalies with a ``ClipAda`` model; the prompt is read once, here.

    Args:
        model: A trained model.
        device: A name that ``find_device`` knows.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast.

    Raises:
        ConfigError: There is no such device or precision.
    """

    def __init__(self, model: ClipAda, device: str = "auto", precision: EnginePrecision = "fp32") -> None:
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
    def localise_passes(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Raw anomaly maps of every pass.

        Args:
            images: RGB, ``(B, S, S, 3)`` uint8, ``S`` the model's input size.

        Returns:
            ``(R + 1, B, S, S)`` float32, values 0..1: ``up(M_i)``, coarse pass first.
        """
        pixels = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            passes = self.model(pixels, self.text)
        maps = torch.stack([upsample(logits.float().sigmoid(), pixels.shape[-2:]) for logits in passes])
        return maps.cpu().numpy()
