from __future__ import annotations

import numpy as np
import pytest

from models.api import Span
from models.warp.geometry import COLUMNS, Field, Pose, field
from models.warp.track import (
    AHEAD_BLOCKS,
    BACK_US,
    BLOCK,
    CENTRE,
    CONTEXT_BLOCKS,
    REST,
    Context,
    MouthState,
    block_rms,
    mouth_state,
)
from models.warp.visemes import SOUNDS, sounds


def loud(seed: int = 0, level: float = 4000.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, CONTEXT_BLOCKS * BLOCK).astype(np.int16)


def state(
    phonemes: list[Span], pcm: np.ndarray | None = None, since: int = BACK_US, end: int | None = None
) -> MouthState:
    return mouth_state(Context(loud() if pcm is None else pcm, phonemes, since, end))


def spoken(symbol: str) -> MouthState:
    return state([Span(symbol, -60_000, 100_000)])


# --- mnemonics ------------------------------------------------------------------------------------------------


READ = """
    'oU=o U  aI@=a I @  tS=S  dZ=Z  tS;h=S;  ts.h=s.  ph=p  'iou=i o u  i.=i.  i[=i[  '3:=3  ong=o n g
    _:=  _=  _|=  ?=  h=h  i@3=i @ 3  ß漢=
"""


@pytest.mark.parametrize(("mnemonic", "expected"), [e.split("=") for e in READ.split("  ") if e.strip()])
def test_a_mnemonic_is_read_as_its_sounds(mnemonic: str, expected: str) -> None:
    assert sounds(mnemonic.strip()) == tuple(SOUNDS[name] for name in expected.split())


# --- phonemes to mouth -------------------------------------------------------------------------------------------


def test_vowels_order_by_opening_and_lips_close_for_m_b_p() -> None:
    a, e, i, u = (spoken(v).open for v in ("A:", "E", "i:", "u:"))
    assert a > e > i > 0.1
    assert a - e > 0.15 * a
    assert u > 0.1
    for stop in ("m", "b", "p", "ph"):
        assert spoken(stop).open < 0.02
        assert spoken(stop).closed > 0.98


def test_width_rounding_teeth_and_bite() -> None:
    assert spoken("i:").wide > 0.7 > 0.2 > spoken("u:").wide
    assert spoken("u:").round > 0.8
    assert spoken("s").teeth > 0.8
    assert spoken("f").bite > 0.9
    assert spoken("T").between > 0.9
    assert spoken("l").tongue > 0.8
    assert spoken("l").between == 0
    assert spoken("l").open > 0.25


def test_a_short_closure_is_seen_by_some_frame() -> None:
    for shift in range(0, 40_000, 5_000):
        spans = [Span("A", -200_000, 0), Span("b", 0, 45_000), Span("A", 45_000, 250_000)]
        gaps = []
        for frame in range(-2, 3):
            moved = [
                Span(p.text, p.t0_us + shift - frame * 40_000, p.t1_us + shift - frame * 40_000) for p in spans
            ]
            gaps.append(state(moved).open)
        assert min(gaps) < 0.04, shift


def test_a_sound_that_enters_the_horizon_changes_nothing_at_first() -> None:
    here = [Span("A", -200_000, 118_000)]
    assert state([*here, Span("m", 118_500, 200_000)])[:6] == pytest.approx(state(here)[:6], abs=0.01)


# --- silence, loudness, turn ends --------------------------------------------------------------------------------


def test_silence_rests_whatever_the_phonemes_say() -> None:
    silence = np.zeros(CONTEXT_BLOCKS * BLOCK, np.int16)
    assert state([Span("A", -50_000, 90_000)], silence) == REST
    assert state([], silence) == REST


def test_the_mouth_rests_within_120_ms_of_silence() -> None:
    for with_phonemes in (True, False):
        pcm = loud()
        pcm[CENTRE - 100 * 48 :] = 0
        spans = [Span("A", -400_000, -80_000)] if with_phonemes else []
        assert state(spans, pcm).open < 0.03


