"""Hair: wavy locks of single hairs between guide curves from the parting, lit from the window's side."""

from __future__ import annotations

import cv2
import numpy as np

from tools.portrait.hairstyle import (
    FILLED,
    FRINGE,
    FRINGE_LEFT,
    LAYERS,
    LEFT,
    RIGHT,
    SIDES,
    WISPS,
    Mass,
    along,
    body_of,
    guides_of,
)
from tools.portrait.paint import F32, Canvas, moved, ramp, rgb, smoothstep, spline, tone
from tools.portrait.strands import STEPS, STOPS, TONES, Layer, draw


def paint_back(canvas: Canvas) -> None:
    """The hair behind neck and face, in deep shadow."""
    shape = spline(
        [(16, -148), (92, -124), (128, -60), (134, 40), (134, 120), (140, 190), (122, 246), (70, 256),
         (0, 240), (-70, 256), (-122, 246), (-140, 190), (-134, 120), (-134, 40), (-128, -60), (-88, -130)],
        160, closed=True,
    )  # fmt: skip
    window = canvas.around(shape, 8)
    x, y = window.grid()
    bend = x + 9 * np.sin(y * 0.021 + 0.02 * x) * np.sign(x) + 4 * np.sin(y * 0.043 + 0.11 * x)
    random = np.random.default_rng(21)
    rows = np.linspace(-160, 160, 641)
    # Streaks of uneven width, as hair falls: fine ones on broad ones.
    loose = [np.interp(rows, rows[::step], random.normal(0, size, len(rows[::step])))
             for step, size in ((3, 0.016), (9, 0.022), (28, 0.03))]  # fmt: skip
    streaks = np.interp(bend, rows, np.sum(loose, axis=0))
    edge = 0.20 * smoothstep(70, 150, np.abs(x)) + 0 * y
    window.blend(ramp(np.asarray(0.05 + edge + streaks), STOPS, TONES), window.mask(shape, 2.0))


def shade_face(canvas: Canvas) -> None:
    """The soft shadow that the hair throws on forehead, cheeks, neck and collar."""
    for mass in SIDES:
        body = body_of(mass, 0.97) + np.asarray([5.0 if mass is LEFT else -1.0, 7.0], np.float32)
        window = canvas.around(body, 30)
        x, y = window.grid()
        near = window.mask(body, 3.5)
        skin = smoothstep(225, 195, y) + 0 * x
        window.shade(rgb(0xA5685A), np.maximum(near * 0.62, window.mask(body, 10.0) * 0.55) * skin)
        window.shade(rgb(0x56565E), np.maximum(near * 0.5, window.mask(moved(body, 3, 7), 8.0) * 0.7) * (1 - skin))
    for mass in FRINGE:
        body = body_of(mass, 0.75) + np.asarray([3.5 if mass is FRINGE_LEFT else -0.5, 5.0], np.float32)
        window = canvas.around(body, 20)
        window.shade(rgb(0xB57C6A), np.maximum(window.mask(body, 3.0) * 0.5, window.mask(body, 7.0) * 0.45))


def paint_front(canvas: Canvas) -> None:
    """The hair that frames the face."""
    window = canvas.around(np.asarray([(-200, -200), (200, 320)], np.float32), 0)
    layer = Layer.over(window)
    for mass in SIDES:
        layer.fill(body_of(mass, FILLED), TONES[1])
        _locks(layer, mass)
    for mass in LAYERS:
        _locks(layer, mass)
    _parting(layer)
    for mass in FRINGE:
        _locks(layer, mass)
    _hairline(layer)
    _wisps(layer)
    _loose(layer)
    soft = layer.soft_cover()
    colour = cv2.GaussianBlur(layer.colour, (0, 0), 0.8).astype(np.float32) / 255
    window.blend(_lit(layer, np.asarray(colour)), soft)


def _lit(layer: Layer, colour: F32) -> F32:
    """Light from behind along the outline, strong on the window's side, and shade towards the neck."""
    window = layer.window
    x, y = window.grid()
    # Face and neck are closed in: only the outer outline has light behind it.
    between = np.vstack([guides_of(LEFT)[1, :], guides_of(RIGHT)[1, ::-1]])
    whole = np.maximum(layer.cover / np.float32(255), window.mask(np.asarray(between)))
    inside = window.blurred(np.asarray(whole), 6.5)
    rim = smoothstep(0.985, 0.55, inside)
    sheen = colour.mean(axis=2)
    for glow, side, strength in (
        (tone(0xFFE9C8), smoothstep(-40, -120, x) * smoothstep(-190, -90, y) * smoothstep(220, 110, y), 0.46),
        (tone(0xC9DCEE), smoothstep(60, 125, x) * smoothstep(-190, -60, y), 0.16),
    ):
        amount = rim * side * strength * (0.35 + 2.2 * sheen)
        colour = colour + (1 - colour) * glow * np.clip(amount, 0, 0.75)[..., None]
    depth = smoothstep(60, 150, y) * smoothstep(132, 92, np.abs(x)) * 0.42
    return np.asarray(colour * (1 - depth - 0.10 * smoothstep(170, 290, y))[..., None], np.float32)


