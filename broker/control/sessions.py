"""Operations on sessions: ``start_session``, ``end_session``."""

from __future__ import annotations

from broker.context import Context
from broker.control.admission import Admission
from broker.control.requests import EndSession, StartSession
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import TemplateReady
from broker.sessions.registry import Sessions
from broker.sessions.settings import SessionSettings
from broker.templates.catalog import Catalog, Listed
from broker.templates.preparation import Preparations


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
            "end_session": (EndSession, self.end_session),
        }

    def start_session(self, request: Request, args: StartSession) -> None:
        """Begin a session as soon as its template and its init segment are there."""
        _check(args)
        self._admission.new_sessions()
        if not self._catalog.known(args.template_id):
            raise ControlError(ErrorCode.NOT_FOUND, self._catalog.missing(args.template_id))
        self._admission.session()
        sid = self._sessions.reserve(args.session_id, args.template_id)

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
        config = self._context.config
        session = self._sessions.start(
            sid,
            init,
            mime,
            SessionSettings(
                template=found.ref,
                mode=args.mode,
                voice=args.voice if args.voice is not None else config.tts.voice,
                language=args.language or "",
                quality=args.quality,
                barge_in=args.barge_in,
                system_prompt=args.system_prompt if args.system_prompt is not None else config.llm.system_prompt,
                loop_frames=found.frames if args.idle == "loop" else 0,
                owner=request.client,
            ),
        )
        session.touch()
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

    def end_session(self, request: Request, args: EndSession) -> None:
        """End; the answer comes after ``session.ended``."""
        session = self._sessions.find(args.session_id)
        self._sessions.end(session, "ended", drain=args.drain, then=lambda totals: request.reply(**totals))


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
