"""Operations that make or end turns: ``say``, ``chat``, ``process_segment``, ``interrupt``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.context import Context
from broker.control.admission import Admission
from broker.control.audio_format import samples_of
from broker.control.requests import Interrupt, ProcessSegment, Text
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.sessions.turn import State, Turn
from broker.sessions.voices import ClientAudio
from broker.timers import Timer

SEGMENT_TURN_S = 2.0
"""A turn of ``process_segment`` calls ends when none has come for this long after the last reply."""
WAIT_S = 300.0
"""The longest that ``process_segment`` with ``wait`` keeps a client waiting."""


class TurnHandlers:
    """What is to be shown."""

    def __init__(self, context: Context, admission: Admission, sessions: Sessions) -> None:
        self._context = context
        self._admission = admission
        self._sessions = sessions

    @property
    def operations(self) -> Operations:
        """By name."""
        return {
            "process_segment": (ProcessSegment, self.process_segment),
            "say": (Text, self.say),
            "chat": (Text, self.chat),
            "interrupt": (Interrupt, self.interrupt),
        }

    def _after(self, seconds: float, action: Callable[[], None]) -> Timer:
        return self._context.timers.at(self._context.now() + int(seconds * 1_000_000), action)

    def _text_turn(self, request: Request, args: Text, source: str) -> None:
        self._admission.text(args.text)
        session = self._sessions.open(args.session_id)
        self._admission.turn(session)
        turn = session.new_turn(source, self._context.now(), args.text)
        request.reply(turn=turn.number)

    def say(self, request: Request, args: Text) -> None:
        """Speak this text."""
        self._text_turn(request, args, "say")

    def chat(self, request: Request, args: Text) -> None:
        """Answer this text."""
        self._text_turn(request, args, "chat")

    def interrupt(self, request: Request, args: Interrupt) -> None:
        """Stop speaking."""
        session = self._sessions.find(args.session_id)
        turn, flush_from = session.interrupt("client", args.turn)
        request.reply(turn=turn, gen=session.timeline.gen, flush_from=flush_from)

    # --- the client's own audio ---

    def process_segment(self, request: Request, args: ProcessSegment) -> None:
        """Show the client's own audio."""
        audio_format, samples = samples_of(args)
        session = self._sessions.open(args.session_id)
        turn = session.feeding
        if turn is not None and isinstance(turn.voice, ClientAudio) and turn.voice.format != audio_format:
            had = turn.voice.format
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT,
                f"this turn's audio is {had.sample_rate} Hz, {had.channels} channels, {had.encoding}: "
                "keep the format until 'last'",
            )
        self._admission.client_audio(session, len(samples))
        if turn is None:
            self._admission.turn(session)
            turn = session.feeding = session.new_turn("segment", self._context.now())
            turn.audio(audio_format)
        voice = turn.voice
        assert isinstance(voice, ClientAudio)
        before = turn.flush_to
        voice.push(samples)
        call = turn.calls = turn.calls + 1
        if args.last:
            session.feeding = None
            voice.close()
        accepted_ms = len(samples) // audio_format.frame_bytes * 1000 // audio_format.sample_rate
        carried_ms = turn.complete_calls()
        self._context.touch(session)
        result: dict[str, Any] = {"turn": turn.number, "accepted_ms": accepted_ms, "carried_ms": carried_ms}

        def answered() -> None:
            if not args.last:
                self._close_later(session, turn, call)

        if args.wait:
            self._answer_published(request, turn, before, result, answered)
        else:
            request.reply(**result, segments=[])
            answered()

    def _close_later(self, session: Session, turn: Turn, call: int) -> None:
        """End the turn unless another call comes: a client that waits for a reply cannot make one before it."""

        def close() -> None:
            if session.feeding is turn and turn.calls == call:
                session.feeding = None
                turn.voice.close()
                turn.complete_calls()
                self._context.touch(session)

        self._after(SEGMENT_TURN_S, close)

    def _answer_published(
        self, request: Request, turn: Turn, before: int, result: dict[str, Any], then: Callable[[], None]
    ) -> None:
        target = turn.flush_to
        timer: Timer | None = None

        def answer() -> None:
            if timer is not None:
                timer.cancel()
            if turn.failure is not None and turn.published < target:
                request.refuse(turn.failure)
                return
            if request.answered:
                return
            seqs = [seq for seq, end in turn.seqs if before < end <= target]
            request.reply(**result, segments=seqs)
            then()

        def give_up() -> None:
            late = (
                f"turn {turn.number} was not published within {WAIT_S:.0f} s: see status, and read segments later"
            )
            request.refuse(ControlError(ErrorCode.FAILED, late))
            then()

        if turn.state is State.OVER or turn.published >= target:
            answer()
            return
        turn.when_published.append((target, answer))
        timer = self._after(WAIT_S, give_up)
