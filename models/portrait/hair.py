"""Hair: locks of single strands that run between guide curves from the parting, lit by soft bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from models.portrait.paint import F32, Canvas, Window, bump, ramp, rgb, smoothstep, spline

TONES = (rgb(0x170C0A), rgb(0x35201A), rgb(0x60402F), rgb(0x9C6E4E), rgb(0xD9AC80))
STOPS = (0.0, 0.25, 0.52, 0.78, 1.0)
STEPS = 72
"""Places along a strand."""
PIECES = 30
"""Pieces of one colour that a strand is drawn in."""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Side:
    """The hair on one side of the parting: guide curves from the face outwards, root to tip."""

    guides: tuple[Points, ...]
    locks: int
    strands: int
    light: float
    seed: int


LEFT = Side(
    (
        (
            (18, -104), (-8, -97), (-40, -76), (-70, -46), (-89, -10), (-96, 32),
            (-93, 76), (-99, 120), (-112, 160), (-106, 204), (-86, 240),
        ),
        (
            (18, -126), (-14, -128), (-58, -116), (-98, -78), (-116, -28), (-121, 24),
            (-117, 74), (-125, 122), (-142, 166), (-138, 212), (-112, 256),
        ),
        (
            (18, -151), (-18, -153), (-70, -144), (-116, -104), (-138, -46), (-144, 18),
            (-142, 74), (-151, 124), (-171, 172), (-168, 222), (-138, 270),
        ),
    ),
    40, 52, 1.0, 1,
)  # fmt: skip
RIGHT = Side(
    (
        (
            (18, -104), (39, -100), (66, -82), (86, -46), (95, -6), (96, 38),
            (91, 82), (97, 126), (110, 166), (104, 208), (84, 242),
        ),
        (
            (18, -126), (46, -123), (80, -104), (107, -66), (118, -16), (121, 34),
            (116, 82), (124, 128), (141, 172), (137, 216), (112, 258),
        ),
        (
            (18, -151), (50, -148), (94, -130), (126, -86), (141, -28), (145, 28),
            (142, 80), (151, 130), (170, 178), (167, 226), (138, 272),
        ),
    ),
    40, 52, 0.74, 2,
)  # fmt: skip
FILLED = 0.94
"""Share of the guides' length that is a closed mass; beyond it there are only tips."""


def paint_back(canvas: Canvas) -> None:
    """The hair behind neck and face, in shadow."""
    shape = spline(
        [(16, -142), (92, -120), (130, -60), (138, 40), (146, 120), (156, 200), (120, 262), (60, 250),
         (0, 240), (-60, 250), (-120, 262), (-156, 200), (-146, 120), (-138, 40), (-130, -60), (-88, -126)],
        160, closed=True,
    )  # fmt: skip
    window = canvas.around(shape, 8)
    x, y = window.grid()
    bend = x + 9 * np.sin(y * 0.021) * np.sign(x)
    streaks = 0.022 * np.sin(bend * 0.83) + 0.016 * np.sin(bend * 1.9 + 1.0)
    edge = 0.20 * smoothstep(60, 150, np.abs(x)) + 0 * y
    window.blend(ramp(np.asarray(0.12 + edge + streaks), STOPS, TONES), window.mask(shape, 2.0))


def shade_face(canvas: Canvas) -> None:
    """The soft shadow that the hair throws on forehead, cheeks and neck."""
    for side in (LEFT, RIGHT):
        body = _body(side) + np.asarray([5.0 if side is LEFT else -1.5, 7.0], np.float32)
        window = canvas.around(body, 20)
        mask = np.maximum(window.mask(body, 3.0) * 0.75, window.mask(body, 9.0) * 0.55)
        window.shade(rgb(0x9A5E50), mask)


