"""Holding a microphone to a session: sound goes in as it is spoken, and what is answered comes out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from clients.cli.common import CommandError
from clients.cli.microphone import SAMPLE_BYTES, Pace, piece_bytes
from clients.cli.session import Session
from clients.cli.show import TERMINAL_EVENTS, Transcript, Video
from clients.follower import Published

SETTLE_S = 1.5
"""Silence after the sound, in which a voice that has begun is noticed and one that has ended is known to have."""
HEARD_S = 60.0
"""For the daemon to hear what it has been sent: a process that hears is loaded, or started again, in less."""
QUIET_TURN_S = 300.0
"""A turn of which nothing comes for this long is a fault."""


class Listening:
    """One conversation.

    Args:
        sample_rate: of the sound, which is s16le mono.
        videos: take the media of the answers.
    """

    def __init__(self, session: Session, sample_rate: int, transcript: Transcript, videos: list[Video]) -> None:
        self.ended: dict[str, Any] | None = None
        """The event with which the last turn ended."""
        self.answered = False
        """Whether a turn ended as it should."""
        self._session = session
        self._rate = sample_rate
        self._transcript = transcript
        self._videos = videos
        self._open: set[int] = set()
        self._sent = self._heard = 0
        self._moved_at = time.monotonic()

    def hold(self, pieces: Iterator[bytes]) -> None:
        """Send the sound, then silence until all of it has been heard and answered.

        Raises:
            CommandError: the daemon does not hear, or a turn stands still.
        """
        pace = Pace()
        for piece in pieces:
            self._step(piece, pace)
        until = self._sent + int(SETTLE_S * self._rate)
        silence = bytes(piece_bytes(self._rate))
        self._moved_at = time.monotonic()
        while True:
            if self._heard >= until and not self._open:
                for message in self._session.follower.rest():  # events may come later than replies
                    self._take(message)
                if not self._open:
                    return
            self._step(silence, pace)
            limit_s = QUIET_TURN_S if self._open else HEARD_S
            if time.monotonic() - self._moved_at > limit_s:
                what = "answered" if self._open else "heard to its end"
                raise CommandError(
                    f"it was not {what} within {limit_s:g} s; `musecast probe status` shows what the daemon does"
                )

    def _step(self, piece: bytes, pace: Pace) -> None:
        if piece:
            reply = self._session.request("audio", pcm=piece, sample_rate=self._rate)
            self._sent += len(piece) // SAMPLE_BYTES
            heard = self._sent - reply["unheard_ms"] * self._rate // 1000
            if heard > self._heard:
                self._heard = heard
                if not self._open:
                    self._moved_at = time.monotonic()
        pace.sent()
        while (message := self._session.follower.receive(pace.due_s())) is not None:
            self._take(message)

    def _take(self, message: Published) -> None:
        self._moved_at = time.monotonic()
        header = message.header
        if "kind" in header:
            for video in self._videos:
                video.add(header, message.payload)
            return
        self._transcript.event(header)
        if header["event"] == "user.speech.started":
            self._open.add(header["turn"])
        elif header["event"] in TERMINAL_EVENTS:
            self._open.discard(header["turn"])
            self.ended = header
            self.answered |= header["event"] == "turn.ended"
        elif header["event"] == "session.ended":
            raise CommandError(f"the session ended: {self._transcript.reason(header['data'])}")
