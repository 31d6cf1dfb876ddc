"""What is refused before anything is built of it: BUSY when a retry can help, TOO_LARGE when none can."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.control.admission import Admission
from broker.control.microphone import MicrophoneHandlers
from broker.control.requests import Audio, ProcessSegment
from broker.control.turns import TurnHandlers
from broker.errors import ControlError
from broker.sessions.session import Session
from tests.support.floor import Floor


class Sessions:
    """The one session there is, and what stands in its way."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.count = 1
        self.busy_ms: int | None = None

    def open(self, sid: str) -> Session:
        return self._session

    def speech_excess(self, session: Session) -> int:
        return 0

    def audio_excess(self, session: Session, more: int) -> int:
        return 0

    def holds_others_up(self, session: Session) -> bool:
        return False

    def busy_for(self, session: Session) -> int | None:
        return self.busy_ms


class Client:
    """Asks the handlers of a session's input."""

    def __init__(self, floor: Floor) -> None:
        self.now = floor.now
        self.limits = floor.config.limits
        self.sessions = Sessions(floor.session())
        sessions = cast(Any, self.sessions)
        admission = Admission(floor.config, cast(Any, None), sessions)
        self._turns = TurnHandlers(floor, admission, sessions)
        self._microphone = MicrophoneHandlers(admission, sessions)

    def ask(self, args: Audio | ProcessSegment, request: Any = None) -> None:
        request = request or SimpleNamespace(reply=lambda **result: None)
        if isinstance(args, Audio):
            self._microphone.audio(request, args)
        else:
            self._turns.process_segment(request, args)

    def refusal(self, args: Audio | ProcessSegment) -> ControlError:
        with pytest.raises(ControlError) as error:
            self.ask(args)
        return error.value


@pytest.fixture
def client(floor: Floor) -> Client:
    return Client(floor)


def test_microphone_audio_that_never_fits_is_too_large(client: Client) -> None:
    limit = 62 * 16_000 * 2
    error = client.refusal(Audio(session_id="s", pcm=bytes(limit + 2)))
    assert error.code == "TOO_LARGE"
    assert error.retry_after_ms is None
    assert str(limit) in error.message
    client.ask(Audio(session_id="s", pcm=bytes(limit)))
    assert client.refusal(Audio(session_id="s", pcm=bytes(2))).code == "BUSY"


def test_a_segment_that_never_fits_is_too_large(client: Client) -> None:
    limit = client.limits.audio_bytes_waiting
    args = ProcessSegment(session_id="s", audio=bytes(limit + 2), format="s16le", sample_rate=16_000)
    assert client.refusal(args).code == "TOO_LARGE"


def test_a_turn_that_could_not_be_served_is_busy_until_it_can(client: Client, floor: Floor) -> None:
    client.sessions.busy_ms = 1_234
    args = ProcessSegment(session_id="s", audio=bytes(64_000), format="s16le", sample_rate=16_000)
    error = client.refusal(args)
    assert (error.code, error.retry_after_ms) == ("BUSY", 1_234)
    client.sessions.busy_ms = None
    client.ask(args)
    client.sessions.busy_ms = 1_234
    client.ask(args)  # more of a turn that is accepted


class Call:
    """A ``process_segment`` of silence, and when it was answered."""

    def __init__(self, client: Client, seconds: float, *, wait: bool = False, last: bool = False) -> None:
        self._now = client.now
        self.answered = False
        self.at = 0
        self.result: dict[str, Any] = {}
        sound = bytes(2 * int(seconds * 48_000))
        args = ProcessSegment(
            session_id="s", audio=sound, format="s16le", sample_rate=48_000, wait=wait, last=last
        )
        client.ask(args, self)

    def reply(self, **result: Any) -> None:
        assert not self.answered
        self.answered, self.at, self.result = True, self._now(), result


def test_a_turn_stays_open_for_as_long_as_a_call_waits_for_its_reply(client: Client, floor: Floor) -> None:
    """Of live video the reply comes when it is nearly shown: seconds after the call."""
    begun = floor.time
    first = Call(client, 6.1, wait=True)
    while not first.answered:
        assert floor.time < begun + 10_000_000
        floor.run(floor.time + 10_000)
    assert first.at > begun + 3_000_000
    assert first.result["carried_ms"] == 6100 - 18 * 320
    floor.run(first.at + 1_900_000)
    assert not floor.events("turn.ended")
    second = Call(client, 1.0, last=True)
    floor.run(floor.time + 10_000_000)
    assert second.result["turn"] == first.result["turn"] == 1
    assert sum(h["dur"] for _, h in floor.media) == 23 * 320_000, "padded once, at the end"
    assert len(floor.events("turn.ended")) == 1


@pytest.mark.parametrize("wait", [False, True])
def test_a_turn_ends_two_seconds_after_the_last_reply(client: Client, floor: Floor, wait: bool) -> None:
    calls = [Call(client, 0.5, wait=wait)]
    floor.run(floor.time + 1_900_000)
    calls.append(Call(client, 0.0, wait=wait))
    floor.run(floor.time + 500_000)
    assert all(call.answered for call in calls)
    floor.run(calls[1].at + 1_900_000)
    assert not floor.events("turn.ended")
    floor.run(floor.time + 1_000_000)
    assert len(floor.events("turn.ended")) == 1
    assert Call(client, 0.5).result["turn"] == 2