def test_louder_speech_opens_wider() -> None:
    spans = [Span("A", -60_000, 100_000)]
    pcm = loud()
    quiet = pcm.copy()
    quiet[CENTRE - 4800 :] //= 8
    assert state(spans, pcm).open > 1.3 * state(spans, quiet).open


def test_the_turn_fades_in_and_out() -> None:
    spans = [Span("A", -60_000, 100_000)]
    begins = [state(spans, since=since) for since in (0, 40_000, 80_000, 120_000)]
    gaps = [mouth.open for mouth in begins]
    assert gaps == sorted(gaps)
    assert 0 < gaps[0] < 0.5 * gaps[-1]
    ends = [state(spans, end=end) for end in (120_000, 80_000, 40_000, 0)]
    gaps = [mouth.open for mouth in ends]
    assert gaps == sorted(gaps, reverse=True)
    assert ends[-1] == REST


def test_lips_that_part_are_never_seen_through() -> None:
    spans = [Span("A", -60_000, 100_000)]
    ways = [{"since": t} for t in range(0, 130_000, 10_000)] + [{"end": t} for t in range(0, 160_000, 10_000)]
    for way in ways:
        mouth = state(spans, **way)
        assert mouth.weight == 1 or mouth.open < 0.3, way


def test_only_the_declared_context_matters() -> None:
    assert CONTEXT_BLOCKS * BLOCK == (BACK_US + 40_000 + 80_000) * 48 // 1000
    assert AHEAD_BLOCKS == 8
    rms = block_rms(loud())
    assert rms.shape == (CONTEXT_BLOCKS,)
    assert rms == pytest.approx(4000 / 32768, rel=0.2)


def test_hiss_shows_teeth_without_phonemes() -> None:
    n = CONTEXT_BLOCKS * BLOCK
    hiss = np.diff(np.random.default_rng(0).normal(0, 3000, n + 1)).astype(np.int16)
    t = np.arange(n) / 48_000
    vowel = sum(np.sin(2 * np.pi * 130 * k * t) / (1 + ((130 * k - 700) / 500) ** 2) for k in range(1, 30))
    assert state([], hiss).teeth > state([], (vowel * 4000).astype(np.int16)).teeth + 0.3


# --- geometry ------------------------------------------------------------


def pose(half: float = 38.0, smile: float = 0.0) -> Pose:
    x = np.linspace(128 - half, 128 + half, COLUMNS, dtype=np.float32)
    arc = 1 - ((x - 128) / half) ** 2
    curves = np.stack([np.stack([x, 180 + (k + smile) * arc], axis=1) for k in (-10, 0, 0, 14)]).astype(np.float32)
    return Pose(curves, np.asarray([128, 152], np.float32), np.asarray([128, 231], np.float32))


def test_no_movement_is_the_identity() -> None:
    move = field(pose(), MouthState(weight=1.0))
    rows, columns = move.map_x.shape
    y = np.arange(rows, dtype=np.float32)[:, None] + move.y0
    assert np.abs(move.upper_y - y[: len(move.upper_y)]).max() == 0
    assert np.abs(move.lower_y - y[move.first_lower :]).max() == 0
    assert np.abs(move.map_x - (np.arange(columns) + move.x0)).max() == 0


@pytest.mark.parametrize(
    "mouth", [MouthState(0.8, weight=1.0), MouthState(0.2, 0, 1.0, weight=1.0), MouthState(0.2, 1.0, weight=1.0)]
)
def test_the_field_vanishes_at_its_border_and_never_folds(mouth: MouthState) -> None:
    move = field(pose(), mouth)
    rows, columns = move.map_x.shape
    y = np.arange(rows, dtype=np.float32)[:, None] + move.y0
    x = np.arange(columns, dtype=np.float32) + move.x0
    assert np.abs(move.upper_y[0] - y[0]).max() < 0.6
    assert np.abs(move.lower_y[-1] - y[-1]).max() < 0.6
    assert np.abs(move.map_x - x)[:, [0, -1]].max() < 0.6
    assert np.abs(move.map_x - x)[[0, -1]].max() < 0.6
    assert np.diff(move.lower_y, axis=0).min() > -0.05
    assert np.diff(move.map_x, axis=1).min() > 0


