"""Synthetic anomalies: a batch of normal images and a ``torch.Generator`` in, images and masks out."""

from clipada.synthesis.augmenters import AUGMENTERS, augment
from clipada.synthesis.contact_sheet import contact_sheet
from clipada.synthesis.draem import AnomalySynthesizer
from clipada.synthesis.perlin import perlin_noise
from clipada.synthesis.textures import FolderTextures, ProceduralTextures, TextureSource, texture_source

__all__ = [
    "AUGMENTERS",
    "AnomalySynthesizer",
    "FolderTextures",
    "ProceduralTextures",
    "TextureSource",
    "augment",
    "contact_sheet",
    "perlin_noise",
    "texture_source",
]
