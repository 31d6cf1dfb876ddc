"""A recording that is sent as a microphone would: in real time, and then silence."""

from __future__ import annotations

import itertools
import threading
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.support.client import Session
from tests.support.daemon import ROOT
from tests.support.limits import GONE_S, REPLY_S

QUESTION = ROOT / "clients" / "cli" / "assets" / "question.wav"
PIECE_S = 0.1


def question(path: Path = QUESTION) -> tuple[NDArray[np.int16], int]:
    """Samples and sample rate of the bundled question."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


class Microphone:
    """Sends sound, then silence, 100 ms at a time and never faster than it is spoken, until told to stop."""

    def __init__(self, session: Session, sound: NDArray[np.int16], sample_rate: int) -> None:
        self._sid = session.sid
        self._control = session.control.another()
        self._rate = sample_rate
        self._sound = sound
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self.replies: list[dict[str, object]] = []
        self.sent_at: list[float] = []
        """When each piece was on its way, monotonic seconds."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._speak()
        except BaseException as error:
            self._failed = error

    def _speak(self) -> None:
        size = int(self._rate * PIECE_S)
        for number in itertools.count():
            piece = self._sound[number * size : (number + 1) * size]
            piece = np.concatenate([piece, np.zeros(size - len(piece), np.int16)])
            audio: dict[str, Any] = {
                "session_id": self._sid,
                "pcm": piece.tobytes(),
                "sample_rate": self._rate,
                "echo_cancelled": True,  # a recording does not hear the avatar
            }
            self.sent_at.append(time.monotonic())
            self.replies.append(self._control.ok("audio", **audio))
            # A whole piece after the reply: what was held up on its way is not made up for in a burst.
            if self._stop.wait(PIECE_S):
                return

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(REPLY_S + GONE_S)
        assert not self._thread.is_alive(), "the microphone does not stop"
        if self._failed is not None:
            raise self._failed
