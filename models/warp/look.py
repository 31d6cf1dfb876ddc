"""How a picture looks, so that what is drawn into it looks alike: light, colour, sharpness, grain."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import CROP
from models.media.paste import own_crop

F32 = NDArray[np.floating[Any]]
U8 = NDArray[np.uint8]
REFERENCE_SKIN = np.array([186.0, 207.0, 240.0])
"""BGR of the built-in face's lit skin."""
REFERENCE_LIP = np.array([126.0, 118.0, 206.0])
"""BGR of its lower lip."""
SHARP = 0.6
"""Blur of what is drawn without any, sigma in pixels."""
SOFT_MAX = 6.0
REBLUR = 1.0
"""Sigma by which a picture is blurred to find how blurred it was."""
STEEPEST = 98.0
"""Percentile of the gradients that are taken for edges."""
PALE = (0.14, 0.24)
"""How much darker than skin lips are that end in skin, and lips that end in their own colour."""
GRAIN = 0.6
"""How much of what a small blur takes away is grain; the rest is the skin's."""
VIVID = 0.40
"""Saturation from which on a colour is as pale as the picture's lips are."""
HAIR = (0.40, 0.70)
"""How much darker than the cheeks the upper lip's skin is where a moustache begins, and with a full one."""
STRAND, BEYOND = 0.16, (1.12, 1.45)
"""Thickness of a thin moustache's strands, and where they are looked for from the middle of the mouth, half
widths."""
STRANDS = (0.28, 0.40)
"""How dark they are, in the skin around: bare faces and folds of a smile have up to 0.25, moustaches 0.39 to
0.71."""
LUMA = np.array([0.0722, 0.7152, 0.2126], np.float32)
"""Of BGR, BT.709."""


class Look(NamedTuple):
    """Of one template, crop pixels."""

    light: F32
    """Colour of something white in this picture's light, BGR; 1 in the light of the built-in face: ``[3]``."""
    colour: float
    """How colourful things are, 1 as in the built-in face."""
    soft: float
    """Blur of the picture's edges, sigma in pixels."""
    lip: float
    """Luma of the lips."""
    pale: float
    """How little the lips differ from skin: 0 for red lips, 1 for pale ones."""
    corner: F32
    """The lightest that the corners of the lips may be, BGR: the lips' colour, or any where lips are as pale as
    skin: ``[3]``."""
    grain: F32
    """Noise of the picture, levels: ``[CROP, CROP]``."""
    hair: float = 0.0
    """How much of a moustache there is above the upper lip, 0 to 1."""

    @property
    def edge(self) -> float:
        """Width over which an edge drawn without blur is to change, pixels."""
        return max(1.0, 1.4 * self.soft)

    def seen(self, painted: F32, row: int) -> F32:
        """``painted`` as this picture would show it: f32 BGR ``[3, h, w]``, a plane for each colour.

        Args:
            painted: f32 BGR ``[3, h, w]``, as in the built-in face's light.
            row: which rows of the grain to lay over it.
        """
        blue, green, red = painted
        grey = blue * LUMA[0]
        grey += green * LUMA[1]
        grey += red * LUMA[2]
        # Teeth have hardly any colour, and keep it.
        most = np.maximum(np.maximum(blue, green), red)
        vivid = most - np.minimum(np.minimum(blue, green), red)
        vivid /= VIVID * np.maximum(most, 1)
        keep = 1 - (1 - self.colour) * np.minimum(vivid, 1)
        shown = painted - grey
        shown *= keep
        shown += grey
        shown *= self.light[:, None, None]
        blur = float(np.sqrt(max(self.soft**2 - SHARP**2, 0.0)))
        if blur > 0.5:
            for plane in shown:
                cv2.GaussianBlur(plane, (0, 0), blur, dst=plane, borderType=cv2.BORDER_REPLICATE)
        height, width = shown.shape[1:]
        row = min(row, CROP - height)
        shown += self.grain[row : row + height, :width]
        return np.asarray(shown, np.float32)


def measure(roi: U8, lips: F32, nose: F32, chin: F32) -> NDArray[np.float32]:
    """What ``look`` needs to know of a picture: f32 ``[11]``: light, colour, softness, strength of the grain,
    paleness and colour of the lips, the moustache.

    Args:
        roi: the template's box, u8 BGR ``[h, w, 3]``.
        lips: the four lip curves, see ``geometry.Pose``, crop pixels: ``[4, n, 2]``.
        nose: its base, ``[2]``.
        chin: its tip, ``[2]``.
    """
    crop = own_crop(roi)
    grey = np.asarray(crop @ LUMA, np.float32)
    lip = _lip(np.asarray(crop, np.uint8), lips)
    skin = _skin(roi)
    red = float(np.clip((1 - lip @ LUMA / (skin @ LUMA) - PALE[0]) / (PALE[1] - PALE[0]), 0, 1))
    hair = max(_moustache(grey, lips, nose, chin), _strands(grey, lips, nose))
    return np.asarray(
        [*_light(skin), _colourful(lip), _softness(grey), _grain(grey), 1 - red, *lip, hair], np.float32
    )


def look(measured: NDArray[np.float32]) -> Look:
    """From what ``measure`` found."""
    colour, soft, strength, pale = (float(v) for v in measured[3:7])
    lip = measured[7:10]
    noise = np.random.default_rng(0).normal(0, 1, (CROP, CROP)).astype(np.float32)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), max(0.5, 0.6 * soft)), np.float32)
    return Look(
        measured[:3],
        colour,
        soft,
        float(lip @ LUMA),
        pale,
        lip + (255 - lip) * np.float32(pale),
        noise * np.float32(strength / noise.std()),
        float(measured[10]),
    )


