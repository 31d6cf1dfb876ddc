"""A session's turns over scripted stages and a clock of the test's own: order, cuts, what stays behind."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from broker.journal.state import State
from tests.support.floor import (
    QUANTUM,
    S16_48K,
    Floor,
    contiguous,
)


def test_a_turn_is_published_whole_in_order_and_ends_once(floor: Floor) -> None:
    session = floor.session()
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(10_000_000)
    assert contiguous(floor.media)
    assert [h["turn"] for _, h in floor.media] == [1] * len(floor.media)
    assert [h["last"] for _, h in floor.media] == [False] * (len(floor.media) - 1) + [True]
    assert sum(h["dur"] for _, h in floor.media) == 7 * QUANTUM
    assert [e["event"] for e in floor.events()] == [
        "turn.started", "reply.delta", "sentence", "speech.started", "speech.ended", "turn.ended"
    ]  # fmt: skip
    assert floor.media[0][0] == 1_080_000
    assert {h["degraded"] for _, h in floor.media} == {None}
    assert session.output.timeline.late == 0


def test_turns_follow_each_other_without_a_gap_in_media_time(floor: Floor) -> None:
    session = floor.session()
    for text in ("One.", "Two.", "Three."):
        session.new_turn("say", floor.time, text)
    floor.run(20_000_000)
    assert contiguous(floor.media)
    assert [e["turn"] for e in floor.events("turn.ended")] == [1, 2, 3]
    assert session.output.timeline.late == 0


def test_the_next_sentences_are_spoken_while_the_first_one_plays(floor: Floor) -> None:
    floor.speech_us = 4_000_000
    floor.session().new_turn("say", floor.time, "One is said. Two is said. Three is said.")
    floor.run(2_500_000)
    assert floor.media[0][0] + floor.speech_us > floor.time
    assert [name for name in floor.done if "/tts/" in name] == [f"s/1.1/tts/{number}" for number in range(3)]


def test_interrupt_cuts_at_the_formula_ends_all_turns_and_keeps_what_was_heard(floor: Floor) -> None:
    session = floor.session()
    floor.speech_us = 5_000_000
    session.new_turn("say", floor.time, "Hello there you two.")
    session.new_turn("say", floor.time, "Never said.")
    floor.run(1_700_000)
    clock = session.output.timeline.clock(floor.time)
    turn, flush_from = session.interrupt("client")
    assert (turn, flush_from) == (1, -(-(clock + 40_000) // QUANTUM) * QUANTUM)
    floor.run(5_000_000)
    assert [e["turn"] for e in floor.events("turn.interrupted")] == [1, 2]
    assert session.history.lines() == [("assistant", "Hello there")]
    assert not floor.events("turn.ended")
    session.new_turn("say", floor.time, "Again.")
    floor.run(9_000_000)
    again = [h for _, h in floor.media if h["gen"] == 1]
    assert again[0]["pts"] == flush_from
    assert session.interrupt("client") == (None, session.output.timeline.end)
    assert session.output.timeline.gen == 1


def test_offline_sessions_do_not_wait_for_a_clock(floor: Floor) -> None:
    session = floor.session(mode="offline")
    floor.speech_us = 20_000_000
    session.new_turn("say", floor.time, "Long.")
    floor.run(9_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 63 * QUANTUM
    assert floor.media[-1][0] < 4_000_000


@pytest.mark.parametrize("until_us", [100_000_000, 900_000], ids=["ended", "cut"])
def test_what_is_over_holds_no_speech_and_no_media(floor: Floor, until_us: int) -> None:
    """Whether or not the garbage collector has come by: a turn, its voice and its jobs hold each other."""

    def live() -> None:
        session = floor.session()
        session.new_turn("say", floor.time, "Hello there you two.")
        session.new_turn("chat", floor.time, "And you?")
        if until_us < 1_000_000:  # a client's own audio that waits is cut, too
            session.feed(S16_48K, memoryview(bytes(1_000_000)), last=False)
        floor.run(floor.time + until_us)
        session.interrupt("ended")
        session.close("ended")
        floor.publisher.media(session.channel, 99, bytes(1_000_000), State())
        floor.publisher.close(session.channel)
        floor.done.clear()
        floor.lipsync.clear()
        floor.encode.clear()
        floor.wire.sent.clear()
        floor.live.clear()
        floor.run(floor.time + 60_000_000)

    live()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            live()
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert most - before > 1_000_000, "a session's speech and media while it lives"
    assert (after - before) / 5 < 60_000