@pytest.mark.parametrize("gap", [0.1, 0.4, 0.8])
def test_the_gap_is_what_the_state_says(gap: float) -> None:
    move = field(pose(), MouthState(gap, weight=1.0))
    middle = int(np.abs(move.u).argmin())
    assert move.lower_edge[middle] - move.upper_edge[middle] == pytest.approx(gap * 38, rel=0.05)


def test_rounded_lips_pull_in_the_corners_of_a_smile() -> None:
    for half, most in ((38, 0.85), (47, 0.75)):
        move = field(pose(half, smile=8), MouthState(0.14, 0, 1.0, weight=1.0))
        assert 0.65 * half < move.half < most * half, "lips, not a pout; a smile goes"
        within = np.abs(move.u) <= 1
        assert np.ptp(move.upper_edge[within]) < 0.12 * half, "no smile is left"
        open_at = move.u[move.lower_edge - move.upper_edge > 0.5]
        assert np.abs(open_at).max() < 0.6, "a hole clearly inside the lips"


def test_the_corners_come_down_and_in_when_the_mouth_opens_wide() -> None:
    rest = pose(smile=8)
    move = field(rest, MouthState(0.75, weight=1.0))
    corner = int(np.abs(move.u - 1).argmin())
    middle = int(np.abs(move.u).argmin())
    assert 0.85 * rest.half < move.half < 0.95 * rest.half, "it keeps most of its width"
    top, bottom = move.upper_edge[middle], move.lower_edge[middle]
    assert 0.2 < (move.upper_edge[corner] - top) / (bottom - top) < 0.6, "an oval, not a half-moon"


@pytest.mark.parametrize("half", [38, 47])
def test_the_width_moves_no_faster_than_the_gap(half: float) -> None:
    gaps = np.linspace(0, 0.9, 10)
    widths = np.array([field(pose(half), MouthState(gap, weight=1.0)).half for gap in gaps])
    assert np.diff(widths) == pytest.approx(np.diff(widths).mean(), rel=0.05)
    assert widths[-1] > 0.8 * widths[0]


@pytest.mark.parametrize("mouth", [MouthState(0.1, 0, 1.0, weight=1.0), MouthState(0.36, 0, 0.85, weight=1.0)])
def test_rounded_lips_are_an_oval(mouth: MouthState) -> None:
    rest = pose()
    x = rest.curves[0, :, 0]
    rest.curves[0, :, 1] = 180 - 10 * (1 - np.abs(x - 128) / 38)  # a resting lip with straight sides
    move = field(rest, mouth)
    corner = float(move.upper_edge[int(np.abs(move.u - 1).argmin())])
    heights = []
    for at in (0.0, 0.5, 0.8, 0.9):
        column = int(np.abs(move.u - at).argmin())
        edge = np.interp(move.map_x[:, column], rest.curves[0, :, 0], rest.curves[0, :, 1])
        row = int(np.argmax(move.upper_y[:, column] >= edge[: len(move.upper_y)]))
        heights.append(corner - row - move.y0)
    shares = np.array(heights) / heights[0]
    assert shares == pytest.approx([1, 0.87, 0.6, 0.44], abs=0.13)


@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_the_lower_lip_meets_the_upper_teeth_for_f(gap: float) -> None:
    move = field(pose(), MouthState(gap, bite=1.0, weight=1.0))
    middle = int(np.abs(move.u).argmin())
    assert move.lower_edge[middle] - move.seam < 0.12 * move.half
    assert move.lower_edge[middle] - move.upper_edge[middle] < 0.3 * move.half, "a narrow strip"


@pytest.mark.parametrize("gap", [0.3, 0.8])
def test_the_lower_lip_keeps_its_thickness_when_the_jaw_drops(gap: float) -> None:
    move = field(pose(), MouthState(gap, weight=1.0))
    middle = int(np.abs(move.u).argmin())
    source = move.lower_y[:, middle]
    inner, outer = (np.interp(y, source, np.arange(len(source))) for y in (180 + 2.2, 180 + 14))
    assert outer - inner > 0.9 * (14 - 2.2)


