"""Operations that make or end turns: ``say``, ``chat``, ``process_segment``, ``interrupt``."""

from __future__ import annotations

from typing import Any

from broker.context import Context
from broker.control.admission import Admission
from broker.control.audio_format import samples_of
from broker.control.requests import Interrupt, ProcessSegment, Say, Text
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.sessions.open_text import MORE_S
from broker.sessions.registry import Sessions
from broker.sessions.session import Call, Session

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
            "say": (Say, self.say),
            "chat": (Text, self.chat),
            "interrupt": (Interrupt, self.interrupt),
        }

    def say(self, request: Request, args: Say) -> None:
        """Speak this text, which may come in several calls."""
        if args.turn is not None:
            self._say_more(request, args, args.turn)
            return
        if args.last:
            self._admission.text(args.text)
        else:
            self._admission.piece(args.text)
        session = self._sessions.open(args.session_id)
        self._admission.turn(session)
        now = self._context.now()
        turn = session.new_turn(
            "say", now, args.text if args.last else "", pieces=not args.last, interruptible=args.interruptible
        )
        if turn.text is not None:
            turn.text.add(args.text, end=False)
        request.reply(turn=turn.number)

    def _say_more(self, request: Request, args: Say, number: int) -> None:
        session = self._sessions.open(args.session_id)
        text = session.open_text(number)
        if text is None:
            raise ControlError(
                ErrorCode.NOT_FOUND,
                f"turn {number} takes no more text: it was not opened with 'append', was cut, failed or has ended "
                f"(also {MORE_S:.0f} s after its newest text); say without 'turn' begins another",
            )
        self._admission.piece(args.text, text.chars)
        text.add(args.text, end=args.last)
        session.touch()
        request.reply(turn=number)

    def chat(self, request: Request, args: Text) -> None:
        """Answer this text."""
        self._admission.text(args.text)
        session = self._sessions.open(args.session_id)
        self._admission.turn(session)
        turn = session.new_turn("chat", self._context.now(), args.text)
        request.reply(turn=turn.number)

    def interrupt(self, request: Request, args: Interrupt) -> None:
        """Stop speaking."""
        session = self._sessions.find(args.session_id)
        turn, flush_from = session.interrupt("client", args.turn)
        request.reply(turn=turn, gen=session.output.timeline.gen, flush_from=flush_from)

    # --- the client's own audio ---

    def process_segment(self, request: Request, args: ProcessSegment) -> None:
        """Show the client's own audio."""
        audio_format, samples = samples_of(args)
        session = self._sessions.open(args.session_id)
        had = session.feeding.audio_format if session.feeding is not None else None
        if had is not None and had != audio_format:
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT,
                f"this turn's audio is {had.sample_rate} Hz, {had.channels} channels, {had.encoding}: "
                "keep the format until 'last'",
            )
        rate = audio_format.sample_rate * audio_format.frame_bytes
        self._admission.client_audio(session, len(samples), rate)
        if had is None:
            self._admission.turn(session)
        call = session.feed(audio_format, samples, last=args.last)
        result: dict[str, Any] = {
            "turn": call.turn.number,
            "accepted_ms": len(samples) // audio_format.frame_bytes * 1000 // audio_format.sample_rate,
            "carried_ms": call.carried_ms,
        }
        if args.wait:
            self._answer_published(request, session, call, result)
        else:
            request.reply(**result, segments=[])
            session.await_next(call)

    def _answer_published(self, request: Request, session: Session, call: Call, result: dict[str, Any]) -> None:
        turn = call.turn

        def answer() -> None:
            timer.cancel()
            if turn.failure is not None and turn.published < call.end:
                request.refuse(turn.failure)
            elif not request.answered:
                request.reply(**result, segments=turn.seqs(call.begin, call.end))
                session.await_next(call)

        def give_up() -> None:
            late = (
                f"turn {turn.number} was not published within {WAIT_S:.0f} s: see status, and read segments later"
            )
            request.refuse(ControlError(ErrorCode.FAILED, late))
            session.await_next(call)

        timer = self._context.timers.at(self._context.now() + int(WAIT_S * 1_000_000), give_up)
        turn.when_published(call.end, answer)
