"""The frozen backbone and its loading."""

from clipada.models.backbones.clip import FrozenClip
from clipada.models.backbones.loading import EMBEDDED_FOLDER, load_clip, load_whole_clip, read_configuration

__all__ = ["EMBEDDED_FOLDER", "FrozenClip", "load_clip", "load_whole_clip", "read_configuration"]
