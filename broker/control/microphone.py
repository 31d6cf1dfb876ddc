"""The user's voice: ``audio``."""

from __future__ import annotations

from typing import Any

from broker.control.admission import Admission
from broker.control.requests import Audio
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.sessions.registry import Sessions


class MicrophoneHandlers:
    """What the user says to a session."""

    def __init__(self, admission: Admission, sessions: Sessions) -> None:
        self._admission = admission
        self._sessions = sessions

    @property
    def operations(self) -> Operations:
        """By name."""
        return {"audio": (Audio, self.audio)}

    def audio(self, request: Request, args: Audio) -> None:
        """Hear the user."""
        if len(args.pcm) % 2:
            odd = f"s16 has two bytes a sample; {len(args.pcm)} bytes are odd: send whole samples"
            raise ControlError(ErrorCode.INVALID_ARGUMENT, odd)
        microphone = self._sessions.open(args.session_id).microphone
        self._admission.sample_rate(microphone, args.sample_rate)
        microphone.tune(args.sample_rate)
        self._admission.microphone(microphone, len(args.pcm))
        microphone.push(args.pcm, end=args.end, echo_cancelled=args.echo_cancelled)
        result: dict[str, Any] = {
            "vad": "speech" if microphone.speaking else "silence",
            "unheard_ms": microphone.unheard_ms,
        }
        if microphone.turn is not None:
            result["turn"] = microphone.turn.number
        request.reply(**result)
