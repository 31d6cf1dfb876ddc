"""Speech made up for lip-sync engines, cut into their windows, and the crops that they make of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.api import (
    CROP,
    FRAME_SAMPLES,
    FRAME_US,
    FUTURE_US,
    PAST_US,
    SAMPLE_RATE,
    LipSync,
    Pcm,
    Span,
    SpeechWindow,
)
from models.templates.store import Template

PAST = PAST_US * SAMPLE_RATE // 1_000_000
FUTURE = FUTURE_US * SAMPLE_RATE // 1_000_000
FRAMES = 64
WORDS = ["h", "@", "l", "'oU", "m", "aI", "n", "eI", "m", "_", "f", "aI", "v", "p", "'u", "b", "s", "i", "_:", "a"]


def speech(frames: int = FRAMES) -> tuple[Pcm, list[Span]]:
    """A turn: bursts of harmonics and hiss with pauses, and phonemes over them."""
    random = np.random.default_rng(3)
    n = frames * FRAME_SAMPLES
    t = np.arange(n) / SAMPLE_RATE
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 14))
    level = np.clip(np.sin(2 * np.pi * 2.3 * t) + 0.4, 0, 1) * (t % 1.3 < 1.0)
    pcm = (level * (voice * 3500 + random.normal(0, 600, n))).astype(np.int16)
    spans: list[Span] = []
    at = 30_000
    while at < n * 1_000_000 // SAMPLE_RATE - 90_000:
        length = int(random.integers(45, 140)) * 1000
        spans.append(Span(WORDS[len(spans) % len(WORDS)], at, at + length))
        at += length
    return pcm, spans


def window(
    template: Template, pcm: Pcm, spans: list[Span], first: int, frames: int, start: int = 0, **more: Any
) -> SpeechWindow:
    """The item that covers frames ``first`` .. of the turn, as the broker cuts it."""
    padded = np.concatenate([np.zeros(PAST, np.int16), pcm, np.zeros(FUTURE + frames * FRAME_SAMPLES, np.int16)])
    at, begin = first * FRAME_SAMPLES, first * FRAME_US
    low, high = begin - PAST_US, begin + frames * FRAME_US + FUTURE_US
    end = len(pcm) * 1_000_000 // SAMPLE_RATE
    near = [Span(p.text, p.t0_us - begin, p.t1_us - begin) for p in spans if p.t1_us > low and p.t0_us < high]
    values: dict[str, Any] = {"peak": 0.5, **more}
    return SpeechWindow(
        template=template,
        frame0=1000 + first,
        frames=frames,
        start=start,
        pcm=padded[at : at + PAST + frames * FRAME_SAMPLES + FUTURE],
        phonemes=near,
        words=[],
        speech_from_us=-begin,
        speech_to_us=end - begin if end <= high else None,
        **values,
    )


def rendered(engine: LipSync, item: SpeechWindow) -> np.ndarray:
    jobs = engine.plan(item)
    crops, at = [], 0
    while at < len(jobs):
        size = max(b for b in engine.buckets if b <= len(jobs) - at)
        crops.append(engine.render(jobs[at : at + size]))
        at += size
    return np.concatenate(crops) if crops else np.empty((0, CROP, CROP, 3), np.uint8)
