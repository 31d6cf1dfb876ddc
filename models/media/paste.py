"""Colour and pasting: BGR to I420 (BT.709, limited range), and a face crop into a cached I420 frame.

Only the pasted rectangle is ever converted; the rest of a frame is the template's own bytes. OpenCV's own
``COLOR_BGR2YUV_I420`` is BT.601 and therefore wrong beside a BT.709 tag, so the matrix is applied with
``cv2.transform`` (its 3-to-3 channel u8 path is vectorised; other channel counts are not).

Formulas: ITU-R BT.709-6, items 3.2 to 3.4 (luma and colour difference) and 4.1, 4.6 (8-bit quantisation:
black 16, white 235, colour difference 128 +- 112).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP, Crops
from models.templates.store import Template

U8 = NDArray[np.uint8]

_KR, _KG, _KB = 0.2126, 0.7152, 0.0722


def _bgr_to_yuv_matrix() -> NDArray[np.float32]:
    """3x4: full-range BGR in 0..255 to limited-range Y, Cb, Cr."""
    blue, red = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    luma = np.array([_KB, _KG, _KR])
    rows = [
        luma * 219 / 255,
        (blue - luma) / (2 * (1 - _KB)) * 224 / 255,
        (red - luma) / (2 * (1 - _KR)) * 224 / 255,
    ]
    return np.column_stack([np.stack(rows), [16.0, 128.0, 128.0]]).astype(np.float32)


BGR_TO_YUV = _bgr_to_yuv_matrix()
_YUV_TO_BGR = np.linalg.inv(BGR_TO_YUV[:, :3].astype(np.float64))


class Planes(NamedTuple):
    """Views of the three planes of one 4:2:0 picture: ``[H, W]``, ``[H/2, W/2]``, ``[H/2, W/2]``, u8."""

    y: U8
    u: U8
    v: U8


def planes(i420: U8) -> Planes:
    """Views into one contiguous I420 picture, u8 ``[H*3/2, W]``."""
    height, width = i420.shape[0] * 2 // 3, i420.shape[1]
    flat = i420.reshape(-1, copy=False)
    luma, chroma = height * width, height * width // 4
    half = (height // 2, width // 2)
    return Planes(
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(half),
        flat[luma + chroma :].reshape(half),
    )


def bgr_to_i420(bgr: U8) -> U8:
    """Convert one picture: u8 BGR ``[H, W, 3]`` (H, W even) to I420 u8 ``[H*3/2, W]``, BT.709 limited.

    Raises:
        ValueError: odd width or height, or another shape.
    """
    if bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.shape[0] % 2 or bgr.shape[1] % 2:
        raise ValueError(f"a BGR picture [H, W, 3] with even sides is needed, not {bgr.shape}")
    height, width = bgr.shape[:2]
    out = np.empty((height * 3 // 2, width), np.uint8)
    y, u, v = planes(out)
    cv2.extractChannel(cv2.transform(bgr, BGR_TO_YUV), 0, dst=y)
    chroma = _half_yuv(bgr)
    cv2.extractChannel(chroma, 1, dst=u)
    cv2.extractChannel(chroma, 2, dst=v)
    return out


def i420_to_bgr(i420: U8) -> U8:
    """The inverse, for looking at: I420 u8 ``[H*3/2, W]``, BT.709 limited, to BGR u8 ``[H, W, 3]``.

    Chroma is repeated, not interpolated.
    """
    y, u, v = planes(np.ascontiguousarray(i420))
    chroma = [plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v)]
    yuv = np.stack([y, *chroma], axis=-1).astype(np.float64) - (16.0, 128.0, 128.0)
    bgr: U8 = np.clip(np.rint(yuv @ _YUV_TO_BGR.T), 0, 255).astype(np.uint8)
    return bgr


def _half_yuv(bgr: U8) -> U8:
    """Mean of every 2x2 block, converted: u8 ``[H/2, W/2, 3]``. Averaging first halves the work twice."""
    half = cv2.resize(bgr, (bgr.shape[1] // 2, bgr.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.transform(half, BGR_TO_YUV), np.uint8)


ALIKE, APART = 2, 10
"""Levels by which a crop may differ from the template's own and leave the template's pixels in place; from
how many on it replaces them. Between lies a ramp: what is shown is within four levels of the crop, at its size."""
REACH = 5
"""Crop pixels around a changed one that count as changed too: a moved spot may look like what was there before."""
_REPLACED = np.clip((np.arange(256) - ALIKE) * (255 / (APART - ALIKE)), 0, 255).astype(np.uint8)


def own_crop(roi: U8) -> U8:
    """The crop that shows the template as it is: u8 BGR ``[h, w, 3]``, its box, to u8 BGR ``[256, 256, 3]``.

    Only to be read: where the box has that size already it is the box.
    """
    return roi if roi.shape == (CROP, CROP, 3) else _resized(roi, (CROP, CROP))


def _resized(picture: U8, size: tuple[int, int], *, fine: bool = False) -> U8:
    """To ``size``, width and height. Bilinear drops pixels below half size; area averaging costs 5x elsewhere.

    Args:
        picture: u8 BGR ``[h, w, 3]``.
        size: width and height.
        fine: enlarge with less blur, at 1.6 times the cost.
    """
    way = cv2.INTER_LINEAR
    if max(picture.shape[:2]) > 2 * max(size):
        way = cv2.INTER_AREA
    elif fine and max(picture.shape[:2]) < max(size):
        way = cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def replaced(before: U8, after: U8) -> U8:
    """Where ``after`` is to be seen, since it differs from ``before`` (u8 BGR ``[h, w, 3]``): u8 ``[h, w]``."""
    blue, green, red = cv2.split(cv2.absdiff(after, before))
    apart = cv2.dilate(cv2.max(cv2.max(blue, green), red), np.ones((REACH, REACH), np.uint8))
    return np.asarray(cv2.blur(cv2.LUT(apart, _REPLACED), (REACH, REACH)), np.uint8)


Area = tuple[slice, slice]
"""Rows and columns of a box."""


class Paster:
    """Pastes crops into the frames of one template.

    All poses share one alpha, so what depends on it is computed once: the rectangle where it is not 0, and
    the masks that keep the template's own bytes wherever it is. Read-only after construction; threads may
    share one.

    A crop is 256 pixels wide whatever the box is, so on the way there and back the template loses its grain. What
    an engine did not touch is therefore never taken from the crop: see ``own`` and ``masks``.
    """

    def __init__(self, alpha: U8, *, own: bool = False, masks: U8 | None = None) -> None:
        """What the crops of one engine need.

        Args:
            alpha: u8 ``[h, w]`` over the box (even sides); 255 is all crop, 0 all template.
            own: crops are ``own_crop`` with some of its pixels moved: what has not moved keeps the template's
                own sharpness, which a box of another size than the crop would lose on the way there and back.
            masks: u8 ``[L, 256, 256]``, how much of the crop is shown in each pose, in the crop's own pixels; a
                crop that is ``own_crop`` shows nothing. None: the alpha alone decides.
        """
        self._size = (alpha.shape[1], alpha.shape[0])
        self._own = own and self._size != (CROP, CROP)
        self._masks = masks
        rows, columns = _extents(alpha)
        everywhere = (slice(0, self._size[1]), slice(0, self._size[0]))
        self._inner = (_even(*rows, everywhere[0]), _even(*columns, everywhere[1]))
        part = np.ascontiguousarray(alpha[self._inner])
        self._part = part
        self._alpha = np.repeat(part[..., None], 3, axis=2)
        self._rest = 255 - self._alpha
        self._luma_mask, self._chroma_mask = _touched(part)

    def shown(self, roi: U8, crop: U8, pose: int) -> tuple[Area, U8] | None:
        """Where in the box the crop is shown by the mask of this pose, and how much of it, u8; None: nowhere.

        Only where there are ``masks``; the arguments are those of ``paste``.
        """
        assert self._masks is not None, "that engine has no masks"
        mask = self._masks[pose]
        if not mask.any() or not cv2.norm(crop, own_crop(roi), cv2.NORM_INF):
            return None
        return self._within(mask)

    def _within(self, mask: U8) -> tuple[Area, U8] | None:
        """Where in the box the alpha and a mask of the crop's size are not 0, and their product there."""
        if not mask.any():
            return None
        rows, columns = (
            _even((low - 1) * size / CROP, (high + 1) * size / CROP, inner)
            for (low, high), size, inner in zip(_extents(mask), self._size[::-1], self._inner, strict=True)
        )
        y0, x0 = (inner.start for inner in self._inner)
        part = self._part[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
        if not part.size:
            return None
        large = _resized(mask, self._size)[rows, columns]
        return (rows, columns), np.asarray(cv2.multiply(part, large, scale=1 / 255), np.uint8)

    def blend(self, roi: U8, crop: U8, area: Area | None = None, part: U8 | None = None) -> U8:
        """The rectangle that is pasted where crops are not ``own``: u8 BGR, at most 1 level from the exact blend.

        Args:
            roi: u8 BGR ``[h, w, 3]``, the template's own pixels in the box.
            crop: u8 BGR ``[256, 256, 3]``.
            area: of the box; None: where the alpha is not 0.
            part: u8, how much of the crop is shown there; None: as the alpha has it.
        """
        area = area or self._inner
        if part is not None:
            alpha = np.asarray(cv2.merge([part, part, part]), np.uint8)
            rest = np.asarray(cv2.bitwise_not(alpha), np.uint8)
        else:
            alpha, rest = self._alpha, self._rest
        resized = _resized(crop, self._size)[area]
        # Two rounded products: each within half a level, and exact where alpha is 0 or 255.
        new = cv2.multiply(resized, alpha, scale=1 / 255)
        old = cv2.multiply(roi[area], rest, scale=1 / 255)
        return np.asarray(cv2.add(new, old, dst=new), np.uint8)

    def paste(self, out: Planes, roi: U8, box: NDArray[np.int32], crop: U8, pose: int = 0) -> None:
        """Write ``crop`` into ``out``, which already holds the template's frame.

        Samples whose alpha is 0 (a chroma sample: all four of its pixels) keep their bytes.

        Args:
            out: planes of the frame; rows may be padded.
            roi: u8 BGR ``[h, w, 3]``.
            box: i32 ``[4]``, even: x0, y0, x1, y1.
            crop: u8 BGR ``[256, 256, 3]``.
            pose: number of the template's frame; it matters where there are ``masks``.
        """
        if self._own:
            if (shown := self._within(replaced(own_crop(roi), crop))) is not None:
                self._mix(out, box, crop, *shown)
            return
        area, part, luma_mask, chroma_mask = self._inner, None, self._luma_mask, self._chroma_mask
        if self._masks is not None:
            shown = self.shown(roi, crop, pose)
            if shown is None:
                return
            area, part = shown
            luma_mask, chroma_mask = _touched(part)
        if not luma_mask.size:
            return
        blended = self.blend(roi, crop, area, part)
        height, width = blended.shape[:2]
        left, top = int(box[0]) + area[1].start, int(box[1]) + area[0].start
        luma = cv2.extractChannel(cv2.transform(blended, BGR_TO_YUV), 0)
        cv2.copyTo(luma, luma_mask, out.y[top : top + height, left : left + width])
        chroma = _half_yuv(blended)
        top, left, height, width = top // 2, left // 2, height // 2, width // 2
        for channel, plane in ((1, out.u), (2, out.v)):
            target = plane[top : top + height, left : left + width]
            cv2.copyTo(cv2.extractChannel(chroma, channel), chroma_mask, target)

    def _mix(self, out: Planes, box: NDArray[np.int32], crop: U8, area: Area, part: U8) -> None:
        """Blend with the frame's own samples, each plane at its size: fewer roundings than in BGR, less trembles.

        Args:
            out: as in ``paste``, like ``box`` and ``crop``.
            area: of the box.
            part: u8, how much of the crop is shown there.
        """
        width, height = self._size
        yuv = cv2.split(cv2.transform(crop, BGR_TO_YUV))
        left, top = int(box[0]) + area[1].start, int(box[1]) + area[0].start
        half = np.asarray(cv2.resize(part, (part.shape[1] // 2, part.shape[0] // 2), interpolation=cv2.INTER_AREA))
        for plane, channel, share in zip(out, yuv, (part, half, half), strict=True):
            by = 1 if plane is out.y else 2
            rows, columns = (slice(side.start // by, side.stop // by) for side in area)
            large = _resized(np.asarray(channel, np.uint8), (width // by, height // by), fine=True)[rows, columns]
            y, x = top // by, left // by
            target = plane[y : y + large.shape[0], x : x + large.shape[1]]
            weight = share * np.float32(1 / 255)
            # Rounded once, and exact where nothing of the crop is shown: those samples keep their bytes.
            target[...] = cv2.blendLinear(large, target, weight, 1 - weight)


def _touched(part: U8) -> tuple[U8, U8]:
    """Which luma and which chroma samples change: those of pixels whose alpha is not 0; u8, 0 or not."""
    rows = np.maximum(part[::2], part[1::2])
    return part, np.maximum(rows[:, ::2], rows[:, 1::2])


def _extents(used: U8) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last plus one of the rows and of the columns that hold anything but 0."""
    x, y, width, height = cv2.boundingRect(used)
    return (y, y + height), (x, x + width)


def _even(low: float, high: float, within: slice) -> slice:
    """The smallest even range around ``low`` to ``high``, within another; empty when nothing is in it."""
    start = max(int(low) & ~1, within.start)
    return slice(start, max(start, min((math.ceil(high) + 1) & ~1, within.stop)))


@lru_cache(maxsize=32)
def paster(template: Template, engine: str = "", crops: Crops = Crops.WHOLE) -> Paster:
    """The paster of an open template (kept with it: ``open_template`` returns one object per content).

    Args:
        template: mapped.
        engine: whose crops they are; its own alpha and masks are taken where it has any.
        crops: what they are.
    """
    masks = template.masks_of(engine) if crops is Crops.MASKED else None
    return Paster(template.alpha_of(engine), own=crops is Crops.MOVED, masks=masks)
