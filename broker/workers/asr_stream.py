"""A session's microphone: audio kept until the asr stage needs it no more, utterances turned into turns.

Runs in the broker. Positions are samples at the client's rate since the session's start. What an asr process
had heard when it died is sent again to its successor from ``keep`` on (bounded by ``limits.utterance_s``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.errors import ErrorCode
from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSpeechEnded,
    AsrSpeechStarted,
    FromStage,
    Message,
)
from broker.sessions.turn import State, Turn
from broker.stream.events import TranscriptFinal, TranscriptPartial, UserSpeechEnded, UserSpeechStarted

if TYPE_CHECKING:
    from broker.sessions.session import Session

SAMPLE_BYTES = 2
PIECE_S = 0.5
"""Audio sent at once: a flood from one client does not delay the voices of others."""
IN_FLIGHT_S = 4.0
"""Audio sent and not yet reported as heard."""
TRANSCRIPT_S = 30.0
"""Beyond the longest utterance, a turn waits this long for its transcript: a replay and a slow engine fit."""
KEEP_SPARE_S = 2.0
"""Beyond the longest utterance: run-in before it, decision time after it."""

Send = Callable[[Message, list[bytes]], bool]


class AsrStream:
    """One session's stream of microphone audio.

    Args:
        sample_rate: of the audio.
    """

    def __init__(self, session: Session, sample_rate: int) -> None:
        self.session = session
        session.streams += 1
        self.name = f"{session.id}/{session.serial}.{session.streams}"
        self.sample_rate = sample_rate
        self.instance: str | None = None
        self.speaking = False
        self._turn: Turn | None = None
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
        self._next_utterance = 0
        self._turns: dict[int, Turn | None] = {}
        self._voiced_until = 0
        self._closed: int = -1
        """Newest utterance whose end has been told."""
        self._reset = True

    @property
    def turn(self) -> Turn | None:
        """The turn of the open utterance."""
        return self._turn if self._turn is not None and self._turn.state is State.LISTENING else None

    @property
    def capacity(self) -> int:
        """Bytes that are ever kept at once."""
        return int((self.session.hub.config.limits.utterance_s + KEEP_SPARE_S) * self.sample_rate) * SAMPLE_BYTES

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
        return bool(self._turns) or self._heard < self._end

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
        self._ends_sent = 0
        self._reset = True
        self.pump()

    def detach(self) -> None:
        """The asr process is gone."""
        self.instance, self._send = None, None

    def close(self) -> None:
        """The session has ended."""
        if self._send is not None:
            self._send(AsrClose(broker=self.session.hub.epoch, sid=self.name), [])

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
            message = AsrAudio(
                broker=self.session.hub.epoch,
                sid=self.name,
                sample_rate=self.sample_rate,
                at=self._sent,
                reset=self._reset,
                utterance=min(self._turns, default=self._next_utterance),
                speaking=self._reset and bool(self._turns),
                end=end,
                language=self.session.language,
            )
            piece = bytes(self._pcm[(self._sent - self._base) * SAMPLE_BYTES : (stop - self._base) * SAMPLE_BYTES])
            if not self._send(message, [piece]):
                return
            self._ends_sent += end
            self._reset = False
            self._sent = stop

    # --- from the stage ---

    def heard(self, message: FromStage) -> None:
        """What the asr process says of this stream."""
        if isinstance(message, AsrMark):
            self._mark(message)
        elif isinstance(message, AsrSpeechStarted):
            self._started(message)
        elif isinstance(message, AsrSpeechEnded):
            self._ended(message)
        elif isinstance(message, AsrPartial):
            turn = self._turns.get(message.utterance)
            if turn is not None and turn.state is State.LISTENING:
                self.session.event(TranscriptPartial(message.text, None, message.language), turn.number)
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
        return self.session.hub.now()

    def _started(self, message: AsrSpeechStarted) -> None:
        if message.utterance < self._next_utterance:
            return  # a replay
        self._next_utterance = message.utterance + 1
        self.speaking = True
        session = self.session
        if session.closing:
            self._turns[message.utterance] = None  # heard, but nobody can answer it
            return
        full = session.full and not session.barge_in
        turn = session.new_turn("audio", self._time_of(message.at))
        self._turns[message.utterance] = self._turn = turn
        session.event(UserSpeechStarted(), turn.number)
        if full:  # told as a turn, because the reply to `audio` has long been sent
            waiting = session.hub.config.limits.turns_waiting
            turn.fail(ErrorCode.BUSY, f"{waiting} turns are waiting, the limit; interrupt, or speak again later")
            return
        limit = int((session.hub.config.limits.utterance_s + TRANSCRIPT_S) * 1_000_000)
        session.hub.timers.at(session.hub.now() + limit, lambda: self._overdue(turn))
        if session.barge_in:
            session.interrupt("barge_in", keep=turn)

    def _overdue(self, turn: Turn) -> None:
        if turn.state is State.LISTENING:
            turn.fail(
                ErrorCode.FAILED,
                f"no transcript within {TRANSCRIPT_S:.0f} s of the longest utterance; see the asr log",
            )

    def _ended(self, message: AsrSpeechEnded) -> None:
        self.speaking = False
        turn = self._turns.get(message.utterance)
        if turn is None or turn.state is not State.LISTENING or message.utterance <= self._closed:
            return
        self._closed = message.utterance
        self._voiced_until = message.at
        turn.count_from(self._time_of(message.at))
        turn.mark("vad_end")
        self.session.event(UserSpeechEnded(message.audio_ms), turn.number)

    def _final(self, message: AsrFinal) -> None:
        self.speaking = False
        if message.utterance not in self._turns:
            return
        turn = self._turns.pop(message.utterance)
        if not self._turns:
            self._forget(self._voiced_until)  # a successor must not hear the same words as a new utterance
        if turn is None or turn.state is not State.LISTENING:
            return
        turn.mark("asr_final")
        final = TranscriptFinal(message.text, message.confidence, message.language)
        self.session.event(final, turn.number)
        if message.text.strip():
            turn.text = message.text
            turn.state = State.WAITING
            self.session.hub.touch(self.session)
        else:
            said = "I did not catch that" if message.rejected else "nothing was said"
            turn.interrupt(self.session.timeline.end, "no_speech", message=said)
