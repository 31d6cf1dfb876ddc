"""From sound to mouth: the state of one frame, a pure function of what lies around it.

Every number depends only on PCM from ``BACK_US`` before the frame to ``AHEAD_US`` after its end, on phonemes
that begin before that horizon, and on the turn's ends where they lie inside it. The computation is done frame
by frame on slices of fixed shape, so a segment plan cannot change a bit of it.

Coarticulation follows Cohen and Massaro, "Modeling coarticulation in synthetic visual speech" (1993): each
sound pulls the mouth with a dominance that rises before and falls after it; here with compact support, since
what lies beyond the look-ahead must not matter.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.api import FRAME_SAMPLES, FRAME_US, FUTURE_US, PAST_US, SAMPLE_RATE, Pcm, Span, SpeechWindow
from models.warp import hearing
from models.warp.visemes import Sound, sounds

BLOCK = 480
"""Samples per energy block: 10 ms."""
BACK_BLOCKS = 150
AHEAD_BLOCKS = FUTURE_US * SAMPLE_RATE // 1_000_000 // BLOCK
FRAME_BLOCKS = FRAME_SAMPLES // BLOCK
CONTEXT_BLOCKS = BACK_BLOCKS + FRAME_BLOCKS + AHEAD_BLOCKS
BACK_US = BACK_BLOCKS * 10_000
CENTRE = BACK_BLOCKS * BLOCK + FRAME_SAMPLES // 2
"""Sample of the context in the middle of the frame."""
CENTRE_US = FRAME_US // 2

LEAD_US, LAG_US = 95_000, 125_000
"""How early and how late a sound still pulls; the lead stays inside the look-ahead as seen from mid-frame."""
WIDEST = 0.35
PRESSED_FLAT = 0.4
"""How much of their rounding lips lose while they are pressed together."""
SOFT_TONGUE = 0.8
"""A tongue between the teeth parts the lips as if the sound were at least this loud."""
REST_PULL = 0.6
COVER_US = 900_000
"""Phonemes this recent mean that the turn has phonemes, and that a gap between them is a pause."""
CLOSE_RAMP_US = 55_000
BURST_LEAD_US = 25_000
"""A synthesizer marks a plosive near its burst; the lips close before it."""
FADE_IN_US, FADE_OUT_US = 120_000, 160_000
BLEND = 0.25
"""Below this share of its shape the mouth is cross-faded with the template's own."""

FLOOR_RMS = 0.0012
"""Below -58 dB of full scale nothing is speech."""
REFERENCE_FLOOR = 0.012
GATE_ON, GATE_OFF = 0.055, 0.028
"""Shares of the recent loudness that open and close the gate."""
HOLD_BLOCKS = 5
AUDIBLE_BLOCKS = 9
"""How near a sound must be for its phonemes to move the lips: 90 ms."""


class MouthState(NamedTuple):
    """One frame's mouth. Lengths in half widths of the mouth; the rest 0 to 1."""

    open: float = 0.0
    wide: float = 0.0
    round: float = 0.0
    teeth: float = 0.0
    tongue: float = 0.0
    closed: float = 0.0
    bite: float = 0.0
    between: float = 0.0
    """Tip of the tongue between the rows of teeth."""
    weight: float = 0.0
    """Share of the generated mouth against the template's own."""


REST = MouthState()


@dataclass(frozen=True, slots=True)
class Context:
    """What one frame may look at; times are microseconds from the frame's start."""

    pcm: Pcm
    """s16 ``[CONTEXT_BLOCKS * BLOCK]``, from ``BACK_US`` before the frame."""
    phonemes: Sequence[Span]
    since_start_us: int
    """From the turn's start to the frame's start, at most ``BACK_US``."""
    until_end_us: int | None
    """From the frame's start to the turn's end when that is within the horizon."""
    levels: NDArray[np.float64] | None = None
    """``block_rms(pcm)``, where it is known already."""

    def rms(self) -> NDArray[np.float64]:
        """Loudness of every block, 0..1 of full scale: ``[CONTEXT_BLOCKS]``."""
        return block_rms(self.pcm) if self.levels is None else self.levels


