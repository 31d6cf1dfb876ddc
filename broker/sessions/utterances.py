"""A session's microphone: its audio goes to asr, and what the user says becomes turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from broker.context import Context
from broker.errors import ErrorCode
from broker.ipc.messages import AsrFinal, AsrPartial
from broker.sessions.output import Output
from broker.sessions.settings import SessionSettings
from broker.sessions.turn import Turn
from broker.stream.events import TranscriptFinal, TranscriptPartial, UserSpeechEnded, UserSpeechStarted
from broker.workers.asr_stream import AsrStream
from broker.workers.asr_streams import AsrStreams

TRANSCRIPT_S = 30.0
"""Beyond the longest utterance, a turn waits this long for its transcript: a replay and a slow engine fit."""


class Turns(Protocol):
    """The session's turns, as far as the user's voice changes them."""

    @property
    def closing(self) -> bool:
        """Whether no more turns are taken."""
        ...

    @property
    def full(self) -> bool:
        """Whether no more turns may wait."""
        ...

    def new_turn(self, source: str, t0: int) -> Turn:
        """Accept a turn."""
        ...

    def interrupt(self, reason: str, turn: int | None = None, keep: Turn | None = None) -> tuple[int | None, int]:
        """Cut all turns but ``keep``."""
        ...

    def ahead(self, turn: Turn) -> bool:
        """Whether an earlier turn is being answered or waits to be."""
        ...

    def touch(self) -> None:
        """Let the turns go on."""
        ...


class Utterances:
    """The streams of one microphone, and the turns of what was said.

    Args:
        settings: tells those of the session that are in force.
        name: prefix of the streams' names; no other session of the daemon's life has it.
        streams: finds an asr process for each.
    """

    def __init__(
        self,
        context: Context,
        settings: Callable[[], SessionSettings],
        output: Output,
        turns: Turns,
        streams: AsrStreams,
        name: str,
    ) -> None:
        self._context = context
        self._settings = settings
        self._output = output
        self._session = turns
        self._streams = streams
        self._name = name
        self._current: AsrStream | None = None
        self._left: list[AsrStream] = []
        """Streams at sample rates that the client has left, until they are heard to their end."""
        self._count = 0
        self._turns: dict[tuple[str, int], Turn | None] = {}
        """By stream and utterance; None: heard, but nobody can answer it."""
        self._interrupting: set[tuple[str, int]] = set()
        """Those of them that have interrupted what was spoken before them."""
        self._newest: Turn | None = None
        """The turn of the current stream's last utterance."""

    # --- from the client ---

    @property
    def sample_rate(self) -> int | None:
        """Of the audio that is being sent; None before the first."""
        return None if self._current is None else self._current.sample_rate

    @property
    def rates_left(self) -> int:
        """How many streams at other rates, or in another language, are still being heard."""
        for stream in [s for s in self._left if not s.pending]:
            self._left.remove(stream)
            self._forget(stream)
        return len(self._left)

    def tune(self, sample_rate: int) -> None:
        """Go on at this rate, in the session's language; what was said before is still heard to its end."""
        stream, language = self._current, self._settings().language
        if stream is None or stream.sample_rate != sample_rate or self._changes(stream, language):
            if stream is not None:
                stream.hang_up(self._context.now())
                self._left.append(stream)
            self._count += 1
            self._newest = None
            stream = self._current = AsrStream(
                f"{self._name}.{self._count}",
                sample_rate,
                language,
                self,
                broker=self._context.epoch,
                utterance_s=self._context.config.limits.utterance_s,
                now=self._context.now,
                sounds=self._output.sounds if self._context.config.asr.echo_control else None,
            )
        if stream.instance is None:
            self._streams.assign(stream)

    def _changes(self, stream: AsrStream, language: str) -> bool:
        """Whether it is time to hear another language: not within an utterance, and one change at a time."""
        return stream.language != language and not stream.listening and not self.rates_left

    @property
    def capacity(self) -> int:
        """Bytes that are ever kept at once at the present rate."""
        return self._current.capacity if self._current is not None else 0

    @property
    def room(self) -> int:
        """Bytes that may be sent now."""
        return self._current.room if self._current is not None else 0

    def push(self, pcm: bytes, *, end: bool, echo_cancelled: bool = False) -> None:
        """Hear more audio, at the rate that is tuned to: at most ``room`` bytes of it.

        Args:
            end: the client says that the utterance ends here.
            echo_cancelled: it says that what it plays is not in it.
        """
        assert self._current is not None
        self._current.echoes = not echo_cancelled or self._context.config.asr.echo_control is True
        self._current.push(pcm, end=end, now=self._context.now())

    @property
    def speaking(self) -> bool:
        """Whether the user speaks."""
        return self._current is not None and self._current.speaking

    @property
    def interrupts(self) -> bool:
        """Whether a voice may cut what is spoken: audio has come, and barge-in is on."""
        return self._current is not None and self._settings().barge_in

    @property
    def unheard_ms(self) -> int:
        """How much of what was sent has yet to be heard."""
        return 0 if self._current is None else self._current.unheard_ms

    @property
    def turn(self) -> Turn | None:
        """The turn of the utterance that has no words yet."""
        return self._newest if self._newest is not None and self._newest.listening else None

    @property
    def pending(self) -> bool:
        """Whether something that was sent has yet to be heard, or to become a transcript."""
        return any(stream.pending for stream in self._all)

    @property
    def _all(self) -> list[AsrStream]:
        return [*self._left, *([self._current] if self._current is not None else [])]

    def hang_up(self) -> None:
        """No more audio will come: an open utterance ends here."""
        for stream in self._all:
            stream.hang_up(self._context.now())

    def close(self) -> None:
        """Nobody listens any more."""
        for stream in self._all:
            self._forget(stream)
        self._turns.clear()
        self._interrupting.clear()

    def _forget(self, stream: AsrStream) -> None:
        stream.close()
        self._streams.forget(stream.name)

    # --- from asr ---

    def speech_started(self, stream: AsrStream, utterance: int, at: int) -> None:
        """An utterance becomes a turn, whose words have yet to come."""
        session = self._session
        if session.closing:
            self._turns[stream.name, utterance] = None
            return
        full = session.full and not self._settings().barge_in
        turn = self._turns[stream.name, utterance] = session.new_turn("audio", at)
        if stream is self._current:
            self._newest = turn
        self._output.event(UserSpeechStarted(), turn.number)
        limits = self._context.config.limits
        if full:  # told as a turn, because the reply to `audio` has long been sent
            busy = f"{limits.turns_waiting} turns are waiting, the limit; interrupt, or speak again later"
            turn.fail(ErrorCode.BUSY, busy)
            return
        due = self._context.now() + int((limits.utterance_s + TRANSCRIPT_S) * 1_000_000)
        self._context.timers.at(due, lambda: _overdue(turn))

    def speech_confirmed(self, stream: AsrStream, utterance: int) -> None:
        """A voice that is no cough: what is being spoken ends."""
        turn = self._listening(stream, utterance)
        if turn is not None:
            self._barge_in((stream.name, utterance), turn)

    def _barge_in(self, utterance: tuple[str, int], turn: Turn) -> None:
        if self._settings().barge_in and utterance not in self._interrupting:
            self._interrupting.add(utterance)
            self._session.interrupt("barge_in", keep=turn)

    def _listening(self, stream: AsrStream, utterance: int) -> Turn | None:
        turn = self._turns.get((stream.name, utterance))
        return turn if turn is not None and turn.listening else None

    def speech_ended(self, stream: AsrStream, utterance: int, at: int, audio_ms: int) -> None:
        """The user has stopped speaking."""
        turn = self._listening(stream, utterance)
        if turn is not None:
            turn.question_ended(at)
            self._output.event(UserSpeechEnded(audio_ms), turn.number)

    def partial(self, stream: AsrStream, message: AsrPartial) -> None:
        """What is understood so far."""
        turn = self._listening(stream, message.utterance)
        if turn is not None:
            self._output.event(TranscriptPartial(message.text, None, message.language), turn.number)

    def final(self, stream: AsrStream, message: AsrFinal) -> None:
        """The words: the turn can be answered, or there is nothing to answer."""
        turn = self._listening(stream, message.utterance)
        utterance = (stream.name, message.utterance)
        self._turns.pop(utterance, None)
        if turn is None:
            self._interrupting.discard(utterance)
            return
        turn.mark("asr_final")
        if message.engine:
            self._output.served(turn.number, "asr", message.engine, message.reason)
        self._output.event(TranscriptFinal(message.text, message.confidence, message.language), turn.number)
        interrupting = utterance in self._interrupting
        self._interrupting.discard(utterance)
        if message.backchannel and not interrupting and self._session.ahead(turn):
            turn.interrupt(self._output.timeline.end, "no_speech", "a listener's sound, which asks for nothing")
        elif message.text.strip():
            if not interrupting:  # a word that is shorter than what interrupts by its sound alone
                self._barge_in(utterance, turn)
                self._interrupting.discard(utterance)
            turn.understood(message.text)
            self._session.touch()
        else:
            said = "I did not catch that" if message.rejected else "nothing was said"
            turn.interrupt(self._output.timeline.end, "no_speech", said)


def _overdue(turn: Turn) -> None:
    if turn.listening:
        late = f"no transcript within {TRANSCRIPT_S:.0f} s of the longest utterance; see the asr log"
        turn.fail(ErrorCode.FAILED, late)