def paint_front(canvas: Canvas) -> None:
    """The hair that frames the face."""
    low = np.asarray([(-180, -190), (180, 300)], np.float32)
    window = canvas.around(low, 0)
    layer = np.asarray(np.clip(window.pixels * 255, 0, 255), np.uint8).copy()
    cover = np.zeros(window.shape, np.uint8)
    for side in (RIGHT, LEFT):
        _paint_side(window, layer, cover, side)
    parting = _pixels(window, spline([(18.5, -101), (17.8, -110), (18, -122)], 20))
    cv2.polylines(layer, [parting], False, [255 * c for c in rgb(0x4A3026)], 2, cv2.LINE_AA, 4)
    _flyaways(window, layer, cover)
    _hairline(window, layer, cover)
    soft = cv2.GaussianBlur(cover, (0, 0), 0.7).astype(np.float32) / 255
    colour = cv2.GaussianBlur(layer, (0, 0), 0.55).astype(np.float32) / 255
    x, y = window.grid()
    # A cool light from behind on the right, and the crown's own roundness.
    colour += (1 - colour) * (bump(x, y, (142, -30), (9, 90)) * 0.10)[..., None] * np.asarray([0.7, 0.85, 1.0])
    colour *= 1 - 0.20 * smoothstep(120, 280, y)[..., None]
    window.blend(np.asarray(colour, np.float32), soft)


def _guides(side: Side) -> F32:
    return np.stack([spline(guide, STEPS) for guide in side.guides])


def _body(side: Side) -> F32:
    guides = _guides(side)[:, : int(FILLED * STEPS)]
    return np.vstack([guides[0], guides[-1][::-1]])


def _along(guides: F32, across: F32) -> F32:
    """Paths for ``across`` ``[n, STEPS]`` in 0..1 between the guides: ``[n, STEPS, 2]``."""
    place = np.clip(across, -0.06, 1.06) * (len(guides) - 1)
    low = np.clip(np.floor(place).astype(int), 0, len(guides) - 2)
    t = (place - low)[..., None]
    step = np.arange(STEPS)[None, :]
    return np.asarray(guides[low, step] * (1 - t) + guides[low + 1, step] * t, np.float32)


def _paint_side(window: Window, layer: np.ndarray, cover: np.ndarray, side: Side) -> None:
    guides = _guides(side)
    random = np.random.default_rng(side.seed)
    body = _pixels(window, _body(side))
    cv2.fillPoly(layer, [body], [255 * c for c in TONES[1]], cv2.LINE_AA, 4)
    cv2.fillPoly(cover, [body], 255, cv2.LINE_AA, 4)
    s, n = np.linspace(0, 1, STEPS), side.strands
    centres = (np.arange(side.locks) + 0.5) / side.locks
    # From the back of the head to the face and from the face to the back, so that locks overlap both ways.
    order = np.argsort(np.abs(centres - 0.42) + random.normal(0, 0.10, side.locks))[::-1]
    for lock in order:
        half = random.uniform(0.026, 0.046)
        wave = random.uniform(0.012, 0.034) * s**1.4 * np.sin(2 * np.pi * (1.5 * s + random.random()))
        spread = np.sort(np.abs(random.normal(0, 1.0, n)))[::-1] * random.choice((-1.0, 1.0), n)
        taper = half * (1.15 - 0.25 * smoothstep(0.6, 1.0, s))
        across = centres[lock] + wave + spread[:, None] * taper * 0.62
        paths = _along(guides, across) + random.normal(0, 0.5, (n, 1, 2))
        paths[:, :, 0] += random.normal(0, 2.2, (n, 1)) * np.exp(-s / 0.10)
        # A lock ends in a point: its outer strands are shorter.
        reach = random.uniform(0.96, 1.02) - 0.020 * np.abs(spread) - random.uniform(0, 0.05, n)
        reach = np.clip(reach, 0.6, 1.0)
        start = np.where(random.random(n) < 0.7, 0.0, random.uniform(0, 0.5, n))
        tone = random.normal(0, 0.03) + random.normal(0, 0.055, (n, 1))
        level = _light(s + random.normal(0, 0.022, (n, 1)), across, spread[:, None], side, tone)
        _draw(window, layer, cover, paths, level, (start, reach), random)


def _light(s: F32, across: F32, spread: F32, side: Side, tone: F32) -> F32:
    """Brightness along strands: bands of light where the head's round turns to the lamp."""
    band = np.exp(-(((s - 0.235 - 0.05 * (across - 0.5)) / 0.085) ** 2))
    second = 0.55 * np.exp(-(((s - 0.60) / 0.10) ** 2)) + 0.30 * np.exp(-(((s - 0.86) / 0.07) ** 2))
    turned = np.clip(1 - (2 * across - 0.95) ** 2, 0, 1)
    root = 0.16 * np.exp(-np.clip(s, 0, 1) / 0.05)
    lock = 0.07 * (1 - np.minimum(np.abs(spread), 2.0))
    level = 0.27 + side.light * (0.50 * band + 0.24 * second) * (0.35 + 0.65 * turned) + lock - root + tone
    return np.asarray(level - 0.14 * smoothstep(0.3, 0.0, across), np.float32)


