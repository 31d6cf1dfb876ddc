"""What each control operation does. Every handler answers its request once, now or when the work is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from broker.control.audio_format import samples_of
from broker.control.requests import (
    Arguments,
    Audio,
    DeleteTemplate,
    Drain,
    EndSession,
    Events,
    Interrupt,
    Nothing,
    PreprocessTemplate,
    ProcessSegment,
    Segments,
    StartSession,
    Text,
)
from broker.control.server import Handler, Request
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import TemplateReady
from broker.sessions.session import Session
from broker.sessions.turn import State, Turn
from broker.sessions.voices import ClientAudio
from broker.templates.catalog import Listed
from broker.templates.preparation import PrepareRequest
from broker.timers import Timer
from broker.workers.asr_stream import AsrStream

if TYPE_CHECKING:
    from broker.app import Broker

SEGMENTS_BYTES = 8 << 20
SEGMENT_TURN_S = 2.0
"""A turn of ``process_segment`` calls ends when none has come for this long after the last reply."""
OLD_EARS = 4
"""Streams of one session, at rates it has left, that may still be in the ears of asr."""
WAIT_S = 300.0
"""The longest that ``process_segment`` with ``wait`` keeps a client waiting."""
BUSY_RETRY_MS = 500


def refuse_draining(request: Request) -> None:
    """Refuse a new session."""
    request.refuse(
        ControlError(
            ErrorCode.NOT_READY, "the daemon is draining and takes no more sessions: ask again after its restart"
        )
    )


class Operations:
    """Handlers over the broker's parts."""

    def __init__(self, broker: Broker) -> None:
        self._b = broker

    def table(self) -> dict[str, tuple[type[Arguments], Handler]]:
        """Name to arguments and handler."""
        return {
            "health": (Nothing, self.health),
            "status": (Nothing, self.status),
            "initialize": (Nothing, self.initialize),
            "preprocess_template": (PreprocessTemplate, self.preprocess_template),
            "list_templates": (Nothing, self.list_templates),
            "delete_template": (DeleteTemplate, self.delete_template),
            "start_session": (StartSession, self.start_session),
            "process_segment": (ProcessSegment, self.process_segment),
            "say": (Text, self.say),
            "chat": (Text, self.chat),
            "audio": (Audio, self.audio),
            "interrupt": (Interrupt, self.interrupt),
            "segments": (Segments, self.segments),
            "events": (Events, self.events),
            "end_session": (EndSession, self.end_session),
            "drain": (Drain, self.drain),
        }

    # --- the daemon ---

    def health(self, request: Request, args: Nothing) -> None:
        """Alive, and how well."""
        request.reply(status=self._b.status, boot=self._b.boot, uptime_s=round(self._b.uptime_s, 3))

    def status(self, request: Request, args: Nothing) -> None:
        """Everything an operator looks at."""
        b = self._b
        now = b.now()
        sessions = []
        for s in b.sessions.live.values():
            clock = s.timeline.clock(now)
            sessions.append(
                {
                    "session_id": s.id,
                    "template_id": s.template.id,
                    "mode": s.mode,
                    "gen": s.timeline.gen,
                    "turn": s.current.number if s.current else None,
                    "newest_seq": s.timeline.seq - 1 if s.timeline.seq else None,
                    "clock": clock,
                    "lead_ms": (s.timeline.end - clock) // 1000,
                }
            )
        request.reply(
            stages=b.census.public_rows(),
            supervisor_pid=b.census.supervisor_pid,
            queues={stage: {"items": 0, "media_ms": 0} for stage in b.stage_names} | b.ledger.backlog(),
            sessions=sessions,
            limits=b.limits(),
            versions=b.versions,
        )

    def initialize(self, request: Request, args: Nothing) -> None:
        """Answer when everything required is warm."""

        def late(limit_s: float) -> None:
            missing = self._b.missing()
            request.refuse(
                ControlError(ErrorCode.NOT_READY, f"not warm within {limit_s:.0f} s: {missing}; see status", 1000)
            )

        self._b.when_ready(lambda: request.reply(ready=True, load_s=self._b.census.load_s()), late)

    def drain(self, request: Request, args: Drain) -> None:
        """Take no more sessions, finish those there are."""
        self._b.drain(args.timeout_s, lambda report: request.reply(**report))

    # --- templates ---

    def preprocess_template(self, request: Request, args: PreprocessTemplate) -> None:
        """Prepare a template from a picture or a film."""
        sources = [s for s in (args.image, args.video, args.path) if s is not None]
        if len(sources) != 1:
            raise ControlError(ErrorCode.INVALID_ARGUMENT, "give exactly one of 'image', 'video' and 'path'")
        if args.path is not None:
            self._b.check_template_path(args.path)
        if args.template_id in self._b.builtin:
            raise ControlError(
                ErrorCode.ALREADY_EXISTS, f"{args.template_id!r} is built in; choose another template_id"
            )
        prepare = PrepareRequest(
            args.template_id,
            "source",
            path=args.path or "",
            source=args.image or args.video or b"",
            bbox_shift=args.bbox_shift,
            force=args.force,
            in_use=self._b.sessions.shows(args.template_id),
            keep=args.keep,
            if_absent=args.if_absent,
        )

        def then(found: Listed | ControlError, made: TemplateReady | None) -> None:
            if isinstance(found, ControlError):
                request.refuse(found)
                return
            request.reply(
                template_id=found.ref.id,
                frames=found.frames,
                width=found.width,
                height=found.height,
                cached=made.cached if made else True,
                seconds=made.seconds if made else 0.0,
                replaced=made.replaced if made else False,
                **({"same_as": made.same_as} if made and made.same_as else {}),
                **({"bbox_shift": made.bbox_shift} if made and made.bbox_shift else {}),
            )

        self._b.workshop.prepare(prepare, then)

    def list_templates(self, request: Request, args: Nothing) -> None:
        """What can be shown."""
        request.reply(
            templates=[
                {
                    "template_id": t.ref.id,
                    "kind": t.kind,
                    "frames": t.frames,
                    "width": t.width,
                    "height": t.height,
                    "engines": t.engines,
                    "bytes": t.nbytes,
                    "in_use": self._b.sessions.shows(t.ref.id),
                    "keep": t.keep,
                    "outdated": t.outdated,
                }
                for t in self._b.catalog.all()
            ]
        )

    def delete_template(self, request: Request, args: DeleteTemplate) -> None:
        """Forget a template."""
        if args.template_id in self._b.builtin:
            raise ControlError(
                ErrorCode.FAILED, f"template {args.template_id!r} is built in and stays; others can be deleted"
            )
        if not self._b.catalog.there(args.template_id):
            raise ControlError(ErrorCode.NOT_FOUND, f"no template {args.template_id!r}: see list_templates")
        if self._b.sessions.shows(args.template_id):
            raise ControlError(
                ErrorCode.FAILED, f"template {args.template_id!r} is in use; end its sessions first"
            )
        self._b.catalog.delete(args.template_id)
        request.reply()

    # --- sessions ---

    def start_session(self, request: Request, args: StartSession) -> None:
        """Begin a session as soon as its template and its init segment are there."""
        b = self._b
        if args.fps != 25:
            raise ControlError(
                ErrorCode.UNSUPPORTED, f"fps {args.fps}; video is 25 frames/s: give 25, or leave it out"
            )
        if args.idle == "loop" and args.mode == "offline":
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT, "idle 'loop' needs a clock: use mode 'realtime', or idle 'none'"
            )
        if args.quality == "max" and args.mode != "offline":
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT,
                "quality 'max' waits for 30 s of speech at a time: use mode 'offline', or quality 'high'",
            )
        if b.draining:
            refuse_draining(request)
            return
        if not b.catalog.known(args.template_id):
            raise ControlError(ErrorCode.NOT_FOUND, b.catalog.missing(args.template_id))
        sid = b.sessions.reserve(args.session_id, args.template_id)

        def refuse(error: ControlError) -> None:
            b.sessions.release(sid)
            request.refuse(error)

        def with_template(found: Listed | ControlError, made: TemplateReady | None) -> None:
            if isinstance(found, ControlError):
                refuse(found)
                return

            def with_init(init: tuple[bytes, str] | ControlError) -> None:
                if isinstance(init, ControlError):
                    refuse(init)
                else:
                    self._started(request, args, sid, found, *init)

            b.workshop.init(found.width, found.height, args.quality, with_init)

        b.workshop.template(args.template_id, with_template)

    def _started(
        self, request: Request, args: StartSession, sid: str, found: Listed, init: bytes, mime: str
    ) -> None:
        config = self._b.config
        if self._b.draining:
            self._b.sessions.release(sid)
            refuse_draining(request)
            return
        session = self._b.sessions.start(
            sid,
            init,
            mime,
            template=found.ref,
            mode=args.mode,
            barge_in=args.barge_in,
            voice=args.voice if args.voice is not None else config.tts.voice,
            language=args.language or "",
            system_prompt=args.system_prompt if args.system_prompt is not None else config.llm.system_prompt,
            quality=args.quality,
            loop_frames=found.frames if args.idle == "loop" else 0,
        )
        self._b.touch(session)
        request.reply(
            session_id=sid,
            width=found.width,
            height=found.height,
            fps=25,
            mime=mime,
            gen=session.timeline.gen,
            init=init,
            limits=self._b.limits(),
        )

    def _open(self, sid: str) -> Session:
        session = self._b.sessions.find(sid)
        if session.closing:
            raise ControlError(
                ErrorCode.NOT_FOUND,
                f"session {sid!r} is ending and takes no more input: use start_session for another",
            )
        return session

    def _admit(self, session: Session) -> None:
        if session.full:
            limit = self._b.config.limits.turns_waiting
            raise ControlError(
                ErrorCode.BUSY, f"{limit} turns are waiting, the limit; interrupt, or try later", BUSY_RETRY_MS
            )
        retry_ms = self._b.sessions.busy_for(session)
        if retry_ms is not None:
            raise ControlError(
                ErrorCode.BUSY,
                f"lip-sync is behind with what other sessions say, though it skips frames: try in {retry_ms} ms, "
                "or use mode 'offline', which waits",
                retry_ms,
            )

    def end_session(self, request: Request, args: EndSession) -> None:
        """End; the answer comes after ``session.ended``."""
        session = self._b.sessions.find(args.session_id)
        self._b.sessions.end(session, "ended", drain=args.drain, then=lambda totals: request.reply(**totals))

    # --- turns ---

    def _text_turn(self, request: Request, args: Text, source: str) -> None:
        limit = self._b.config.limits.text_chars
        if not args.text.strip():
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT, f"'text' is empty; give 1 to {limit} characters, not only spaces"
            )
        if len(args.text) > limit:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"'text' has {len(args.text)} characters; the limit is {limit}: give it in several turns",
            )
        session = self._open(args.session_id)
        self._admit(session)
        turn = session.new_turn(source, self._b.now(), args.text)
        request.reply(turn=turn.number)

    def say(self, request: Request, args: Text) -> None:
        """Speak this text."""
        self._text_turn(request, args, "say")

    def chat(self, request: Request, args: Text) -> None:
        """Answer this text."""
        self._text_turn(request, args, "chat")

    def interrupt(self, request: Request, args: Interrupt) -> None:
        """Stop speaking."""
        session = self._b.sessions.find(args.session_id)
        turn, flush_from = session.interrupt("client", args.turn)
        request.reply(turn=turn, gen=session.timeline.gen, flush_from=flush_from)

    def process_segment(self, request: Request, args: ProcessSegment) -> None:
        """Show the client's own audio."""
        audio_format, samples = samples_of(args)
        session = self._open(args.session_id)
        turn = session.feeding
        if turn is not None and isinstance(turn.voice, ClientAudio) and turn.voice.format != audio_format:
            had = turn.voice.format
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT,
                f"this turn's audio is {had.sample_rate} Hz, {had.channels} channels, {had.encoding}: "
                "keep the format until 'last'",
            )
        self._room_for(session, len(samples))
        if turn is None:
            self._admit(session)
            turn = session.feeding = session.new_turn("segment", self._b.now())
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
        self._b.touch(session)
        result: dict[str, Any] = {"turn": turn.number, "accepted_ms": accepted_ms, "carried_ms": carried_ms}

        def answered() -> None:
            if not args.last:
                self._close_later(session, turn, call)

        if args.wait:
            self._answer_published(request, turn, before, result, answered)
        else:
            request.reply(**result, segments=[])
            answered()

    def _room_for(self, session: Session, size: int) -> None:
        turns = [t for t in (session.current, *session.waiting) if t is not None]
        waiting = sum(t.voice.waiting_bytes for t in turns if isinstance(t.voice, ClientAudio))
        limit = self._b.config.limits.audio_bytes_waiting
        if size > limit:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"{size} bytes of audio in one call; the limit is {limit}: send it in several calls",
            )
        if waiting + size > limit:
            raise ControlError(
                ErrorCode.BUSY,
                f"{waiting} bytes of audio wait to be shown; the limit is {limit}: send it later",
                BUSY_RETRY_MS,
            )

    def _close_later(self, session: Session, turn: Turn, call: int) -> None:
        """End the turn unless another call comes: a client that waits for a reply cannot make one before it."""

        def close() -> None:
            if session.feeding is turn and turn.calls == call:
                session.feeding = None
                turn.voice.close()
                turn.complete_calls()
                self._b.touch(session)

        self._b.timers.at(self._b.now() + int(SEGMENT_TURN_S * 1_000_000), close)

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
        timer = self._b.timers.at(self._b.now() + int(WAIT_S * 1_000_000), give_up)

    def audio(self, request: Request, args: Audio) -> None:
        """Hear the user."""
        if len(args.pcm) % 2:
            odd = f"s16 has two bytes a sample; {len(args.pcm)} bytes are odd: send whole samples"
            raise ControlError(ErrorCode.INVALID_ARGUMENT, odd)
        session = self._open(args.session_id)
        if session.ears is None:
            session.ears = AsrStream(session, args.sample_rate)
        ears = session.ears
        session.old_ears = [e for e in session.old_ears if self._still_heard(e)]
        if args.sample_rate != ears.sample_rate:
            ears = session.ears = self._retuned(ears, args.sample_rate)
        if ears.instance is None:
            self._b.hearing.assign(ears)
        if len(args.pcm) > ears.capacity:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"{len(args.pcm)} bytes of audio in one call; the limit at this rate is {ears.capacity}: "
                "send pieces as they are spoken",
            )
        if len(args.pcm) > ears.room:
            raise ControlError(
                ErrorCode.BUSY,
                f"{ears.room} bytes of audio can still be taken; send it as it is spoken",
                BUSY_RETRY_MS,
            )
        ears.push(args.pcm, end=args.end, now=self._b.now())
        result: dict[str, Any] = {
            "vad": "speech" if ears.speaking else "silence",
            "unheard_ms": ears.unheard_ms,
        }
        if ears.turn is not None:
            result["turn"] = ears.turn.number
        request.reply(**result)

    def _still_heard(self, ears: AsrStream) -> bool:
        if ears.pending:
            return True
        ears.close()
        self._b.hearing.forget(ears.name)
        return False

    def _retuned(self, ears: AsrStream, sample_rate: int) -> AsrStream:
        """A new stream at another rate; what was said at the old one is still heard to its end."""
        session = ears.session
        if len(session.old_ears) >= OLD_EARS:
            many = f"{OLD_EARS} changes of sample_rate are still being heard: keep one rate, or try later"
            raise ControlError(ErrorCode.BUSY, many, BUSY_RETRY_MS)
        ears.hang_up(self._b.now())
        session.old_ears.append(ears)
        return AsrStream(session, sample_rate)

    # --- reading back ---

    def segments(self, request: Request, args: Segments) -> None:
        """Media that was published."""
        channel = self._b.sessions.channel(args.session_id)
        kept = channel.media.read(args.from_seq, args.max, SEGMENTS_BYTES)
        newest = channel.media.newest
        at_newest = newest is None or args.from_seq > newest or (bool(kept) and kept[-1].number == newest)
        request.reply(
            init=channel.init,
            segments=[[k.header, k.payload] for k in kept],
            oldest_seq=channel.media.oldest,
            newest_seq=newest,
            end=channel.ended and at_newest,
        )

    def events(self, request: Request, args: Events) -> None:
        """Events that were published."""
        channel = self._b.sessions.channel(args.session_id)
        kept = channel.events.read(args.from_n, args.max, SEGMENTS_BYTES)
        request.reply(
            events=[k.header for k in kept], oldest_n=channel.events.oldest, newest_n=channel.events.newest
        )
