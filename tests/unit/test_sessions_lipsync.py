"""Turns whose lip-sync is late, slow, dead or refused, over scripted stages and a clock of the test's own."""

from __future__ import annotations

import msgspec
import pytest

from broker.sessions.registry import Sessions
from configs.schema import Timeline
from tests.support.floor import (
    QUANTUM,
    S16_48K,
    Floor,
    contiguous,
    first_of_turn,
    pauses,
    within_sentences,
)


def test_without_lipsync_the_voice_goes_on_with_the_templates_own_pixels(floor: Floor) -> None:
    session = floor.session()
    floor.delay_us["lipsync"] = None
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(15_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {"audio_only"}
    assert sum(h["dur"] for _, h in floor.media) == 7 * QUANTUM
    assert len(floor.events("degraded")) == 1
    assert floor.media[0][0] == pytest.approx(1_010_000 + 2_500_000 + 30_000, abs=5_000)
    assert session.output.timeline.late == 0, "a segment without crops is encoded before its time, not after it"
    assert session.totals()["degraded_us"] == 7 * QUANTUM


@pytest.mark.parametrize("idle", [False, True])
def test_lipsync_that_is_frozen_for_a_moment_costs_a_moment_and_no_lips(floor: Floor, idle: bool) -> None:
    session = floor.session(idle=idle)
    floor.run(3_000_000)
    said = floor.time
    floor.frozen_until["lipsync"] = said + 800_000
    floor.frame_us["lipsync"] = 4_000
    floor.speech_us = 6_000_000
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(30_000_000)
    spoken = [(at, h) for at, h in floor.media if h["turn"]]
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in spoken} == {None}
    assert spoken[0][0] < said + 1_200_000 + idle * 640_000
    assert within_sentences(floor) == 0
    assert len(floor.events("turn.ended")) == 1


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("text", ["One sentence.", "One. Two. Three. Four."])
def test_lipsync_slower_than_real_time_pauses_between_sentences(floor: Floor, idle: bool, text: str) -> None:
    session = floor.session(idle=idle)
    floor.frame_us["lipsync"] = 48_000
    floor.speech_us = 3_000_000
    for _ in range(2):
        session.new_turn("say", floor.time, text)
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {None}
    assert [e["turn"] for e in floor.events("turn.ended")] == [1, 2]
    # Between idle video a sentence is given its place before anything is measured: once in a daemon's life.
    assert within_sentences(floor) <= (500_000 if idle else 200_000)
    assert within_sentences(floor, turn=2) <= 200_000
    late = [h for at, h in floor.media if h["turn"] and h["pts"] in pauses(floor)]
    assert session.output.timeline.late == len([h for h in late if not first_of_turn(floor, h)])


def test_a_hopelessly_slow_lipsync_is_waited_for_once(floor: Floor) -> None:
    session = floor.session()
    floor.frame_us["lipsync"] = 2_000_000
    floor.speech_us = 6_000_000
    session.new_turn("say", floor.time, "Hello.")
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {"audio_only"}
    assert floor.media[0][0] < 5_000_000
    assert floor.media[-1][0] < 12_000_000


def test_lipsync_that_dies_is_waited_for_until_it_is_back(floor: Floor) -> None:
    session = floor.session()
    floor.speech_us = 6_000_000
    session.new_turn("say", floor.time, "Hello.")
    floor.run(1_200_000)
    floor.delay_us["lipsync"] = None
    floor.run(2_000_000)
    floor.ledger.down("lipsync.0", 1, commanded=False, now=floor.time)
    session.touch()
    floor.run(4_000_000)
    floor.delay_us["lipsync"] = 40_000
    floor.worker("lipsync")
    session.touch()
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {None}
    assert len(floor.events("turn.ended")) == 1


