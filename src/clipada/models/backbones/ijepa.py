"""I-JEPA (Assran et al., 2023): a ViT that was trained to predict its own tokens, without a class token."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import IJepaModel

from clipada.models.backbones.vit import Vit


class IJepa(Vit):
    """An I-JEPA up to the last block that is read."""

    vision_class: ClassVar[Any] = IJepaModel

    @property
    def prefix(self) -> int:
        """Number of tokens before those of the patches: none."""
        return 0
