"""A stream of microphone audio: kept until the asr stage needs it no more, sent again when an asr process dies.

Runs in the broker. Positions are samples at the client's rate since the stream's start. What an asr process had
heard when it died is sent again to its successor from ``keep`` on (bounded by ``limits.utterance_s``), and what
the successor repeats is not told twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSound,
    AsrSpeechConfirmed,
    AsrSpeechEnded,
    AsrSpeechStarted,
    FromStage,
    Message,
)
from broker.media.sounds import Sounds

SAMPLE_BYTES = 2
PIECE_S = 0.5
"""Audio sent at once: a flood from one client does not delay the voices of others."""
IN_FLIGHT_S = 4.0
"""Audio sent and not yet reported as heard."""
KEEP_SPARE_S = 2.0
"""Beyond the longest utterance: run-in before it, decision time after it."""

Send = Callable[[Message, list[bytes]], bool]


class Listener(Protocol):
    """Who is told what is heard; times are monotonic microseconds of when the client sent it."""

    def speech_started(self, stream: AsrStream, utterance: int, at: int) -> None:
        """An utterance begins."""
        ...

    def speech_confirmed(self, stream: AsrStream, utterance: int) -> None:
        """The voice is no cough and no listener's sound; told again by a successor that hears it again."""
        ...

    def speech_ended(self, stream: AsrStream, utterance: int, at: int, audio_ms: int) -> None:
        """Its voice has ended."""
        ...

    def partial(self, stream: AsrStream, message: AsrPartial) -> None:
        """What it seems to say so far."""
        ...

    def final(self, stream: AsrStream, message: AsrFinal) -> None:
        """What it says."""
        ...


