"""What is refused before anything is built of it: BUSY when a retry can help, TOO_LARGE when none can."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.control.operations import Operations
from broker.control.requests import Audio, ProcessSegment
from broker.errors import ControlError
from tests.unit.test_sessions import Floor


@pytest.fixture
def floor() -> Floor:
    return Floor()


@pytest.fixture
def operations(floor: Floor) -> Operations:
    session = floor.watch(floor.session())
    broker: Any = SimpleNamespace(
        config=floor.config,
        now=floor.now,
        touch=floor.touch,
        timers=floor.timers,
        sessions=SimpleNamespace(find=lambda sid: session, busy_for=lambda session: None),
        hearing=SimpleNamespace(assign=lambda ears: None),
    )
    return Operations(broker)


def asked(operations: Operations, args: Audio | ProcessSegment) -> None:
    request = cast(Any, SimpleNamespace(reply=lambda **result: None))
    if isinstance(args, Audio):
        operations.audio(request, args)
    else:
        operations.process_segment(request, args)


def refusal(operations: Operations, args: Audio | ProcessSegment) -> ControlError:
    with pytest.raises(ControlError) as error:
        asked(operations, args)
    return error.value


def test_microphone_audio_that_never_fits_is_too_large(operations: Operations) -> None:
    limit = 62 * 16_000 * 2
    error = refusal(operations, Audio(session_id="s", pcm=bytes(limit + 2)))
    assert error.code == "TOO_LARGE"
    assert error.retry_after_ms is None
    assert str(limit) in error.message
    asked(operations, Audio(session_id="s", pcm=bytes(limit)))
    assert refusal(operations, Audio(session_id="s", pcm=bytes(2))).code == "BUSY"


def test_a_segment_that_never_fits_is_too_large(operations: Operations) -> None:
    limit = operations._b.config.limits.audio_bytes_waiting
    args = ProcessSegment(session_id="s", audio=bytes(limit + 2), format="s16le", sample_rate=16_000)
    assert refusal(operations, args).code == "TOO_LARGE"


def test_a_turn_that_could_not_be_served_is_busy_until_it_can(operations: Operations, floor: Floor) -> None:
    sessions: Any = operations._b.sessions
    sessions.busy_for = lambda session: 1_234
    args = ProcessSegment(session_id="s", audio=bytes(64_000), format="s16le", sample_rate=16_000)
    error = refusal(operations, args)
    assert (error.code, error.retry_after_ms) == ("BUSY", 1_234)
    sessions.busy_for = lambda session: None
    asked(operations, args)
    sessions.busy_for = lambda session: 1_234
    asked(operations, args)  # more of a turn that is accepted


class Call:
    """A ``process_segment`` of silence, and when it was answered."""

    def __init__(self, operations: Operations, seconds: float, *, wait: bool = False, last: bool = False) -> None:
        self._now = operations._b.now
        self.answered = False
        self.at = 0
        self.result: dict[str, Any] = {}
        sound = bytes(2 * int(seconds * 48_000))
        args = ProcessSegment(
            session_id="s", audio=sound, format="s16le", sample_rate=48_000, wait=wait, last=last
        )
        operations.process_segment(cast(Any, self), args)

    def reply(self, **result: Any) -> None:
        assert not self.answered
        self.answered, self.at, self.result = True, self._now(), result


def test_a_turn_stays_open_for_as_long_as_a_call_waits_for_its_reply(operations: Operations, floor: Floor) -> None:
    """Of live video the reply comes when it is nearly shown: seconds after the call."""
    begun = floor.time
    first = Call(operations, 6.1, wait=True)
    while not first.answered:
        assert floor.time < begun + 10_000_000
        floor.run(floor.time + 10_000)
    assert first.at > begun + 3_000_000
    assert first.result["carried_ms"] == 6100 - 18 * 320
    floor.run(first.at + 1_900_000)
    assert not floor.events("turn.ended")
    second = Call(operations, 1.0, last=True)
    floor.run(floor.time + 10_000_000)
    assert second.result["turn"] == first.result["turn"] == 1
    assert sum(h["dur"] for _, h in floor.media) == 23 * 320_000, "padded once, at the end"
    assert len(floor.events("turn.ended")) == 1


@pytest.mark.parametrize("wait", [False, True])
def test_a_turn_ends_two_seconds_after_the_last_reply(operations: Operations, floor: Floor, wait: bool) -> None:
    calls = [Call(operations, 0.5, wait=wait)]
    floor.run(floor.time + 1_900_000)
    calls.append(Call(operations, 0.0, wait=wait))
    floor.run(floor.time + 500_000)
    assert all(call.answered for call in calls)
    floor.run(calls[1].at + 1_900_000)
    assert not floor.events("turn.ended")
    floor.run(floor.time + 1_000_000)
    assert len(floor.events("turn.ended")) == 1
    assert Call(operations, 0.5).result["turn"] == 2
