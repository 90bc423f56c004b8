"""The frozen backbone: what it is, and where it comes from."""

from clipada.backbone.frozen import FrozenClip
from clipada.backbone.loading import EMBEDDED_FOLDER, load_clip, load_whole_clip, read_configuration

__all__ = ["EMBEDDED_FOLDER", "FrozenClip", "load_clip", "load_whole_clip", "read_configuration"]
