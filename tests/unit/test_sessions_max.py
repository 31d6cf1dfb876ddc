"""Turns of quality ``max``: whole passages, no stand-in; over scripted stages and a clock of the test's own."""

from __future__ import annotations

import struct

import pytest

from tests.support.floor import (
    QUANTUM,
    Floor,
    contiguous,
)

PASSAGE_BYTES, MARGIN_BYTES = 2 * 30 * 48_000, 2 * 48


def test_quality_max_hears_whole_passages_before_it_shows_them(floor: Floor) -> None:
    session = floor.session(mode="offline", quality="max")
    floor.speech_us = 7_000_000
    floor.delay_us["tts"] = 1_000_000
    session.new_turn("say", floor.time, "One. Two. Three. Four. Five. Six. Seven. Eight. Nine.")
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 197 * QUANTUM
    assert [e["event"] for e in floor.events()][-1] == "turn.ended"
    sound = struct.pack("<h", 1000) * (63 * 48_000)
    silence = bytes(MARGIN_BYTES)
    whole = silence + sound + silence
    for item, (_, *passages) in floor.lipsync:
        first = -item.speech_from_us * 48 // 1000
        last = min(first + item.frames * 1920 + 3840, 63 * 48_000) - 1
        assert [item.passage, item.passage + len(passages) - 1] == [
            max(0, first - 3840) // 1_440_000, last // 1_440_000
        ]  # fmt: skip
        for k, pcm in enumerate(passages):
            at = (item.passage + k) * PASSAGE_BYTES
            assert pcm == whole[at : at + PASSAGE_BYTES + 2 * MARGIN_BYTES]
    assert {len(buffers) for _, buffers in floor.lipsync} == {2, 3}


def test_quality_max_takes_no_stand_in(floor: Floor) -> None:
    session = floor.session(mode="offline", quality="max")
    floor.worker("fallback")
    floor.delay_us["fallback"] = 40_000
    floor.delay_us["lipsync"] = None
    floor.ledger.down("lipsync.0", 1, commanded=False)
    session.new_turn("say", floor.time, "Hello.")
    floor.run(60_000_000)
    assert not floor.media, "it waits for the chosen engine to come back"
    (entry,) = floor.ledger.give_up("lipsync")[:1]
    entry.job.failed("FAILED", "no lipsync process is left")
    assert [e["data"]["code"] for e in floor.events("turn.failed")] == ["FAILED"]
    assert "stand-in" in floor.events("turn.failed")[0]["data"]["message"]
    floor.run(90_000_000)
    assert not floor.media
    assert session.idle


@pytest.mark.slow
def test_a_long_recording_of_quality_max_keeps_two_passages(floor: Floor) -> None:
    session = floor.session(mode="offline", quality="max")
    floor.speech_us = 20_000_000
    turn = session.new_turn("say", floor.time, " ".join(f"Number {k}." for k in range(15)))
    most = 0
    while session.current or session.waiting:
        assert floor.time < 600_000_000
        floor.run(floor.time + 100_000)
        most = max(most, len(turn._track.window(0, turn._track.end).lstrip(bytes(1))))
    assert sum(h["dur"] for _, h in floor.media) == 938 * QUANTUM
    # Speech is kept by whole pieces, of 20 s here: the oldest one may be needed for its end alone.
    assert most <= 2 * (30 + 40 + 3 * 20 + 20) * 48_000, "what is known ahead, and the passages in use"
