"""All sessions: starting, expiring, ending, and what of them can still be read afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import structlog

from broker.context import Context
from broker.errors import ControlError, ErrorCode
from broker.media.capacity import Cost, retry_after
from broker.sessions.session import Session
from broker.stream.events import SessionEnded, SessionStarted
from broker.stream.publisher import Channel

log = structlog.get_logger()

DRAIN_S = 7200
"""A session that ends speaks its accepted turns to the end, but not longer than this."""

Ended = Callable[[dict[str, int]], None]


class Sessions:
    """Sessions by id."""

    def __init__(self, hub: Context, on_end: Callable[[str], None]) -> None:
        self._hub = hub
        self._on_end = on_end
        self.live: dict[str, Session] = {}
        self._reserved: dict[str, str] = {}
        self._waiters: dict[str, list[Ended]] = {}
        self._started = 0

    @property
    def count(self) -> int:
        """Sessions that live or are about to start."""
        return len(self.live) + len(self._reserved)

    def reserve(self, wanted: str | None, template_id: str) -> str:
        """An id for a session of this template that is about to start.

        Raises:
            ControlError: ALREADY_EXISTS.
        """
        sid = wanted or secrets.token_urlsafe(16)
        if sid in self.live or sid in self._reserved:
            raise ControlError(
                ErrorCode.ALREADY_EXISTS, f"session {sid!r} is live; choose another id or end it first"
            )
        self._reserved[sid] = template_id
        return sid

    def release(self, sid: str) -> None:
        """The session did not start after all."""
        self._reserved.pop(sid, None)

    def start(self, sid: str, init: bytes, mime: str, **settings: Any) -> Session:
        """Begin a session under a reserved id."""
        self._reserved.pop(sid, None)
        old = self._hub.publisher.find(sid)
        if old is not None:
            self._hub.publisher.close(old)
        channel = self._hub.publisher.open(sid, init, mime)
        self._started += 1
        session = self.live[sid] = Session(self._hub, sid, channel, serial=self._started, **settings)
        session.event(SessionStarted())
        self._watch(session)
        log.info("session.started", sid=sid, template=session.template.id, mode=session.mode)
        return session

    def shows(self, template_id: str) -> bool:
        """Whether a session that lives or is about to start shows this template."""
        live = any(session.template.id == template_id for session in self.live.values())
        return live or template_id in self._reserved.values()

    def busy_for(self, session: Session) -> int | None:
        """When a turn of this live session may be asked for again (ms from now), None when it can be served.

        A turn behind others of its session is served when they are over, and one that no other session's turn
        stands beside is served in any case.
        """
        if not session.timeline.paced or session.current or session.waiting:
            return None
        speaking = [s for s in self.live.values() if s.timeline.paced and s.current is not None]
        if self._hub.lipsync_skips and not any(s.strain.exhausted for s in speaking):
            return None
        now = self._hub.now()
        cost = Cost(*(self._hub.paces[stage].frame_us for stage in ("lipsync", "encode")))
        wait = retry_after([s.current.load(now) for s in speaking if s.current is not None], cost)
        return None if wait is None else -(-wait // 1000)

    def find(self, sid: str) -> Session:
        """A live session; the request counts as a sign of life.

        Raises:
            ControlError: NOT_FOUND.
        """
        session = self.live.get(sid)
        if session is None:
            gone = f"no session {sid!r}: it was never started, has ended or expired; start_session begins one"
            raise ControlError(ErrorCode.NOT_FOUND, gone)
        session.last_request = self._hub.now()
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
        channel = self._hub.publisher.find(sid)
        if channel is None:
            keep = self._hub.config.ring.keep_s
            raise ControlError(
                ErrorCode.NOT_FOUND,
                f"no session {sid!r}: media and events are kept {keep:.0f} s after its end; read them sooner",
            )
        session = self.live.get(sid)
        if session is not None:
            session.last_request = self._hub.now()
        return channel

    def _watch(self, session: Session) -> None:
        limit = int(self._hub.config.limits.session_idle_s * 1_000_000)

        def look() -> None:
            if self.live.get(session.id) is not session or session.closing:
                return
            due = session.last_request + limit
            if due <= self._hub.now():
                self.end(session, "expired", drain=False)
            else:
                session.expiry = self._hub.timers.at(due, look)

        session.expiry = self._hub.timers.at(session.last_request + limit, look)

    def end(self, session: Session, reason: str, *, drain: bool, then: Ended | None = None) -> None:
        """End a session, after its turns when ``drain``; ``then`` gets its totals."""
        if then is not None:
            self._waiters.setdefault(session.id, []).append(then)
        session.closing = True
        if session.expiry is not None:
            session.expiry.cancel()
            session.expiry = self._hub.timers.at(
                self._hub.now() + DRAIN_S * 1_000_000, lambda: self.end(session, reason, drain=False)
            )
        for ears in session.all_ears:
            ears.hang_up(self._hub.now())
        if not drain:
            session.interrupt(reason)
        if session.idle or not drain:
            self._finish(session, reason)
        elif not session.on_idle:
            session.on_idle.append(lambda: self._finish(session, reason))

    def _finish(self, session: Session, reason: str) -> None:
        if self.live.pop(session.id, None) is None:
            return
        if session.expiry is not None:
            session.expiry.cancel()
        session.close()
        for ears in session.all_ears:
            ears.close()
            self._on_end(ears.name)
        session.event(SessionEnded(reason))
        channel = session.channel
        channel.ended = True
        totals = session.totals()
        log.info("session.ended", sid=session.id, reason=reason, **totals)
        for then in self._waiters.pop(session.id, []):
            then(totals)
        keep = int(self._hub.config.ring.keep_s * 1_000_000)

        def forget() -> None:  # holds the channel alone, not the session
            if self._hub.publisher.find(channel.sid) is channel:
                self._hub.publisher.close(channel)

        self._hub.timers.at(self._hub.now() + keep, forget)
