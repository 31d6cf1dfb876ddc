"""Decoded pixels of any mode become u8 BGR of about a wanted size. Only a strip at a time is converted."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

U8 = NDArray[np.uint8]

STRIP_PIXELS = 1 << 20
NEUTRAL = (206, 204, 202)
"""BGR behind what is transparent."""
SQUARE = 0.02
"""A pixel whose sides differ by less is square."""
PIXEL_MAX = 4.0
"""Of one side of a pixel to the other; more is nonsense, and not followed."""
_SHRINKABLE = {"L", "LA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK"}

Convert = Callable[[Image.Image], Image.Image]


def from_image(image: Image.Image, side: int) -> U8:
    """A loaded picture, its longer side at least ``side`` (when it was) and less than twice that.

    Args:
        image: of any mode.
        side: pixels.
    """
    even = _levelled(image)
    managed = _managed(image.mode, image.info.get("icc_profile"))
    return _in_strips(image.size, side, lambda top, end: image.crop((0, top, image.width, end)), even, managed)


def from_array(found: NDArray[Any], profile: bytes | None, side: int) -> U8:
    """The same from ``[H, W]`` or ``[H, W, 2, 3 or 4]``, u8 or u16, which is never copied as a whole."""

    def part(top: int, end: int) -> Image.Image:
        strip = found[top:end]
        return Image.fromarray((strip >> 8).astype(np.uint8) if strip.dtype == np.uint16 else strip)

    managed = _managed({3: "RGB", 4: "RGBA"}.get(found[0, 0].size, "L"), profile)
    return _in_strips((found.shape[1], found.shape[0]), side, part, _as_it_is, managed)


def upright(picture: U8, orientation: int) -> U8:
    """Undo an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def square(picture: U8, pixel: float) -> U8:
    """Give the picture square pixels, by enlarging.

    Args:
        picture: u8 BGR.
        pixel: its pixels' width in their heights.
    """
    width, height = squared(picture.shape[1], picture.shape[0], pixel)
    if (width, height) == (picture.shape[1], picture.shape[0]):
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def squared(width: int, height: int, pixel: float) -> tuple[int, int]:
    """The size with square pixels: the short side of a pixel grows."""
    if abs(pixel - 1) < SQUARE or not 1 / PIXEL_MAX <= pixel <= PIXEL_MAX:
        return width, height
    return (round(width * pixel), height) if pixel > 1 else (width, round(height / pixel))


def _in_strips(
    size: tuple[int, int], side: int, part: Callable[[int, int], Image.Image], even: Convert, managed: Convert
) -> U8:
    width, height = size
    factor = max(1, max(width, height) // side)
    made = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    rows = max(1, STRIP_PIXELS // (width * factor))
    for first in range(0, len(made), rows):
        last = min(first + rows, len(made))
        strip = even(part(first * factor, min(last * factor, height)))
        if strip.mode not in _SHRINKABLE:
            strip = strip.convert("RGBA" if strip.has_transparency_data else "RGB")
        if factor > 1:
            strip = strip.reduce(factor)
        made[first:last] = _flat(managed(strip))
    return made


def _flat(strip: Image.Image) -> U8:
    """On the neutral background: u8 BGR."""
    if not strip.has_transparency_data:
        return np.asarray(strip.convert("RGB"))[..., ::-1]
    rgba = np.asarray(strip.convert("RGBA"))
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., 2::-1] * alpha + np.asarray(NEUTRAL, np.float32) * (1 - alpha)
    return np.asarray(mixed + 0.5).astype(np.uint8)


def _as_it_is(strip: Image.Image) -> Image.Image:
    return strip


def _levelled(image: Image.Image) -> Convert:
    """How to bring deep pixels (16-bit, 32-bit, float) to 8 bits."""
    if image.mode.startswith("I;16"):
        return lambda strip: Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
    if image.mode not in ("I", "F"):
        return _as_it_is
    peak: Any = image.getextrema()[1]
    # Floats go to 1, or hold what integers would: 8, 16 or 32 bits.
    scale = next((255 / top for top in (1, 255, 65535) if float(peak) <= top), 255 / 0xFFFFFFFF)

    def level(strip: Image.Image) -> Image.Image:
        values = np.nan_to_num(np.asarray(strip, np.float32), nan=0.0, posinf=0.0, neginf=0.0) * scale
        return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8))

    return level


def _managed(mode: str, profile: bytes | None) -> Convert:
    """From the picture's own colours to sRGB; as they are where it names none, or none that can be read."""
    if not profile or mode not in ("RGB", "RGBA", "CMYK"):
        return _as_it_is
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = "RGBA" if mode == "RGBA" else "RGB"
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, target)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _as_it_is

    def manage(strip: Image.Image) -> Image.Image:
        return ImageCms.applyTransform(strip, transform) or strip if strip.mode == mode else strip

    return manage