def _draw(
    window: Window,
    layer: np.ndarray,
    cover: np.ndarray,
    paths: F32,
    level: F32,
    span: tuple[F32, F32],
    random: np.random.Generator,
) -> None:
    """Strands ``[n, STEPS, 2]`` with brightness ``[n, STEPS]``, each from and to its share of the length."""
    n = len(paths)
    points = _pixels(window, paths)
    first = (span[0] * (STEPS - 1)).astype(int)[:, None]
    last = np.maximum((span[1] * (STEPS - 1)).astype(int)[:, None], first + 6)
    last = np.minimum(last, STEPS - 1)
    cuts = first + (last - first) * np.linspace(0, 1, PIECES + 1)
    cuts[:, 1:-1] += random.uniform(-1.5, 1.5, (n, 1))
    cuts = np.clip(np.rint(cuts), first, last).astype(int)
    colours = (ramp(np.take_along_axis(level, cuts[:, :-1], 1), STOPS, TONES) * 255).tolist()
    thick = np.where(random.random(n) < 0.2, 2, 1).tolist()
    for k, strand in enumerate(points):
        at = cuts[k].tolist()
        cv2.polylines(cover, [strand[at[0] : at[-1] + 1]], False, 255, 1, cv2.LINE_AA, 4)
        for piece in range(PIECES):
            width = thick[k] if piece < PIECES - 7 else 1
            line = strand[at[piece] : at[piece + 1] + 1]
            cv2.polylines(layer, [line], False, colours[k][piece], width, cv2.LINE_AA, 4)


def _flyaways(window: Window, layer: np.ndarray, cover: np.ndarray) -> None:
    """Single hairs that left the mass."""
    random = np.random.default_rng(7)
    s, n = np.linspace(0, 1, STEPS), 44
    for side in (LEFT, RIGHT):
        edge = np.where(random.random((n, 1)) < 0.8, 1.0, 0.0)
        out = random.uniform(0.01, 0.07, (n, 1)) * np.where(edge > 0, 1, -0.7)
        begin, long = random.uniform(0, 0.5, (n, 1)), random.uniform(0.3, 0.7, (n, 1))
        bend = out * np.sin(np.pi * np.clip((s - begin) / long, 0, 1))
        paths = _along(_guides(side), edge + bend) + random.normal(0, 1.2, (n, 1, 2))
        level = np.repeat(random.uniform(0.25, 0.5, (n, 1)), STEPS, axis=1)
        start = random.uniform(0.0, 0.6, n)
        _draw(window, layer, cover, paths, level, (start, np.minimum(1.0, start + 0.4)), random)


def _hairline(window: Window, layer: np.ndarray, cover: np.ndarray) -> None:
    """Fine short hairs where forehead and temples begin, so that the mass has no hard edge."""
    random = np.random.default_rng(11)
    s, n = np.linspace(0, 1, STEPS), 120
    for side in (LEFT, RIGHT):
        start = random.uniform(0.02, 0.42, n)
        inside = 0.05 + random.uniform(0, 0.05, (n, 1))
        # Each leaves the mass, bends over the skin and comes back towards it.
        arc = np.sin(np.pi * np.clip((s - start[:, None]) / 0.16, 0, 1))
        paths = _along(_guides(side), inside - (inside + random.uniform(0.0, 0.055, (n, 1))) * arc)
        level = np.repeat(random.uniform(0.22, 0.42, (n, 1)), STEPS, axis=1)
        _draw(window, layer, cover, paths, level, (start, start + random.uniform(0.08, 0.15, n)), random)


def _pixels(window: Window, points: F32) -> np.ndarray:
    """Scene points to OpenCV's fixed-point pixels of the window."""
    c = window.canvas
    flat = (points - np.asarray(c.origin)) * c.scale - np.asarray([window.x0 + 0.5, window.y0 + 0.5])
    return np.asarray(np.rint(flat * 16), np.int32)
