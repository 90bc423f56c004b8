"""Image files: reading any camera's file as RGB, resizing, writing PNG, and resizing maps to the image's own size."""

from clipada.images.geometry import resize, resize_mask, restore_map
from clipada.images.measuring import completed_rules, find_depth
from clipada.images.opening import MAX_PIXELS
from clipada.images.orientation import SIDEWAYS, UPRIGHT, read_orientation, turn_on_side
from clipada.images.png import COMPRESSION, write_png
from clipada.images.reading import Header, image_sha256, read_header, read_levels, read_rgb, readable_sha256

__all__ = [
    "COMPRESSION",
    "MAX_PIXELS",
    "SIDEWAYS",
    "UPRIGHT",
    "Header",
    "completed_rules",
    "find_depth",
    "image_sha256",
    "read_header",
    "read_levels",
    "read_orientation",
    "read_rgb",
    "readable_sha256",
    "resize",
    "resize_mask",
    "restore_map",
    "turn_on_side",
    "write_png",
]
