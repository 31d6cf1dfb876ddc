"""A session's numbers, its run-in audio and its degradation have one writer, and are right after a cut."""

from __future__ import annotations

import pytest

from broker.media.lead import Lead
from broker.sessions.output import RECENT_SAMPLES, Output
from broker.sessions.segment import Segment
from broker.stream.events import Recovered, TurnStarted
from broker.templates.idle_cache import IdleSegment
from tests.support.floor import PAYLOAD, QUANTUM, Floor

QUANTUM_BYTES = 2 * 15_360


@pytest.fixture
def output(floor: Floor) -> Output:
    channel = floor.publisher.open("s", b"init", "video/mp4")
    return Output(floor.publisher, channel, paced=True, lead=Lead(600_000, 600_000), cut_margin_us=40_000)


def segment(index: int, degraded: str | None = None) -> Segment:
    made = Segment(index, index * 15_360, 1, index * QUANTUM)
    made.payload, made.marks = PAYLOAD, (4, 8, 24)
    made.degraded, made.reason = degraded, "why"
    return made


def test_media_and_events_are_numbered_each_by_itself(floor: Floor, output: Output) -> None:
    output.event(TurnStarted("say"), 1)
    for k in range(3):
        assert output.publish(1, segment(k), bytes(QUANTUM_BYTES), floor.time) == k
    output.publish_idle(IdleSegment((4, 8, 24), PAYLOAD), floor.time)
    output.event(Recovered(), 1)
    assert [e["n"] for e in floor.events()] == [0, 1]
    assert [(h["seq"], h["pts"], h["turn"]) for _, h in floor.media] == [
        (0, 0, 1), (1, QUANTUM, 1), (2, 2 * QUANTUM, 1), (3, 3 * QUANTUM, 0)
    ]  # fmt: skip
    assert output.totals() == {
        "segments": 4, "frames": 32, "media_us": 4 * QUANTUM, "late": 0, "degraded_us": 0
    }  # fmt: skip


def test_a_cut_begins_a_generation_and_fades_the_run_in(floor: Floor, output: Output) -> None:
    loud = b"\x00\x10" * 15_360
    for k in range(3):
        output.publish(1, segment(k), loud, floor.time)
    flush_from = output.cut(floor.time + 330_000)
    assert flush_from == 2 * QUANTUM == output.timeline.end
    tail = output.tail(2 * 15_360 + 100)
    assert tail[:200] == bytes(200), "what was cut is not run in with"
    assert tail[200:210] == loud[:10]
    assert tail[-2:] == bytes(2)
    output.publish(2, segment(0), loud, floor.time + 330_000)
    assert [(h["gen"], h["seq"], h["pts"]) for _, h in floor.media][-1] == (1, 3, flush_from)


def test_run_in_audio_is_bounded(floor: Floor, output: Output) -> None:
    for k in range(100):
        output.publish(1, segment(k), bytes([k]) * QUANTUM_BYTES, floor.time)
    assert sum(map(len, output._recent)) < 2 * RECENT_SAMPLES + QUANTUM_BYTES
    assert output.tail(4096) == bytes([99]) * 8192


def test_degradation_is_told_when_it_changes(floor: Floor, output: Output) -> None:
    for k, degraded in enumerate([None, "fallback", "fallback", "audio_only", None]):
        output.publish(1, segment(k, degraded), bytes(QUANTUM_BYTES), floor.time)
    output.recover(1)
    assert [(e["event"], e["data"].get("level")) for e in floor.events()] == [
        ("degraded", "fallback"), ("degraded", "audio_only"), ("recovered", None)
    ]  # fmt: skip
    assert output.totals()["degraded_us"] == 3 * QUANTUM
    output.publish(2, segment(0, "skip"), bytes(QUANTUM_BYTES), floor.time)
    assert output.degraded
    output.recover(2)
    assert not output.degraded
    assert floor.events()[-1]["event"] == "recovered"
