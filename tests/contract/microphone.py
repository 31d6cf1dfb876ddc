"""A recording that is sent as a microphone would: in real time, and then silence."""

from __future__ import annotations

import threading
import time
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.contract.client import Session
from tests.contract.daemon import ROOT

QUESTION = ROOT / "clients" / "cli" / "assets" / "question.wav"
PIECE_S = 0.1


def question(path: Path = QUESTION) -> tuple[NDArray[np.int16], int]:
    """Samples and sample rate of the bundled question."""
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2"), file.getframerate()


class Microphone:
    """Sends sound, then silence, 100 ms at a time against the clock, until told to stop."""

    def __init__(self, session: Session, sound: NDArray[np.int16], sample_rate: int) -> None:
        self._sid = session.sid
        self._control = session.control.another()
        self._rate = sample_rate
        self._sound = sound
        self._stop = threading.Event()
        self.replies: list[dict[str, object]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        size = int(self._rate * PIECE_S)
        begin = time.monotonic()
        for number in range(10_000):
            piece = self._sound[number * size : (number + 1) * size]
            piece = np.concatenate([piece, np.zeros(size - len(piece), np.int16)])
            if self._stop.wait(max(0.0, begin + number * PIECE_S - time.monotonic())):
                return
            audio = {"session_id": self._sid, "pcm": piece.tobytes(), "sample_rate": self._rate}
            self.replies.append(self._control.ok("audio", **audio))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10.0)