def contexts(window: SpeechWindow) -> list[Context]:
    """The context of every frame of ``window`` from ``window.start``.

    Raises:
        ValueError: the PCM has the wrong length.
    """
    past = PAST_US * SAMPLE_RATE // 1_000_000
    expected = past + window.frames * FRAME_SAMPLES + AHEAD_BLOCKS * BLOCK
    if len(window.pcm) != expected:
        raise ValueError(f"a window of {window.frames} frames has {expected} samples, not {len(window.pcm)}")
    found = []
    levels = block_rms(window.pcm)
    for index in range(window.start, window.frames):
        at = past + index * FRAME_SAMPLES - BACK_BLOCKS * BLOCK
        begin = index * FRAME_US
        horizon = begin + FRAME_US + FUTURE_US
        spans = [
            Span(p.text, p.t0_us - begin, p.t1_us - begin)
            for p in window.phonemes
            if p.t0_us < horizon and p.t1_us > begin - COVER_US
        ]
        spans.sort(key=lambda p: (p.t0_us, p.t1_us))
        end = window.speech_to_us
        found.append(
            Context(
                window.pcm[at : at + CONTEXT_BLOCKS * BLOCK],
                spans,
                min(begin - window.speech_from_us, BACK_US),
                end - begin if end is not None and end <= horizon else None,
                levels[at // BLOCK : at // BLOCK + CONTEXT_BLOCKS],
            )
        )
    return found


def mouth_state(context: Context) -> MouthState:
    """The mouth in the middle of the frame."""
    weight = _turn_weight(context)
    if weight <= 0:
        return REST
    rms = context.rms()
    activity, loudness = _loudness(rms)
    if context.phonemes:
        shape, presence = _from_phonemes(context.phonemes)
        # Phonemes move the lips before a sound and let them close after it, and they vouch for soft sounds
        # that are below the gate; but only beside something audible.
        middle = BACK_BLOCKS + FRAME_BLOCKS // 2
        if float(rms[middle - AUDIBLE_BLOCKS : middle + AUDIBLE_BLOCKS + 1].max()) > FLOOR_RMS:
            activity, scale = max(activity, presence), 1.0
        else:
            scale = activity
    else:
        shape = hearing.mouth(context.pcm, CENTRE, float(rms.max()))
        scale = activity
    if activity <= 0:
        return REST
    free = (1 - shape.closed) * (1 - 0.75 * shape.bite)
    loudness = max(loudness, SOFT_TONGUE * shape.between)
    # What fades at the ends of a turn is the shape: lips that part are never seen through.
    weight *= min(1.0, activity * 4)
    scale *= weight
    gap = shape.open * free * (0.36 + 0.90 * loudness) * scale
    return MouthState(
        gap / (1 + WIDEST * gap),  # a jaw resists the more, the further it drops
        shape.wide * scale,
        shape.round * (1 - PRESSED_FLAT * shape.closed) * scale,
        shape.teeth * scale,
        shape.tongue * scale,
        shape.closed * scale,
        shape.bite * scale,
        shape.between * scale,
        min(1.0, weight / BLEND),
    )


def block_rms(pcm: Pcm) -> NDArray[np.float64]:
    """Loudness of every 10 ms block, 0..1 of full scale: exact integer sums, hence independent of the cut."""
    blocks = pcm.reshape(-1, BLOCK).astype(np.float64)  # holds such sums exactly
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", blocks, blocks) / BLOCK) / 32768.0)


def _turn_weight(context: Context) -> float:
    """Cross-fade with the template's own mouth at both ends of the turn."""
    start = (context.since_start_us + FRAME_US) / (FADE_IN_US + FRAME_US)
    end = 1.0
    if context.until_end_us is not None:
        end = context.until_end_us / FADE_OUT_US
    return min(max(min(start, end), 0.0), 1.0)


def _loudness(rms: NDArray[np.float64]) -> tuple[float, float]:
    """Whether there is speech in mid-frame (0..1, smooth) and how loud it is against the last 1.5 s (0..1)."""
    reference = max(float(rms.max()), REFERENCE_FLOOR)
    on, off = max(GATE_ON * reference, FLOOR_RMS), max(GATE_OFF * reference, FLOOR_RMS * 0.7)
    middle = BACK_BLOCKS + FRAME_BLOCKS // 2
    first = middle - 60
    opened, quiet = False, 0
    gate = []
    for loud in rms[first:].tolist():
        if loud > on:
            opened, quiet = True, 0
        elif loud < off:
            quiet += 1
            opened = opened and quiet <= HOLD_BLOCKS
        gate.append(opened)
    at = middle - first
    # Opens with the sound's onset in view and closes within two frames of its end.
    kernel = (1, 2, 3, 4, 4, 3, 2, 1)
    activity = sum(map(operator.mul, gate[at - 3 : at + 5], kernel)) / sum(kernel)
    near = float((rms[middle - 3 : middle + 4] * np.array([1, 2, 3, 4, 3, 2, 1.0])).sum() / 16)
    level = 1 + math.log10(max(near, 1e-6) / reference) / 1.3
    return activity, min(max(level, 0.0), 1.0)


# --- from phonemes ------------------------------------------------------------------------------------------


def _from_phonemes(phonemes: Sequence[Span]) -> tuple[Sound, float]:
    """The dominance-weighted mouth at mid-frame, and how much of a sound there is (0 in a pause, 1 in a sound)."""
    total_open = total_shape = 0.0
    sums = [0.0] * 5
    closed = bite = between = 0.0
    for span in phonemes:
        parts = sounds(span.text)
        length = max(span.t1_us - span.t0_us, 1)
        for k, sound in enumerate(parts):
            t0 = span.t0_us + length * k // len(parts)
            t1 = span.t0_us + length * (k + 1) // len(parts)
            pull = _dominance(CENTRE_US, t0, t1)
            if pull > 0:
                firm, shape = pull * sound.firm, pull * sound.shape
                total_open += firm
                total_shape += shape
                sums[0] += firm * sound.open
                sums[1] += shape * sound.wide
                sums[2] += shape * sound.round
                sums[3] += firm * sound.teeth
                sums[4] += firm * sound.tongue
            if sound.closed or sound.bite or sound.between:
                held = _hold(CENTRE_US, t0 - (BURST_LEAD_US if sound.burst else 0), t1)
                closed, bite = max(closed, sound.closed * held), max(bite, sound.bite * held)
                between = max(between, sound.between * held)
    # Towards a pause the sounds' pull fades and the rest position takes over.
    gap, near = total_open + max(0.0, REST_PULL - total_open), total_shape + max(0.0, REST_PULL - total_shape)
    opened, teeth, tongue = (sums[k] / gap for k in (0, 3, 4))
    mean = Sound(opened, sums[1] / near, sums[2] / near, teeth, tongue, closed, bite, between)
    return mean, min(total_open / REST_PULL, 1.0)


def _dominance(t: int, t0: int, t1: int) -> float:
    """1 inside the sound, falling to 0 over LEAD before and LAG after it."""
    x = (t0 - t) / LEAD_US if t < t0 else (t - t1) / LAG_US if t > t1 else 0.0
    pull = 0.5 + 0.5 * math.cos(math.pi * min(x, 1.0))
    return pull * pull


def _hold(t: int, t0: int, t1: int) -> float:
    """A closure: complete from ``t0`` until shortly before ``t1``, with short ramps; at least a frame long."""
    t1 = max(t1 - 10_000, t0 + FRAME_US)
    x = max(t0 - t, t - t1, 0) / CLOSE_RAMP_US
    return 0.0 if x >= 1 else 0.5 + 0.5 * math.cos(math.pi * x)
