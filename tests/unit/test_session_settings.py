"""What ``start_session`` and ``update_session`` set: when a session expires, where it is cut, who speaks next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.ipc.messages import TemplateRef
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.sessions.settings import SessionSettings
from tests.support.floor import QUANTUM, Floor

S = 1_000_000


@pytest.fixture
def floor() -> Floor:
    return Floor()


@pytest.fixture
def registry(floor: Floor) -> Sessions:
    registry = Sessions(floor, floor.asr_streams, floor.idle_cache)
    registry.live = floor.live
    return registry


def started(registry: Sessions, **settings: Any) -> Session:
    template = TemplateRef("t", "/nowhere", "h")
    return registry.start("s", b"init", "video/mp4", SessionSettings(template, **settings))


def test_a_session_expires_after_its_own_idle_time(floor: Floor, registry: Sessions) -> None:
    started(registry, idle_timeout_s=20)
    floor.run(floor.time + 15 * S)
    registry.find("s")
    floor.run(floor.time + 20 * S - 1)
    assert "s" in registry.live, "a request is a sign of life"
    floor.run(floor.time + 1)
    assert "s" not in registry.live
    assert [e["data"]["reason"] for e in floor.events("session.ended")] == ["expired"]


def test_an_idle_time_that_is_changed_is_in_force_at_once(floor: Floor, registry: Sessions) -> None:
    session = started(registry, idle_timeout_s=600)
    registry.update(session, replace(session.settings, idle_timeout_s=10))
    floor.run(floor.time + 10 * S - 1)
    assert "s" in registry.live
    registry.update(session, replace(session.settings, idle_timeout_s=30))
    floor.run(floor.time + 20 * S)
    assert "s" in registry.live
    floor.run(floor.time + 1)
    assert "s" not in registry.live


def test_a_session_ends_at_its_longest_duration_whatever_is_asked_of_it(floor: Floor, registry: Sessions) -> None:
    floor.speech_us = 60 * S
    session = started(registry, ends_at=floor.time + 30 * S)
    session.new_turn("say", floor.time, "On and on.")
    for _ in range(29):
        floor.run(floor.time + S)
        registry.find("s")
    assert "s" in registry.live
    floor.run(floor.time + S)
    assert "s" not in registry.live
    assert [e["data"]["reason"] for e in floor.events("turn.interrupted")] == ["expired"]
    assert [e["data"]["reason"] for e in floor.events("session.ended")] == ["expired"]


def test_a_session_that_drains_ends_at_its_longest_duration_too(floor: Floor, registry: Sessions) -> None:
    floor.speech_us = 60 * S
    session = started(registry, ends_at=floor.time + 30 * S)
    session.new_turn("say", floor.time, "On and on.")
    floor.run(floor.time + 5 * S)
    registry.end(session, "ended", drain=True)
    floor.run(floor.time + 25 * S)
    assert "s" not in registry.live


@pytest.mark.parametrize("margin_ms", [40, 250, 600])
def test_a_cut_lies_the_margin_ahead_of_the_clock(floor: Floor, registry: Sessions, margin_ms: int) -> None:
    floor.speech_us = 20 * S
    session = started(registry, cut_margin_ms=margin_ms)
    session.new_turn("say", floor.time, "On and on.")
    floor.run(floor.time + 5 * S + 10_000)
    clock, end = session.output.timeline.clock(floor.time), session.output.timeline.end
    assert end > clock + 600_000
    _, flush_from = session.interrupt("client")
    assert flush_from == min(end, -(-(clock + margin_ms * 1000) // QUANTUM) * QUANTUM)


def test_another_voice_speaks_from_the_next_turn_on(floor: Floor, registry: Sessions) -> None:
    session = started(registry, voice="one")
    voices = []
    outputs = floor._outputs

    def noted(item: Any) -> Any:
        if hasattr(item, "voice"):
            voices.append((item.turn, item.voice))
        return outputs(item)

    floor._outputs = noted  # type: ignore[method-assign]
    session.new_turn("say", floor.time, "One. Two.")
    registry.update(session, replace(session.settings, voice="two"))
    session.new_turn("say", floor.time, "Three.")
    floor.run(floor.time + 20 * S)
    assert set(voices) == {(1, "one"), (2, "two")}


def test_another_language_is_heard_from_the_next_utterance_on(floor: Floor, registry: Sessions) -> None:
    session = started(registry, language="en")
    asr = floor.asr_names
    floor.asr_streams.up("asr.0", 8)
    session.microphone.tune(16_000)
    session.microphone.push(bytes(640), end=False)
    assert len(asr) == 1
    registry.update(session, replace(session.settings, language="zh"))
    session.microphone.tune(16_000)
    session.microphone.push(bytes(640), end=False)
    assert len(asr) == 2
    registry.update(session, replace(session.settings, language="de"))
    session.microphone.tune(16_000)
    session.microphone.push(bytes(640), end=False)
    assert len(asr) == 2, "one change at a time is being heard"


@pytest.mark.parametrize(("played_us", "heard"), [(None, "a b c d e"), (900_000, "a b"), (0, "")])
def test_what_was_heard_is_told_by_the_viewers_play_head(
    floor: Floor, registry: Sessions, played_us: int | None, heard: str
) -> None:
    """A word every 400 ms, 300 ms long."""
    floor.speech_us = 20 * S
    session = started(registry)
    session.new_turn("say", floor.time, "a b c d e f g h i j k l.")
    floor.run(floor.time + 100_000)
    begun = floor.media[0][0]
    floor.run(begun + 2_200_000)
    if played_us is not None:
        session.output.played(played_us, floor.time)
    _, flush_from = session.interrupt("client")
    assert flush_from == 2_240_000
    (event,) = floor.events("turn.interrupted")
    assert event["data"] == {"flush_from": flush_from, "reason": "client", "spoken_text": heard}
    assert [line.content for line in session.history.lines()] == ([heard] if heard else [])


def test_settings_that_are_changed_outlive_the_broker(floor: Floor, registry: Sessions) -> None:
    session = started(registry, voice="one")
    registry.update(session, replace(session.settings, voice="two"))
    cold = session.channel.store._cold
    assert cold is not None
    assert SessionSettings.unpack(cold.settings) == session.settings
