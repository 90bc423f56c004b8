"""Pictures of a verdict: the image, its anomaly map as heat, and the outlines of the regions above the threshold.

A color has the same meaning in all pictures with one threshold: the heat scale is centered on the threshold, and never
stretched to the range of an image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import scipy.ndimage
from numpy.typing import NDArray

from clipada.errors import ClipAdaError
from clipada.types import Image, Map, Mask

SIDES = (320, 640)
"""Range of the longer side of a picture in a panel, in pixels."""

BACKGROUND = (58, 62, 72)
"""RGB of a panel between the pictures."""

LINE = (0, 240, 255)
"""RGB of an outline."""

LINE_EDGE = (8, 16, 40)
"""RGB of both edges of an outline, for contrast with bright parts."""

HEAT_OPACITY = 0.8
"""Opacity of the highest map value: the defect stays visible below it. Opacity falls to 0 at the value 0, so that good
parts keep their own look."""

SHADE = 0.6
"""Share by which what is outside of a region of interest is darkened."""

_INK = (232, 235, 240)

# Ten evenly spaced colors of matplotlib's "plasma" (van der Walt and Smith, 2015, CC0), whose lightness rises evenly.
_HEAT_ANCHORS = np.array(
    [
        (13, 8, 135),
        (71, 3, 159),
        (115, 1, 168),
        (156, 23, 158),
        (189, 55, 134),
        (216, 87, 107),
        (237, 121, 83),
        (250, 158, 59),
        (253, 201, 38),
        (240, 249, 33),
    ],
    dtype=np.float32,
)


def heat_colors(anomaly_map: NDArray[np.floating[Any]]) -> Image:
    """Color a map on the fixed scale 0..1: dark blue, purple, orange, yellow, linear between anchors.

    Args:
        anomaly_map: Any shape ``(...)``; values beyond 0..1 take the color of the nearer end.

    Returns:
        ``(..., 3)`` uint8.
    """
    anchors = np.linspace(0, 1, len(_HEAT_ANCHORS))
    channels = [np.interp(anomaly_map, anchors, _HEAT_ANCHORS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def blend_heat(image: Image, heat: NDArray[np.floating[Any]]) -> Image:
    """Overlay heat on an image; opacity rises with the map value.

    Opacity is ``HEAT_OPACITY * s(heat)`` with the smooth step ``s(v) = 3 v^2 - 2 v^3``.

    Args:
        image: ``(H, W, 3)`` uint8.
        heat: ``(H, W)``, 0..1.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    opacity = _opacity(heat)[..., np.newaxis]
    blended: Image = ((1 - opacity) * image + opacity * heat_colors(heat)).round().astype(np.uint8)
    return blended


def dimmed(image: Image, inside: Mask | None) -> Image:
    """Darken what is outside of a region of interest ``(H, W)``; an image without one stays as it is."""
    if inside is None:
        return image
    darker: Image = (image * np.where(inside, 1, 1 - SHADE)[..., np.newaxis]).round().astype(np.uint8)
    return darker


def heat_layer(heat: NDArray[np.floating[Any]], inside: Mask | None = None) -> NDArray[np.uint8]:
    """Return the heat alone, ``(H, W, 4)`` RGBA: composed over an image, it gives the result of ``blend_heat``.

    Outside of a region of interest ``(H, W)`` it is a shade.
    """
    opacity = np.rint(255 * _opacity(heat)).astype(np.uint8)
    layer = np.concatenate([heat_colors(heat), opacity[..., np.newaxis]], axis=-1)
    if inside is not None:
        layer[~inside] = (0, 0, 0, round(255 * SHADE))
    return layer