def test_lips_never_cross() -> None:
    for mouth in (
        MouthState(closed=1, weight=1),
        MouthState(0, bite=1, weight=1),
        MouthState(0.02, round=1, weight=1),
    ):
        move = field(pose(), mouth)
        assert (move.lower_edge - move.upper_edge).min() > -1e-3


ROUNDED = [MouthState(0.1, 0, 1.0, weight=1.0), MouthState(0.36, 0, 0.85, weight=1.0)]


@pytest.mark.parametrize("mouth", ROUNDED)
def test_the_cheeks_of_a_smile_follow_its_corners(mouth: MouthState) -> None:
    half = 47
    move = field(pose(half, smile=8), mouth)
    corner = 128 + move.half
    inwards = half - move.half
    assert inwards > 0.2 * half

    def shifts(right: float, above: float) -> tuple[float, float]:
        column = round(corner + right * half) - move.x0
        row = round(180 - above * half) - move.y0
        across = float(move.map_x[row, column]) - column - move.x0
        return across / inwards, row + move.y0 - float(move.upper_y[row, column])

    across, down = shifts(0.15, 0.25)
    assert across > 0.7
    assert down > 2, "the folds beside the mouth come down as the smile goes"
    assert shifts(0.25, 0.55)[0] > 0.35, "beside the nose, too"
    nose = 128 - move.x0
    assert np.abs(move.map_x[: 152 - move.y0, nose] - 128).max() < 0.3, "the nose stays"


@pytest.mark.parametrize("mouth", ROUNDED)
def test_rounded_lips_show_no_more_red_than_lips_at_rest(mouth: MouthState) -> None:
    rest = pose()
    move = field(rest, mouth)

    def between(first: int, second: int) -> float:
        """Area of what comes from between two of the resting curves."""
        columns = np.flatnonzero(np.abs(move.u) < 1)
        area = 0.0
        for column in columns:
            rows, begin = (move.upper_y, 0) if second == 1 else (move.lower_y, move.first_lower)
            x = move.map_x[begin : begin + len(rows), column]
            low, high = (np.interp(x, rest.curves[k, :, 0], rest.curves[k, :, 1]) for k in (first, second))
            area += float(((rows[:, column] >= low) & (rows[:, column] <= high)).sum())
        return area

    x = rest.curves[0, :, 0]
    red = float(np.trapezoid(rest.curves[3, :, 1] - rest.curves[0, :, 1], x))
    assert between(0, 1) + between(2, 3) < 1.3 * red


@pytest.mark.parametrize("mouth", [*ROUNDED, MouthState(0.7, weight=1.0)])
def test_a_moustache_stays_where_it_is(mouth: MouthState) -> None:
    rest = pose()
    bare, hairy = (field(rest, mouth, hair=hair) for hair in (0.0, 1.0))

    def moved(move: Field, above: float) -> float:
        """The furthest that anything this far above the lip goes, crop pixels."""
        columns = np.arange(96, 161) - move.x0
        lip = np.interp(columns + move.x0, rest.curves[0, :, 0], rest.curves[0, :, 1])
        rows = np.rint(lip - above).astype(int)
        dx = move.map_x[rows - move.y0, columns] - columns - move.x0
        dy = move.upper_y[rows - move.y0, columns] - rows
        return float(np.hypot(dx, dy).max())

    for above in (4, 8, 14):
        assert moved(hairy, above) < min(2.0, moved(bare, above))
    for column in (77, 83, 173, 179):  # its ends, beside the mouth
        row = 176
        dx = hairy.map_x[row - hairy.y0, column - hairy.x0] - column
        dy = hairy.upper_y[row - hairy.y0, column - hairy.x0] - row
        assert np.hypot(dx, dy) < 2.5
    middle = int(np.abs(hairy.u).argmin())
    gap = hairy.lower_edge[middle] - hairy.upper_edge[middle]
    assert gap == pytest.approx(mouth.open * 38, rel=0.1), "the mouth below it opens as any"
