"""The user's voice: ``audio``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.control.admission import Admission
from broker.control.requests import Audio
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.workers.asr_stream import AsrStream
from broker.workers.asr_streams import AsrStreams


class MicrophoneHandlers:
    """What the user says to a session.

    Args:
        now: monotonic microseconds.
    """

    def __init__(
        self, now: Callable[[], int], admission: Admission, sessions: Sessions, streams: AsrStreams
    ) -> None:
        self._now = now
        self._admission = admission
        self._sessions = sessions
        self._streams = streams

    @property
    def operations(self) -> Operations:
        """By name."""
        return {"audio": (Audio, self.audio)}

    def audio(self, request: Request, args: Audio) -> None:
        """Hear the user."""
        if len(args.pcm) % 2:
            odd = f"s16 has two bytes a sample; {len(args.pcm)} bytes are odd: send whole samples"
            raise ControlError(ErrorCode.INVALID_ARGUMENT, odd)
        session = self._sessions.open(args.session_id)
        stream = self._stream(session, args.sample_rate)
        self._admission.microphone(stream, len(args.pcm))
        stream.push(args.pcm, end=args.end, now=self._now())
        result: dict[str, Any] = {
            "vad": "speech" if stream.speaking else "silence",
            "unheard_ms": stream.unheard_ms,
        }
        if stream.turn is not None:
            result["turn"] = stream.turn.number
        request.reply(**result)

    def _stream(self, session: Session, sample_rate: int) -> AsrStream:
        """The session's stream at this rate; what was said at another one is still heard to its end."""
        if session.ears is None:
            session.ears = AsrStream(session, sample_rate)
        session.old_ears = [old for old in session.old_ears if self._still_heard(old)]
        if sample_rate != session.ears.sample_rate:
            self._admission.another_rate(session)
            session.ears.hang_up(self._now())
            session.old_ears.append(session.ears)
            session.ears = AsrStream(session, sample_rate)
        if session.ears.instance is None:
            self._streams.assign(session.ears)
        return session.ears

    def _still_heard(self, stream: AsrStream) -> bool:
        if stream.pending:
            return True
        stream.close()
        self._streams.forget(stream.name)
        return False