def _locks(layer: Layer, mass: Mass) -> None:
    guides = guides_of(mass)
    random = np.random.default_rng(mass.seed)
    s, n = np.linspace(0, 1, STEPS), mass.hairs
    far = smoothstep(0.22, 0.75, s)
    centres = (np.arange(mass.locks) + 0.5) / mass.locks
    # From the back of the head to the face and from the face to the back, so that locks overlap both ways.
    order = np.argsort(np.abs(centres - 0.45) + random.normal(0, 0.14, mass.locks))[::-1]
    for lock in order:
        half = random.uniform(0.7, 1.5) * 1.5 / mass.locks
        phase, wave = _wave(mass, float(centres[lock]), random)
        side = np.clip(random.normal(0, 1.0, n), -2, 2)
        side = side[np.argsort(np.abs(side))[::-1]][:, None]
        taper = half * (1.1 - 0.25 * smoothstep(0.85, 1.0, s) + 0.15 * np.sin(phase + 1.0) * far)
        across = centres[lock] + wave + side * taper * 0.62
        paths = along(guides, across) + random.normal(0, 0.45, (n, 1, 2))
        paths[:, :, 0] += random.normal(0, 2.2, (n, 1)) * np.exp(-s / 0.10)
        reach = random.uniform(*mass.reach) - 0.018 * np.abs(side[:, 0]) - random.gamma(1.5, 0.022, n)
        start = np.where(random.random(n) < 0.7, 0.0, random.uniform(0, 0.5, n))
        tint = random.normal(0, 0.03) + random.normal(0, 0.042, (n, 1))
        place = s + random.normal(0, 0.026) + random.normal(0, 0.016, (n, 1))
        round_off = 0.075 * mass.lit * side - 0.045 * side**2 + 0.13 * far * np.sin(phase + 0.5)
        level = _light(np.asarray(place), across, mass) + round_off + tint
        draw(layer, paths, np.maximum(level, 0.10), (start, np.clip(reach, 0.6, 1.0)), random)


def _wave(mass: Mass, centre: float, random: np.random.Generator) -> tuple[F32, F32]:
    """How a lock swings sideways: the phase of its wave, and its place in shares of the mass' width."""
    s = np.linspace(0, 1, STEPS)
    far = smoothstep(0.22, 0.75, s)
    phase = 2 * np.pi * (random.uniform(2.2, 2.7) * s + 0.16 * np.sin(5 * centre) + random.normal(0, 0.11))
    wave = mass.wave * random.uniform(0.55, 1.3) * far * np.sin(phase)
    # Near the crown locks lie almost, but not quite, side by side.
    turns = random.uniform(2.0, 3.5) * s + random.random()
    wave = wave + 0.05 * smoothstep(0.05, 0.15, s) * (1 - far) * np.sin(2 * np.pi * turns)
    return phase, wave + random.normal(0, 0.05) * smoothstep(0.7, 1.0, s) + random.normal(0, 0.02)


def _light(s: F32, across: F32, mass: Mass) -> F32:
    """Brightness along hairs: bands of light where the head's round turns to the lamp."""
    band = np.exp(-(((s - 0.225 - 0.06 * (across - 0.5)) / 0.075) ** 2))
    second = 0.80 * np.exp(-(((s - 0.60) / 0.12) ** 2)) + 0.60 * np.exp(-(((s - 0.86) / 0.09) ** 2))
    turned = np.clip(1 - (1.8 * across - 0.90) ** 2, 0, 1)
    root = 0.13 * np.exp(-np.clip(s, 0, 1) / 0.045)
    level = 0.29 + mass.light * (0.58 * band + 0.24 * second) * (0.30 + 0.70 * turned) - root
    shade = 0.15 * smoothstep(0.25, 0.0, across) * smoothstep(0.3, 0.5, s) * smoothstep(1.0, 0.85, s)
    return np.asarray(level - shade + 0.05 * smoothstep(0.8, 1.0, s), np.float32)


