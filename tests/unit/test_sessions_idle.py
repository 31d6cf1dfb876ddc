"""Idle video around and between turns, over scripted stages and a clock of the test's own."""

from __future__ import annotations

from pathlib import Path

from broker.ipc.messages import (
    TemplateRef,
)
from broker.templates.idle_cache import IdleCache
from tests.support.floor import (
    QUANTUM,
    Floor,
    contiguous,
)


def test_idle_video_fills_every_wait_and_speech_is_never_late(floor: Floor) -> None:
    session = floor.session(idle=True)
    floor.run(3_000_000)
    assert contiguous(floor.media)
    assert {h["turn"] for _, h in floor.media} == {0}
    assert all(at >= 1_000_000 + h["pts"] - 640_000 for at, h in floor.media)
    session.new_turn("say", floor.time, "Hello there.")
    floor.run(9_000_000)
    assert contiguous(floor.media)
    assert [h["turn"] for _, h in floor.media].count(1) >= 4
    assert floor.media[-1][1]["turn"] == 0
    assert session.output.timeline.late == 0
    assert session.output.timeline.clock(floor.time) == floor.time - 1_000_000


def test_speech_that_misses_its_place_is_made_anew_for_a_later_one(floor: Floor) -> None:
    session = floor.session(idle=True)
    floor.delay_us["lipsync"] = 900_000
    floor.run(2_000_000)
    session.new_turn("say", floor.time, "Hello there.")
    floor.run(12_000_000)
    spoken = [h for _, h in floor.media if h["turn"] == 1]
    assert contiguous(floor.media)
    assert sum(h["dur"] for h in spoken) == 7 * QUANTUM
    assert session.output.timeline.late == 0
    (sentence,) = floor.events("sentence")
    assert sentence["data"]["pts"] == spoken[0]["pts"]
    assert len(floor.events("turn.ended")) == 1


def test_speech_that_misses_every_place_is_waited_for_at_the_last_one(floor: Floor) -> None:
    """Made anew for places that are never late enough, it would not be seen before the machine is idle again."""
    session = floor.session(idle=True)
    floor.run(2_000_000)
    floor.delay_us["lipsync"] = 3_500_000
    session.new_turn("say", floor.time, "Hello there.")
    asked = floor.time
    while not (spoken := [(at, h) for at, h in floor.media if h["turn"] == 1]):
        assert floor.time < asked + 15_000_000
        floor.run(floor.time + 100_000)
    at, first = spoken[0]
    assert contiguous(floor.media)
    assert first["degraded"] is None
    assert at - asked < 8_000_000
    floor.delay_us["lipsync"] = 0
    floor.run(floor.time + 8_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media if h["turn"] == 1) == 7 * QUANTUM
    assert len(floor.events("turn.ended")) == 1


def test_a_templates_loop_is_there_before_its_first_session(floor: Floor, tmp_path: Path) -> None:
    floor.idle_cache = idle_cache = IdleCache(floor)
    template = TemplateRef("t", str(tmp_path), "h")
    idle_cache.prepare(template, 248, b"init")
    floor.run(floor.time + 5_000_000)
    assert not floor.done, "nothing before the daemon is ready"
    idle_cache.open()
    while len(floor.done) < 31:
        assert floor.ledger.backlog()["encode"]["items"] == 1, "one at a time, so that live work never waits long"
        floor.run(floor.time + 10_000)
    made = [*tmp_path.glob("idle/*/*.m4s")]
    assert len(made) == 31
    made[7].unlink()
    idle_cache.prepare(template, 248, b"init")
    floor.run(floor.time + 5_000_000)
    assert len(floor.done) == 32, "only what is missing"
    said = floor.time
    floor.session(idle=True, path=str(tmp_path))
    floor.run(floor.time + 1_000_000)
    assert floor.media[0][0] == said
    assert len(floor.done) == 32


def test_a_slow_language_model_pauses_the_speech_not_the_video(floor: Floor) -> None:
    session = floor.session(idle=True)
    floor.delay_us["llm"] = 3_000_000
    session.new_turn("chat", floor.time, "Well?")
    floor.run(12_000_000)
    assert contiguous(floor.media)
    assert floor.media[0][1]["turn"] == 0
    assert session.output.timeline.late == 0
    assert session.history.lines() == [("user", "Well?"), ("assistant", "One. Two.")]


def test_without_a_clock_there_is_no_idle_video(floor: Floor) -> None:
    session = floor.session(mode="offline", idle=True)
    assert not session.settings.loops
    floor.run(9_000_000)
    assert not floor.media