def test_the_fallback_engine_takes_over_when_no_lipsync_process_is_ready_and_hands_back(floor: Floor) -> None:
    session = floor.session()
    floor.worker("fallback")
    floor.delay_us["fallback"] = 40_000
    floor.speech_us = 6_000_000
    floor.delay_us["lipsync"] = None
    session.new_turn("say", floor.time, "Hello.")
    floor.run(1_500_000)
    assert not floor.media
    floor.ledger.down("lipsync.0", 1, commanded=False)
    session.touch()
    floor.run(3_000_000)
    assert {h["degraded"] for _, h in floor.media} == {"fallback"}
    floor.worker("lipsync")
    floor.delay_us["lipsync"] = 40_000
    floor.run(20_000_000)
    assert contiguous(floor.media)
    assert floor.media[-1][1]["degraded"] is None
    assert [e["event"] for e in floor.events() if e["event"] in ("degraded", "recovered")] == [
        "degraded",
        "recovered",
    ]
    assert sum(h["dur"] for _, h in floor.media) == 19 * QUANTUM


def test_a_live_voice_is_shown_late_with_its_lips(floor: Floor) -> None:
    """It has no lead: each segment is late when it is asked for, and its lips have 0.4 s all the same."""
    session = floor.session()
    floor.delay_us["lipsync"] = 390_000
    for _ in range(20):
        call = session.feed(S16_48K, memoryview(bytes(2 * 12_000)), last=False)
        floor.run(floor.time + 250_000)
    session.await_next(call)
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 16 * QUANTUM
    assert {h["degraded"] for _, h in floor.media} == {None}


@pytest.mark.parametrize(
    ("mode", "skips", "wanted"), [("realtime", True, 2), ("realtime", False, 1), ("offline", True, 1)]
)
def test_skipping_by_configuration_is_for_live_sessions_and_engines_that_can(
    floor: Floor, mode: str, skips: bool, wanted: int
) -> None:
    floor.config = msgspec.structs.replace(floor.config, timeline=Timeline(skip_frames=2))
    floor.lipsync_skips = skips
    session = floor.session(mode=mode)
    session.new_turn("say", floor.time, "Short.")
    floor.run(9_000_000)
    assert {item.skip for item, _ in floor.lipsync} == {wanted}
    assert {h["degraded"] for _, h in floor.media} == {None}


def test_lipsync_that_barely_keeps_up_skips_frames_until_it_is_easy_again(floor: Floor) -> None:
    session = floor.session()
    floor.lipsync_skips = True
    floor.speech_us = 60_000_000
    floor.delay_us["lipsync"] = 2_500_000
    session.new_turn("say", floor.time, "Long.")
    floor.run(20_000_000)
    assert "skip" in {h["degraded"] for _, h in floor.media}
    floor.delay_us["lipsync"] = 40_000
    floor.run(90_000_000)
    assert contiguous(floor.media)
    assert floor.media[-1][1]["degraded"] is None
    assert len(floor.events("turn.ended")) == 1


def test_a_turn_that_lipsync_could_not_serve_is_refused_after_every_step_of_skipping(floor: Floor) -> None:
    registry = Sessions(floor, floor.asr_streams, floor.idle_cache)
    floor.lipsync_skips = True
    floor.frame_us["lipsync"] = 10_000
    speakers = [floor.session(sid=f"speaker{k}") for k in range(8)]
    newcomer, offline = floor.session(sid="newcomer"), floor.session(sid="offline", mode="offline")
    registry.live = {s.id: s for s in (*speakers, newcomer, offline)}
    floor.speech_us = 12_000_000
    assert registry.busy_for(newcomer) is None
    for speaker in speakers:
        speaker.new_turn("say", floor.time, "One.")
    floor.run(2_000_000)
    assert registry.busy_for(newcomer) is None, "every fourth frame comes before a refusal"
    while (wait_ms := registry.busy_for(newcomer)) is None:
        assert floor.time < 60_000_000
        floor.run(floor.time + 100_000)
    assert any(s.skip.exhausted for s in speakers)
    assert registry.busy_for(offline) is None
    assert registry.busy_for(speakers[0]) is None, "a turn behind its own session's is served when that is over"
    floor.run(floor.time + wait_ms * 1000)
    assert registry.busy_for(newcomer) is None, "the time that was told is the time that it takes"
    assert "audio_only" not in {h["degraded"] for _, h in floor.media}
