"""All sessions: starting, expiring, ending, and what of them can still be read afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import structlog

from broker.context import Context
from broker.errors import ControlError, ErrorCode
from broker.journal.journal import Found
from broker.media.budget import Budget
from broker.media.capacity import Cost, retry_after
from broker.sessions.session import Session
from broker.sessions.settings import SessionSettings
from broker.stream.events import SessionStarted
from broker.stream.publisher import Channel
from broker.templates.idle_cache import IdleCache
from broker.timers import Timer
from broker.workers.asr_streams import AsrStreams

log = structlog.get_logger()

DRAIN_S = 7200
"""A session that ends speaks its accepted turns to the end, but not longer than this."""

REJOIN_S = 0.5
"""A new broker gives subscribers so long to connect again before it tells what became of their turns."""


class Reserved(NamedTuple):
    """A session that is about to start."""

    template_id: str
    owner: str


Ended = Callable[[dict[str, int]], None]


class Sessions:
    """Sessions by id."""

    def __init__(self, context: Context, streams: AsrStreams, idle_cache: IdleCache) -> None:
        self._context = context
        self._streams = streams
        self._idle_cache = idle_cache
        self._speech = Budget(context.config.limits.speech_waiting_s * 1_000_000)
        self._audio = Budget(context.config.limits.audio_bytes_total)
        self.live: dict[str, Session] = {}
        self._reserved: dict[str, Reserved] = {}
        self._waiters: dict[str, list[Ended]] = {}
        self._started = 0
        self._last_request: dict[str, int] = {}
        self._expiry: dict[str, Timer] = {}
        """What ends a live session that nobody asks anything of, or that takes too long to end."""

    @property
    def count(self) -> int:
        """Sessions that live or are about to start."""
        return len(self.live) + len(self._reserved)

    def count_of(self, owner: str) -> int:
        """The same of one client."""
        live = sum(session.settings.owner == owner for session in self.live.values())
        return live + sum(one.owner == owner for one in self._reserved.values())

    def reserve(self, wanted: str | None, template_id: str, owner: str = "") -> str:
        """An id for a session of this template and this client that is about to start.

        Raises:
            ControlError: ALREADY_EXISTS.
        """
        sid = wanted or secrets.token_urlsafe(16)
        if sid in self.live or sid in self._reserved:
            raise ControlError(
                ErrorCode.ALREADY_EXISTS, f"session {sid!r} is live; choose another id or end it first"
            )
        self._reserved[sid] = Reserved(template_id, owner)
        return sid

    def release(self, sid: str) -> None:
        """The session did not start after all."""
        self._reserved.pop(sid, None)

    def start(self, sid: str, init: bytes, mime: str, settings: SessionSettings) -> Session:
        """Begin a session under a reserved id."""
        self._reserved.pop(sid, None)
        old = self._context.publisher.find(sid)
        if old is not None:
            self._context.publisher.close(old)
        channel = self._context.publisher.open(sid, init, mime, settings.pack())
        self._started += 1
        session = self.live[sid] = Session(
            self._context, sid, channel, settings, self._streams, self._idle_cache, serial=self._started
        )
        session.output.event(SessionStarted(settings.record))
        self._last_request[sid] = self._context.now()
        self._watch(session)
        log.info("session.started", sid=sid, template=settings.template.id, mode=settings.mode)
        return session

    def adopt(self, found: Found) -> None:
        """Go on with a session that another broker has served. Its turns cannot go on: they fail."""
        sid, state = found.cold.sid, found.state
        channel = self._context.publisher.adopt(found)
        if state.ended_at is not None:
            self._forget_later(channel, state.ended_at)
            return
        try:
            settings = SessionSettings.unpack(found.cold.settings)
        except msgspec.MsgspecError as error:
            log.error("session.not_adopted", sid=sid, reason=str(error))
            self._context.publisher.close(channel)
            return
        self._started += 1
        session = self.live[sid] = Session(
            self._context,
            sid,
            channel,
            settings,
            self._streams,
            self._idle_cache,
            serial=self._started,
            state=state,
        )
        session.history.restore(found.lines)
        self._last_request[sid] = self._context.now()
        self._watch(session)
        log.info("session.adopted", sid=sid, seq=state.seq, n=state.n, failing=state.open)
        self._context.timers.at(self._context.now() + int(REJOIN_S * 1_000_000), lambda: self._rejoin(session))

    def _rejoin(self, session: Session) -> None:
        if self.live.get(session.id) is not session:
            return
        session.fail_lost()
        reason = session.output.leaving
        if reason and not session.closing:
            self.end(session, reason, drain=True)
        session.touch()

    def shows(self, template_id: str) -> bool:
        """Whether a session that lives or is about to start shows this template."""
        live = any(session.settings.template.id == template_id for session in self.live.values())
        return live or any(one.template_id == template_id for one in self._reserved.values())

    def busy_for(self, session: Session) -> int | None:
        """When a turn of this live session may be asked for again (ms from now), None when it can be served.

        A turn behind others of its session is served when they are over, and one that no other session's turn
        stands beside is served in any case. Sessions that press stand beside nobody else's.
        """
        if not session.settings.paced or session.current or session.waiting:
            return None
        now = self._context.now()
        presses = session.patience.pressing(now)
        speaking = [s for s in self._speaking if presses or not s.patience.pressing(now)]
        if self._context.lipsync_skips and not any(s.skip.exhausted for s in speaking):
            return None
        cost = Cost(*(self._context.throughputs[stage].frame_us for stage in ("lipsync", "encode")))
        wait = retry_after([s.current.load(now) for s in speaking if s.current is not None], cost)
        return None if wait is None else -(-wait // 1000)

    @property
    def _speaking(self) -> list[Session]:
        return [s for s in self.live.values() if s.settings.paced and s.current is not None]

    def holds_others_up(self, session: Session) -> bool:
        """Whether a live session has a turn already, others speak as well, and it presses for more."""
        now = self._context.now()
        if not session.settings.paced or session.idle or not session.patience.pressing(now):
            return False
        return any(other is not session for other in self._speaking)

    def speech_excess(self, session: Session) -> int:
        """Microseconds of speech that a live session has waiting above its share, where shares count."""
        if not session.settings.paced:
            return 0
        beside = [s.speech_waiting for s in self.live.values() if s is not session and s.settings.paced]
        return int(self._speech.excess(session.speech_waiting, beside))

    def audio_excess(self, session: Session, more: int) -> int:
        """Bytes of a client's audio that a session has waiting above its share, where shares count."""
        beside = [s.audio_waiting for s in self.live.values() if s is not session]
        return int(self._audio.excess(session.audio_waiting, beside, more))

    def waiting(self) -> dict[str, float]:
        """All that waits, as figures of ``status``."""
        return {
            "speech_waiting_ms": sum(s.speech_waiting for s in self.live.values() if s.settings.paced) // 1000,
            "audio_waiting_bytes": sum(s.audio_waiting for s in self.live.values()),
        }

    def find(self, sid: str) -> Session:
        """A live session; the request counts as a sign of life.

        Raises:
            ControlError: NOT_FOUND.
        """
        session = self.live.get(sid)
        if session is None:
            gone = f"no session {sid!r}: it was never started, has ended or expired; start_session begins one"
            raise ControlError(ErrorCode.NOT_FOUND, gone)
        self._last_request[sid] = self._context.now()
        return session

    def open(self, sid: str) -> Session:
        """A live session that takes more input; otherwise as ``find``."""
        session = self.find(sid)
        if session.closing:
            raise ControlError(
                ErrorCode.NOT_FOUND,
                f"session {sid!r} is ending and takes no more input: use start_session for another",
            )
        return session

    def channel(self, sid: str) -> Channel:
        """What can be read of a session that lives or ended a short while ago.

        Raises:
            ControlError: NOT_FOUND.
        """
        channel = self._context.publisher.find(sid)
        if channel is None:
            keep = self._context.config.ring.keep_s
            raise ControlError(
                ErrorCode.NOT_FOUND,
                f"no session {sid!r}: media and events are kept {keep:.0f} s after its end; read them sooner",
            )
        if sid in self.live:
            self._last_request[sid] = self._context.now()
        return channel

    def update(self, session: Session, settings: SessionSettings) -> None:
        """Let a live session go on with these settings."""
        session.update(settings)
        if not session.closing:
            self._watch(session)  # it may now expire sooner

    def _watch(self, session: Session) -> None:
        """End the session when nobody has asked anything of it for too long, or when its time is over."""
        sid = session.id
        if sid in self._expiry:
            self._expiry[sid].cancel()

        def look() -> None:
            if self.live.get(sid) is not session or session.closing:
                return
            if self._due(session) <= self._context.now():
                self.end(session, "expired", drain=False)
            else:
                self._watch(session)

        self._expiry[sid] = self._context.timers.at(self._due(session), look)

    def _due(self, session: Session) -> int:
        """When it expires if nothing more is asked of it."""
        due = self._last_request[session.id] + int(session.settings.idle_timeout_s * 1_000_000)
        return due if session.settings.ends_at is None else min(due, session.settings.ends_at)

    def end(self, session: Session, reason: str, *, drain: bool, then: Ended | None = None) -> None:
        """End a session, after its turns when ``drain``; ``then`` gets its totals."""
        if then is not None:
            self._waiters.setdefault(session.id, []).append(then)
        session.begin_closing(reason)
        if session.id in self._expiry:
            self._expiry[session.id].cancel()
            due = self._context.now() + DRAIN_S * 1_000_000
            if session.settings.ends_at is not None:
                due = min(due, session.settings.ends_at)
            self._expiry[session.id] = self._context.timers.at(due, lambda: self.end(session, reason, drain=False))
        if not drain:
            session.interrupt(reason)
        if session.idle or not drain:
            self._finish(session, reason)
        else:
            session.when_idle(lambda: self._finish(session, reason))

    def _finish(self, session: Session, reason: str) -> None:
        if self.live.get(session.id) is not session:
            return
        del self.live[session.id]
        del self._last_request[session.id]
        self._expiry.pop(session.id).cancel()
        session.close(reason)
        channel, totals = session.channel, session.totals()
        log.info("session.ended", sid=session.id, reason=reason, **totals)
        for then in self._waiters.pop(session.id, []):
            then(totals)
        self._forget_later(channel, self._context.now())

    def _forget_later(self, channel: Channel, ended_at: int) -> None:
        keep = int(self._context.config.ring.keep_s * 1_000_000)

        def forget() -> None:  # holds the channel alone, not the session
            if self._context.publisher.find(channel.sid) is channel:
                self._context.publisher.close(channel)

        self._context.timers.at(ended_at + keep, forget)