def _skin(roi: U8) -> NDArray[np.float64]:
    """The lit skin between eyes and mouth, BGR."""
    height, width = roi.shape[:2]
    patch = roi[height // 4 : height // 2, width // 4 : 3 * width // 4].reshape(-1, 3).astype(np.float64)
    return np.asarray(np.maximum(np.percentile(patch, 70, axis=0), 1.0))


def _light(skin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Damped, since skin differs more between people than teeth do."""
    level = np.clip((skin.max() / REFERENCE_SKIN.max()) ** 0.6, 0.4, 1.1)
    tint = (skin / skin.max()) / (REFERENCE_SKIN / REFERENCE_SKIN.max())
    return np.asarray(level * np.clip(tint**0.6, 0.75, 1.05))


def _lip(crop: U8, lips: F32) -> NDArray[np.float64]:
    """Colour of the lower lip's middle, BGR."""
    third = lips.shape[1] // 3
    (x0, y0), (x1, y1) = lips[2, third], lips[3, -third - 1]
    patch = crop[round(y0 + 1) : max(round(y1), round(y0) + 2), round(x0) : round(x1) + 1]
    return np.asarray(np.median(patch.reshape(-1, 3), axis=0) if patch.size else REFERENCE_LIP, np.float64)


def _moustache(grey: F32, lips: F32, nose: F32, chin: F32) -> float:
    """From how dark it is between nose and lip, against the cheeks."""
    unit = float(chin[1] - nose[1])
    low = int(nose[1])
    high = max(int(low - 0.40 * unit), 0)
    cheeks = [
        grey[high:low, max(int(nose[0] + a * unit), 0) : max(int(nose[0] + b * unit), 1)]
        for a, b in ((-0.75, -0.40), (0.40, 0.75))
    ]
    cheek = float(np.mean([float(np.median(part)) for part in cheeks if part.size] or [255.0]))
    inner = lips[0, lips.shape[1] // 8 : -lips.shape[1] // 8]
    above = [grey[int(nose[1] + 0.3 * (y - nose[1])) : int(y - 1), int(x)] for x, y in inner if 0 <= int(x) < CROP]
    strip = np.concatenate(above) if above else np.empty(0)
    dark = 1 - float(np.median(strip)) / max(cheek, 1.0) if strip.size else 0.0
    return float(np.clip((dark - HAIR[0]) / (HAIR[1] - HAIR[0]), 0, 1))


def _strands(grey: F32, lips: F32, nose: F32) -> float:
    """A thin moustache, from the dark lines that go on beyond both corners of the mouth: the darkest place of each
    column, against the skin around it.
    """
    left, right = lips[1, 0], lips[1, -1]
    middle, half = (left + right) / 2, float(np.hypot(*(right - left))) / 2
    side = 2 * round(STRAND * half) + 3
    shape = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    smooth = cv2.GaussianBlur(grey, (0, 0), 0.03 * half + 0.3)
    dark = np.asarray(cv2.morphologyEx(smooth, cv2.MORPH_BLACKHAT, shape), np.float32)
    share = dark / np.maximum(smooth + dark, 24)
    rows = slice(max(int(nose[1]), 0), int(middle[1] + 0.35 * half))
    found = []
    for outwards in (-1, 1):
        x0, x1 = sorted(int(middle[0] + outwards * far * half) for far in BEYOND)
        part = share[rows, max(x0, 0) : max(x1, 0)]
        found.append(float(np.median(part.max(axis=0))) if part.size else 0.0)
    return float(np.clip((min(found) - STRANDS[0]) / (STRANDS[1] - STRANDS[0]), 0, 1))


def _colourful(lip: NDArray[np.float64]) -> float:
    """A pale or grey picture has a pale tongue, too; damped."""
    ratio = (1 - lip[:2].mean() / max(lip[2], 1)) / (1 - REFERENCE_LIP[:2].mean() / REFERENCE_LIP[2])
    return float(np.sqrt(np.clip(ratio, 0.0, 1.0)))


def _softness(grey: F32) -> float:
    """Sigma of the blur of the picture's edges.

    Blurring once more lowers the gradient at an edge by sqrt(s^2 + REBLUR^2) / s (Zhuo and Sim, "Defocus map
    estimation from a single image", 2011).
    """
    part = grey[CROP // 4 : 7 * CROP // 8, CROP // 8 : 7 * CROP // 8]
    own = _steepness(part)
    again = _steepness(np.asarray(cv2.GaussianBlur(part, (0, 0), REBLUR), np.float32))
    edges = own >= max(float(np.percentile(own, STEEPEST)), 4.0)
    if not edges.any():
        return SHARP
    ratio = float(np.median(own[edges] / np.maximum(again[edges], 1e-3)))
    return float(np.clip(REBLUR / np.sqrt(max(ratio * ratio - 1, 1e-3)), SHARP, SOFT_MAX))


def _steepness(picture: F32) -> F32:
    return np.hypot(
        cv2.Sobel(picture, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(picture, cv2.CV_32F, 0, 1, scale=0.125)
    )


def _grain(grey: F32) -> float:
    """Standard deviation of what a small blur takes away where nothing else is: the median of many places."""
    part = grey[CROP // 4 : 7 * CROP // 8, CROP // 8 : 7 * CROP // 8]
    fine = part - cv2.GaussianBlur(part, (0, 0), 2.5)
    power = cv2.blur(fine * fine, (9, 9))
    return float(np.clip(GRAIN * np.sqrt(np.percentile(power, 30)), 0.0, 3.0))