def _opacity(heat: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    value = np.clip(heat, 0, 1)
    opacity: NDArray[np.floating[Any]] = HEAT_OPACITY * value**2 * (3 - 2 * value)
    return opacity


def relative_heat(anomaly_map: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.floating[Any]]:
    """Rescale a map so that the threshold becomes 1/2: the odds of each value, divided by the threshold's odds.

    ``r / (1 + r)`` with ``r = m (1 - t) / (t (1 - m))``: 0 stays 0, ``t`` becomes 1/2, 1 stays 1; the identity for 1/2.

    Args:
        anomaly_map: Any shape, 0..1.
        threshold: ``t``, 0..1.
    """
    # The odds of a threshold of exactly 0 or 1 are not defined.
    center = min(max(threshold, 1e-6), 1 - 1e-6)
    above, below = anomaly_map * (1 - center), (1 - anomaly_map) * center
    relative: NDArray[np.floating[Any]] = above / (above + below)
    return relative


def line_width(size: tuple[int, int]) -> int:
    """Return the width in pixels of the bright part of an outline for a ``size`` (height, width): 1/160 of its side."""
    return max(2, round(max(size) / 160))


def draw_outlines(image: Image, mask: Mask, width: int) -> Image:
    """Draw a line around each region of a mask: bright, with a dark edge of one pixel on either side.

    The line is outside of a region, whose own pixels stay unchanged, at distances of less than ``width + 2.5`` pixels.

    Args:
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)``.
        width: Width of the bright part in pixels.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    if not mask.any():
        return image.copy()
    distance = scipy.ndimage.distance_transform_edt(~mask)
    from_center = np.abs(distance - (width + 3) / 2)
    cased = np.where(mask, 0, np.clip(width / 2 + 1.5 - from_center, 0, 1))[..., np.newaxis]
    bright = np.clip(width / 2 + 0.5 - from_center, 0, 1)[..., np.newaxis]
    line = bright * LINE + (1 - bright) * LINE_EDGE
    return (cased * line + (1 - cased) * image).round().astype(np.uint8)


def overlay(image: Image, anomaly_map: Map, threshold: float) -> Image:
    """Draw a panel: the image, its map as heat over it, the outlines of the regions above the threshold, the scale.

    Pictures keep the image's proportions. The longer side is enlarged to 320 or reduced to 640 pixels if it is outside
    of this range; when reduced, a region of a single pixel still gets its outline.

    Args:
        image: ``(H, W, 3)`` uint8.
        anomaly_map: ``(H, W)``, 0..1.
        threshold: A pixel belongs to a region when its value is greater.

    Returns:
        ``(H', W', 3)`` uint8.

    Raises:
        ClipAdaError: Image and map differ in size.
    """
    if image.shape != (*anomaly_map.shape, 3) or image.dtype != np.uint8:
        got = f"{image.dtype} {image.shape} and {anomaly_map.shape}"
        raise ClipAdaError("cannot draw the overlay", expected="an image (H, W, 3) uint8 and a map (H, W)", got=got)
    size = picture_size((image.shape[0], image.shape[1]))
    scale = _scale_bar(size[0], line_width(size) + 4, threshold)
    return np.concatenate([*views(image, anomaly_map, threshold, size), scale], axis=1)


def views(image: Image, anomaly_map: Map, threshold: float, size: tuple[int, int]) -> tuple[Image, Image, Image]:
    """Draw the three pictures of a panel in equal frames: the image, the heat over it, the outlines of the regions.

    Args:
        image: ``(H, W, 3)`` uint8.
        anomaly_map: ``(H, W)``, 0..1.
        threshold: A pixel belongs to a region when its value is greater.
        size: Height and width of each picture inside its frame.
    """
    picture = _resized(image, size, PIL.Image.Resampling.LANCZOS)
    heat = _resized(anomaly_map.astype(np.float32), size, PIL.Image.Resampling.BILINEAR)
    margin = line_width(size) + 4
    overlaid = blend_heat(picture, relative_heat(heat, threshold))
    return _framed(picture, margin), _framed(overlaid, margin), outlined(image, anomaly_map > threshold, size)


def outlined(image: Image, mask: Mask, size: tuple[int, int]) -> Image:
    """Draw an image at ``size`` (height, width), framed, with the outline of each region of ``mask`` ``(H, W)``.

    A region of a single pixel still gets its outline; that of a region at the image's edge is on the frame.
    """
    picture = _resized(image, size, PIL.Image.Resampling.LANCZOS)
    inside = _resized(mask.astype(np.float32), size, PIL.Image.Resampling.BOX) > 0
    width = line_width(size)
    margin = width + 4
    return draw_outlines(_framed(picture, margin), np.pad(inside, margin), width)


def picture_size(size: tuple[int, int], sides: tuple[int, int] = SIDES) -> tuple[int, int]:
    """Return a ``size`` (height, width), scaled so that its longer side is within ``sides``, in pixels."""
    longer = max(size)
    scale = min(max(longer, sides[0]), sides[1]) / longer
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def map_to_16bit(anomaly_map: Map) -> NDArray[np.uint16]:
    """Quantize a map 0..1 to ``round(65535 map)`` for a 16-bit PNG; its error is at most half a step, 1/131070.

    Raises:
        ClipAdaError: A value is outside of 0..1 by more than rounding, or not a number.
    """
    if not np.all((anomaly_map >= -1e-6) & (anomaly_map <= 1 + 1e-6)):
        got = f"{np.min(anomaly_map)}..{np.max(anomaly_map)}"
        raise ClipAdaError("cannot write the anomaly map in 16 bits", expected="values 0..1", got=got)
    return np.clip(np.rint(anomaly_map.astype(np.float64) * 65535), 0, 65535).astype(np.uint16)


def _scale_bar(height: int, margin: int, threshold: float) -> Image:
    """Draw the heat scale, 1 at the top, with the threshold marked in its middle."""
    text = max(11, round(height / 36))
    canvas = np.full((height + 2 * margin, 5 * text, 3), BACKGROUND, np.uint8)
    canvas[margin : margin + height, margin : margin + text] = heat_colors(np.linspace(1, 0, height)[:, np.newaxis])
    picture = PIL.Image.fromarray(canvas)
    draw = PIL.ImageDraw.Draw(picture)
    font = PIL.ImageFont.load_default(text)
    for value, color in ((0.0, _INK), (1.0, _INK), (threshold, LINE)):
        y = margin + (height - 1) * (1 - float(relative_heat(np.array(value), threshold)))
        draw.line([(margin, y), (margin + text * 1.3, y)], fill=color, width=max(1, text // 8))
        if value == threshold or 0 < threshold < 1:
            draw.text((margin + text * 1.6, y), f"{value:.2g}", fill=color, font=font, anchor="lm")
    return np.asarray(picture)


def _framed(picture: Image, margin: int) -> Image:
    """Add a margin on all sides, wide enough for the outline of a region at the picture's edge."""
    height, width = picture.shape[:2]
    canvas = np.full((height + 2 * margin, width + 2 * margin, 3), BACKGROUND, np.uint8)
    canvas[margin : margin + height, margin : margin + width] = picture
    return canvas


def _resized(array: NDArray[Any], size: tuple[int, int], resample: PIL.Image.Resampling) -> NDArray[Any]:
    """Resize ``(H, W, 3)`` uint8 or ``(H, W)`` float32 to ``size`` (height, width)."""
    return np.asarray(PIL.Image.fromarray(array).resize(size[::-1], resample))
