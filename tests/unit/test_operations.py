"""What is refused before anything is built of it: BUSY when a retry can help, TOO_LARGE when none can."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.operations import Operations
from broker.requests import Audio, ControlError, ProcessSegment
from tests.unit.test_sessions import Floor


@pytest.fixture
def operations() -> Operations:
    floor = Floor()
    session = floor.session()
    broker: Any = SimpleNamespace(
        config=floor.config,
        now=floor.now,
        touch=floor.touch,
        timers=floor.timers,
        sessions=SimpleNamespace(find=lambda sid: session),
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
