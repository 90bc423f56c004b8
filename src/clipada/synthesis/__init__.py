"""Synthetic anomalies: normal images and a source of randomness in, images and masks out.

`AnomalySynthesizer` draws those of DRAEM into a batch, `draw_anomaly` one of ten ``KINDS`` into an image.
"""

from clipada.synthesis.augmenters import AUGMENTERS, augment
from clipada.synthesis.draem import AnomalySynthesizer
from clipada.synthesis.kinds import KINDS, AnomalyKind, draw_anomaly
from clipada.synthesis.perlin import perlin_noise
from clipada.synthesis.textures import FolderTextures, ProceduralTextures, TextureSource, texture_source

__all__ = [
    "AUGMENTERS",
    "KINDS",
    "AnomalyKind",
    "AnomalySynthesizer",
    "FolderTextures",
    "ProceduralTextures",
    "TextureSource",
    "augment",
    "draw_anomaly",
    "perlin_noise",
    "texture_source",
]
