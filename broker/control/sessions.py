"""Operations on sessions: ``start_session``, ``update_session``, ``keep_alive``, ``played``, ``end_session``."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from broker.context import Context
from broker.control.admission import Admission
from broker.control.requests import EndSession, KeepAlive, Played, StartSession, UpdateSession
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import TemplateReady
from broker.sessions.registry import Sessions
from broker.sessions.settings import SessionSettings
from broker.templates.catalog import Catalog, Listed
from broker.templates.preparation import Preparations

UPDATABLE = ("voice", "language", "system_prompt", "barge_in", "idle_timeout_s")
"""Settings that ``update_session`` changes and answers."""
T = TypeVar("T")


class SessionHandlers:
    """Their beginning and their end."""

    def __init__(
        self,
        context: Context,
        admission: Admission,
        catalog: Catalog,
        preparations: Preparations,
        sessions: Sessions,
    ) -> None:
        self._context = context
        self._admission = admission
        self._catalog = catalog
        self._preparations = preparations
        self._sessions = sessions

    @property
    def operations(self) -> Operations:
        """By name."""
        return {
            "start_session": (StartSession, self.start_session),
            "update_session": (UpdateSession, self.update_session),
            "keep_alive": (KeepAlive, self.keep_alive),
            "played": (Played, self.played),
            "end_session": (EndSession, self.end_session),
        }

    def start_session(self, request: Request, args: StartSession) -> None:
        """Begin a session as soon as its template and its init segment are there."""
        if args.mode is None:
            offline = self._context.config.timeline.mode == "offline" and args.idle == "none"
            args.mode = "offline" if offline else "realtime"
        _check(args)
        if args.greeting is not None:
            self._admission.text(args.greeting, "greeting")
        self._admission.new_sessions()
        if not self._catalog.known(args.template_id):
            raise ControlError(ErrorCode.NOT_FOUND, self._catalog.missing(args.template_id))
        self._admission.session(request.client)
        sid = self._sessions.reserve(args.session_id, args.template_id, request.client)

        def refuse(error: ControlError) -> None:
            self._sessions.release(sid)
            request.refuse(error)

        def with_template(found: Listed | ControlError, made: TemplateReady | None) -> None:
            if isinstance(found, ControlError):
                refuse(found)
                return

            def with_init(init: tuple[bytes, str] | ControlError) -> None:
                if isinstance(init, ControlError):
                    refuse(init)
                    return
                try:
                    self._admission.new_sessions()  # the daemon may have begun to drain since
                except ControlError as error:
                    refuse(error)
                    return
                self._start(request, args, sid, found, *init)

            self._preparations.init(found.width, found.height, args.quality, with_init)

        self._preparations.template(args.template_id, with_template)

    def _start(
        self, request: Request, args: StartSession, sid: str, found: Listed, init: bytes, mime: str
    ) -> None:
        config, limit_us = self._context.config, int(args.max_duration_s * 1_000_000)
        session = self._sessions.start(
            sid,
            init,
            mime,
            SessionSettings(
                template=found.ref,
                mode=args.mode or "realtime",
                voice=_or(args.voice, config.tts.voice),
                language=args.language or "",
                quality=args.quality,
                barge_in=args.barge_in,
                system_prompt=_or(args.system_prompt, config.llm.system_prompt),
                loop_frames=found.frames if args.idle == "loop" else 0,
                idle_timeout_s=_or(args.idle_timeout_s, config.limits.session_idle_s),
                ends_at=self._context.now() + limit_us if limit_us else None,
                cut_margin_ms=args.cut_margin_ms,
                record=args.record,
                owner=request.client,
            ),
        )
        session.touch()
        if args.greeting is not None:
            session.new_turn("say", self._context.now(), args.greeting)
        request.reply(
            session_id=sid,
            width=found.width,
            height=found.height,
            fps=25,
            mime=mime,
            gen=session.output.timeline.gen,
            init=init,
            limits=self._admission.public_limits(),
        )

    def update_session(self, request: Request, args: UpdateSession) -> None:
        """Change what of a session can change; the answer is how it is now."""
        session = self._sessions.find(args.session_id)
        given = {name: getattr(args, name) for name in UPDATABLE if getattr(args, name) is not None}
        self._sessions.update(session, replace(session.settings, **given))
        request.reply(**{name: getattr(session.settings, name) for name in UPDATABLE})

    def keep_alive(self, request: Request, args: KeepAlive) -> None:
        """Somebody is still there."""
        self._sessions.find(args.session_id)
        request.reply()

    def played(self, request: Request, args: Played) -> None:
        """So much has been shown."""
        session = self._sessions.find(args.session_id)
        session.output.played(args.pts, self._context.now())
        request.reply()

    def end_session(self, request: Request, args: EndSession) -> None:
        """End; the answer comes after ``session.ended``."""
        session = self._sessions.find(args.session_id)
        self._sessions.end(session, "ended", drain=args.drain, then=lambda totals: request.reply(**totals))


def _or(given: T | None, default: T) -> T:
    return default if given is None else given


def _check(args: StartSession) -> None:
    """Refuse arguments that do not go together."""
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