class AsrStream:
    """One stream of microphone audio.

    Args:
        name: of the stream; no other of the daemon's life has it.
        language: what is spoken; empty when nobody said.
        broker: epoch of this broker.
        utterance_s: the longest utterance.
        now: tells monotonic microseconds.
        sounds: what viewers hear, which the microphone may hear as well.
    """

    def __init__(
        self,
        name: str,
        sample_rate: int,
        language: str,
        listener: Listener,
        *,
        broker: int,
        utterance_s: float,
        now: Callable[[], int],
        sounds: Sounds | None = None,
    ) -> None:
        self.name = name
        self.sample_rate = sample_rate
        self.capacity = int((utterance_s + KEEP_SPARE_S) * sample_rate) * SAMPLE_BYTES
        """Bytes that are ever kept at once."""
        self.instance: str | None = None
        """The asr process that hears it."""
        self.speaking = False
        self.echoes = True
        """The audio to come may have those sounds in it."""
        self.language = language
        self._listener = listener
        self._broker = broker
        self._now = now
        self._sounds = sounds or Sounds()
        self._sounds_sent = 0
        """Number of the first sound that the present asr process has not been told."""
        self._send: Send | None = None
        self._pcm = bytearray()
        self._base = 0
        self._end = 0
        self._sent = 0
        self._heard = 0
        self._ends: deque[int] = deque()
        self._ends_sent = 0
        """How many of them the present asr process has been told."""
        self._times: deque[tuple[int, int]] = deque()
        self._open: set[int] = set()
        """Utterances that have begun and have no words yet."""
        self._next_utterance = 0
        self._voiced_until = 0
        self._closed = -1
        """Newest utterance whose end has been told."""
        self._reset = True

    @property
    def room(self) -> int:
        """Bytes that may still be accepted."""
        return self.capacity - len(self._pcm)

    def push(self, pcm: bytes, *, end: bool, now: int) -> None:
        """Accept audio that the client sent just now."""
        if pcm:
            self._pcm += pcm
            self._end += len(pcm) // SAMPLE_BYTES
            self._times.append((self._end, now))
        if end and (not self._ends or self._ends[-1] != self._end):
            self._ends.append(self._end)
        self.pump()

    def hang_up(self, now: int) -> None:
        """No more audio will come: an open utterance ends here."""
        if self.pending:
            self.push(b"", end=True, now=now)

    @property
    def pending(self) -> bool:
        """Whether something that was sent has yet to be heard, or to become a transcript."""
        return bool(self._open) or self._heard < self._end

    @property
    def listening(self) -> bool:
        """Whether an utterance has begun whose words have yet to come."""
        return bool(self._open)

    @property
    def unheard_ms(self) -> int:
        """How much of what was sent has yet to be heard."""
        return (self._end - self._heard) * 1000 // self.sample_rate

    def let_go(self) -> None:
        """Give up the asr process for now; the next audio finds one again."""
        self.close()
        self.detach()

    # --- towards the stage ---

    def attach(self, instance: str, send: Send) -> None:
        """An asr process takes this stream, from the oldest sample that is still needed."""
        self.instance, self._send = instance, send
        self._sent = self._heard = self._base
        self._ends_sent = self._sounds_sent = 0
        self._reset = True
        self.pump()

    def detach(self) -> None:
        """The asr process is gone."""
        self.instance, self._send = None, None

    def close(self) -> None:
        """No more will come, and nobody listens any more."""
        if self._send is not None:
            self._send(AsrClose(broker=self._broker, sid=self.name), [])

    def pump(self) -> None:
        """Send what the stage has room for."""
        while self._send is not None and self._sent - self._heard < IN_FLIGHT_S * self.sample_rate:
            stop = min(self._end, self._sent + int(PIECE_S * self.sample_rate))
            following = self._ends[self._ends_sent] if self._ends_sent < len(self._ends) else None
            if following is not None and following <= stop:
                stop = following
            end = following == stop
            if stop == self._sent and not end:
                return
            if not self._tell_sounds(self._send):
                return
            message = AsrAudio(
                broker=self._broker,
                sid=self.name,
                sample_rate=self.sample_rate,
                at=self._sent,
                reset=self._reset,
                utterance=min(self._open, default=self._next_utterance),
                speaking=self._reset and bool(self._open),
                end=end,
                language=self.language,
                time=self._recorded_at(stop),
            )
            piece = bytes(self._pcm[(self._sent - self._base) * SAMPLE_BYTES : (stop - self._base) * SAMPLE_BYTES])
            if not self._send(message, [piece]):
                return
            self._ends_sent += end
            self._reset = False
            self._sent = stop

    def _tell_sounds(self, send: Send) -> bool:
        """Before the audio in which they may be heard; returns whether all are told."""
        for sound in self._sounds.since(self._sounds_sent) if self.echoes else ():
            if not send(AsrSound(broker=self._broker, sid=self.name, at=sound.at), [sound.pcm]):
                return False
            self._sounds_sent = sound.number + 1
        return True

    # --- from the stage ---

    def heard(self, message: FromStage) -> None:
        """What the asr process says of this stream."""
        if isinstance(message, AsrMark):
            self._mark(message)
        elif isinstance(message, AsrSpeechStarted):
            self._started(message)
        elif isinstance(message, AsrSpeechConfirmed):
            if message.utterance in self._open:
                self._listener.speech_confirmed(self, message.utterance)
        elif isinstance(message, AsrSpeechEnded):
            self._ended(message)
        elif isinstance(message, AsrPartial):
            if message.utterance in self._open:
                self._listener.partial(self, message)
        elif isinstance(message, AsrFinal):
            self._final(message)

    def _mark(self, message: AsrMark) -> None:
        self._heard = max(self._heard, message.consumed)
        self.speaking = message.speaking
        self._forget(message.keep)
        while self._ends_sent and self._ends[0] <= self._base:
            self._ends.popleft()
            self._ends_sent -= 1
        while len(self._times) > 1 and self._times[0][0] < self._base:
            self._times.popleft()
        self.pump()

    def _forget(self, before: int) -> None:
        """Audio before this will not be needed again."""
        drop = min(before, self._sent) - self._base
        if drop > 0:
            del self._pcm[: drop * SAMPLE_BYTES]
            self._base += drop

    def _time_of(self, sample: int) -> int:
        """When the client sent this sample."""
        for end, at in self._times:
            if sample <= end:
                return at
        return self._now()

    def _recorded_at(self, sample: int) -> int:
        """When the client had it, if it sent at once what it recorded."""
        for end, at in self._times:
            if sample <= end:
                return at - (end - sample) * 1_000_000 // self.sample_rate
        return self._now()

    def _started(self, message: AsrSpeechStarted) -> None:
        if message.utterance < self._next_utterance:
            return  # a replay
        self._next_utterance = message.utterance + 1
        self.speaking = True
        self._open.add(message.utterance)
        self._listener.speech_started(self, message.utterance, self._time_of(message.at))

    def _ended(self, message: AsrSpeechEnded) -> None:
        self.speaking = False
        if message.utterance not in self._open or message.utterance <= self._closed:
            return
        self._closed = message.utterance
        self._voiced_until = message.at
        self._listener.speech_ended(self, message.utterance, self._time_of(message.at), message.audio_ms)

    def _final(self, message: AsrFinal) -> None:
        self.speaking = False
        if message.utterance not in self._open:
            return
        self._open.discard(message.utterance)
        if not self._open:
            self._forget(self._voiced_until)  # a successor must not hear the same words as a new utterance
        self._listener.final(self, message)