def _wisps(layer: Layer) -> None:
    """Loose bundles over forehead and temples."""
    random = np.random.default_rng(14)
    s = np.linspace(0, 1, STEPS)
    for points, n in WISPS:
        path = spline(points, STEPS)
        normal = np.gradient(path, axis=0)[:, ::-1] * (1, -1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        # A loose bundle: together at the root, each hair on its own way towards the tip.
        off = random.normal(0, 2.6, (n, 1)) + random.normal(0, 5.0, (n, 1)) * s**1.6 * np.sin(2.2 * s + 0.4)
        paths = path + off[..., None] * normal
        side = 1.0 if points[-1][0] < 0 else -1.0
        band = 0.24 * np.exp(-(((s - 0.36) / 0.17) ** 2))
        level = (
            0.45 + band * (1.0 if side > 0 else 0.7) + random.normal(0, 0.06, (n, 1)) - 0.10 * np.exp(-s / 0.08)
        )
        span = (random.uniform(0, 0.08, n), random.uniform(0.80, 1.0, n))
        draw(layer, paths, level, span, random, pieces=12, opacity=0.80, thick=0.1)


def _parting(layer: Layer) -> None:
    """A trace of skin where the hair divides; short hairs cross it."""
    line = spline([(16, -109), (15.2, -117), (16.4, -126), (14.8, -136)], 20)
    cv2.polylines(layer.colour, [layer.pixels(line)], False, [255 * c for c in rgb(0x6E4A3A)], 1, cv2.LINE_AA, 4)
    random = np.random.default_rng(12)
    n, s = 70, np.linspace(0, 1, STEPS)
    root = np.stack([random.normal(15.5, 1.5, n), random.uniform(-158, -108, n)], axis=1)
    way = np.where(random.random(n) < 0.5, -1.0, 1.0)
    long = random.uniform(16, 34, n)
    x = root[:, :1] + (way * long)[:, None] * s
    y = root[:, 1:] - (random.uniform(1, 4, n))[:, None] * np.sin(np.pi * s) + (0.12 * long)[:, None] * s**2
    level = np.repeat(random.uniform(0.12, 0.34, (n, 1)), STEPS, axis=1) + 0.12 * s
    draw(layer, np.stack([x, y], axis=2), level, (np.zeros(n), np.ones(n)), random, pieces=6)


def _loose(layer: Layer) -> None:
    """Single hairs that left the mass: along the outline, at the crown, over the cheeks and at the tips."""
    random = np.random.default_rng(7)
    s = np.linspace(0, 1, STEPS)
    for mass, n in ((LEFT, 150), (RIGHT, 150)):
        guides = guides_of(mass)
        outer = random.random((n, 1)) < 0.82
        edge = np.where(outer, random.uniform(0.92, 1.04, (n, 1)), random.uniform(0.0, 0.06, (n, 1)))
        out = np.minimum(random.gamma(1.6, 0.045, (n, 1)), 0.17) * np.where(outer, 1, -0.8)
        begin, long = random.uniform(-0.05, 0.80, (n, 1)), random.uniform(0.14, 0.42, (n, 1))
        t = np.clip((s - begin) / long, 0, 1)
        # Some come back to the mass, some end in the air.
        bend = out * np.where(random.random((n, 1)) < 0.6, np.sin(np.pi * t), t**1.5)
        wave = 0.02 * np.sin(2 * np.pi * (random.uniform(1.5, 3.5, (n, 1)) * s + random.random((n, 1))))
        paths = along(guides, edge + bend + wave) + random.normal(0, 1.0, (n, 1, 2))
        lit = random.uniform(0.30, 0.55, (n, 1)) + (0.16 if mass.lit > 0 else 0.04) * outer * (begin < 0.5)
        start = np.clip(begin[:, 0], 0, 0.9)
        span = (start, np.clip(begin[:, 0] + long[:, 0], start + 0.05, 1.0))
        half = n // 2
        for part, opacity in ((slice(0, half), 0.66), (slice(half, n), 0.40)):
            draw(
                layer,
                np.asarray(paths[part]),
                np.repeat(lit[part], STEPS, axis=1),
                (span[0][part], span[1][part]),
                random,
                pieces=3,
                opacity=opacity,
                thick=0.0,
            )


def _hairline(layer: Layer) -> None:
    """Fine short hairs where forehead and temples begin, so that the mass has no hard edge."""
    random = np.random.default_rng(11)
    s, n = np.linspace(0, 1, STEPS), 110
    for mass in FRINGE:
        start = random.uniform(0.0, 0.62, n)
        inside = 0.10 + random.uniform(0, 0.10, (n, 1))
        # Each leaves the mass, bends over the skin and comes back towards it.
        arc = np.sin(np.pi * np.clip((s - start[:, None]) / 0.26, 0, 1))
        paths = along(guides_of(mass), inside - (inside + random.uniform(0.0, 0.26, (n, 1))) * arc)
        level = np.repeat(random.uniform(0.26, 0.46, (n, 1)), STEPS, axis=1)
        span = (start, start + random.uniform(0.14, 0.26, n))
        draw(layer, paths, level, span, random, pieces=2, opacity=0.36, thick=0.0)
