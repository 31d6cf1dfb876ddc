"""The limits and quotas that a request can meet, and what it is told then.

BUSY with ``retry_after_ms`` where the same request can succeed later, TOO_LARGE where it never can, NOT_READY
while the daemon takes no more. Nothing is changed in here: a request that passes is carried out by its handler.

Elsewhere are the ranges of single arguments (``requests``), the size of a message (``server``), a voice that is
heard while too many turns wait (``sessions.utterances``: a turn that fails) and a template that is being made
already (``templates.preparation``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from broker.access.keyring import Keyring
from broker.control.accounts import Account
from broker.errors import ControlError, ErrorCode
from broker.lifecycle import Lifecycle
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.sessions.utterances import Utterances
from configs import scopes
from configs.schema import Config
from models.meter import Meter

BUSY_RETRY_MS = 500
SESSION_RETRY_MS = 1000
RETRY_MOST_MS = 60_000
OLD_RATES = 4
"""Sample rates that one session has left and that may still be being heard."""
REQUESTS_WAITING = 1024
"""Requests of one client that have no reply yet; the gateway is one, with all its viewers."""
UNREAD_BYTES = 48 << 20
"""Of replies that one client has not taken: six pages of ``segments``."""
PARKED_BYTES = 64 << 20
"""Of frames before the requests of one client that come back with replies that are not made yet."""
READ_BACK_BYTES = 8 << 20
"""Of one reply of ``segments`` or ``events``; one message is always given."""


class Admission:
    """Refuses what does not fit.

    Every check raises ControlError, with the limit and the next step.

    Args:
        now: monotonic microseconds.
        meter: counts ``busy.<why>``: input that was refused for now.
    """

    def __init__(
        self,
        config: Config,
        lifecycle: Lifecycle,
        sessions: Sessions,
        keyring: Keyring | None = None,
        *,
        now: Callable[[], int] = lambda: time.monotonic_ns() // 1000,
        meter: Meter | None = None,
    ) -> None:
        self._now = now
        self._meter = meter or Meter()
        self._keyring = keyring
        self._limits = config.limits
        self._timeline = config.timeline
        self._lifecycle = lifecycle
        self._sessions = sessions

    def public_limits(self) -> dict[str, int]:
        """``limits`` of ``status`` and ``start_session``."""
        return {
            "sessions": self._limits.sessions,
            "turns_waiting": self._limits.turns_waiting,
            "text_chars": self._limits.text_chars,
            "control_bytes": self._limits.control_bytes,
            "lead_ms": self._timeline.lead_ms,
            "idle_lead_ms": self._timeline.idle_lead_ms,
            "max_segment_ms": self._timeline.max_segment_ms,
        }

    def request(self, nbytes: int) -> None:
        """A whole request."""
        limit = self._limits.control_bytes
        if nbytes > limit:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"a request of {nbytes} bytes; the limit is {limit}: give large sources by path",
            )

    def before(self, account: Account, nbytes: int) -> None:
        """So many bytes of frames before a request, which come back with its reply."""
        self.request(nbytes)
        if account.parked + nbytes > PARKED_BYTES:
            message = (
                f"{account.parked} bytes of frames before requests of this client wait for their replies; "
                f"the limit is {PARKED_BYTES}: wait for one, or send fewer"
            )
            raise self._later("frames", message)

    def client(self, account: Account, now: int) -> None:
        """One more request of this client; ``now``: monotonic microseconds."""
        if account.fd is None:
            return
        per_s = self._limits.requests_per_s
        quota = account.quota
        wait_ms = quota.bucket.take(per_s, now)
        if wait_ms:
            message = f"more than {per_s} requests a second, the limit of one client: ask less often"
            raise self._later("rate", message, wait_ms)
        if quota.waiting > REQUESTS_WAITING:
            message = f"{REQUESTS_WAITING} requests of this client have no answer yet, the limit: wait for one"
            raise self._later("requests", message)
        if (unread := quota.unread) > UNREAD_BYTES:
            message = (
                f"{unread} bytes of replies to this client are not read; the limit is {UNREAD_BYTES}: "
                "read them, then ask for more"
            )
            raise self._later("replies", message)

    def operation(self, key: str | None, op: str) -> None:
        """Whether whoever has this key may ask for it; without keys, everybody may."""
        if self._keyring is None:
            return
        listed = self._keyring.find(key)
        if listed is None:
            raise ControlError(
                ErrorCode.UNAUTHENTICATED,
                "this client's key is not listed any more: `musecast keys new NAME` makes and lists another",
            )
        scope = scopes.needed(op)
        if not listed.may(scope):
            raise ControlError(
                ErrorCode.UNAUTHENTICATED,
                f"{op!r} needs the scope {scope}, and the key {listed.name!r} has {', '.join(listed.scope)}: "
                f"`musecast keys new NAME --scope {scope}` makes one that may",
            )

    # --- sessions ---

    def new_sessions(self) -> None:
        """Any new session at all."""
        if self._lifecycle.draining:
            raise ControlError(
                ErrorCode.NOT_READY,
                "the daemon is draining and takes no more sessions: ask again after its restart",
            )

    def session(self, client: str) -> None:
        """One more session of this client."""
        most = self._limits.sessions_per_client
        if most and self._sessions.count_of(client) >= most:
            message = (
                f"{most} sessions of this client are live, the limit of one; end one or raise "
                "limits.sessions_per_client"
            )
            raise self._later("sessions_per_client", message, SESSION_RETRY_MS)
        limit = self._limits.sessions
        if self._sessions.count >= limit:
            message = f"{limit} sessions are live, the limit; end one or raise limits.sessions"
            raise self._later("sessions", message, SESSION_RETRY_MS)

    # --- turns ---

    def text(self, text: str, name: str = "text") -> None:
        """What one turn says or asks; ``name`` is the argument's."""
        limit = self._limits.text_chars
        if not text.strip():
            raise ControlError(
                ErrorCode.INVALID_ARGUMENT, f"'{name}' is empty; give 1 to {limit} characters, not only spaces"
            )
        if len(text) > limit:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"'{name}' has {len(text)} characters; the limit is {limit}: give it in several turns",
            )

    def piece(self, text: str, before: int = 0) -> None:
        """A piece of a turn's text, which may be empty; ``before``: characters of the turn so far."""
        limit = self._limits.text_chars
        if before + len(text) > limit:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"with this 'text' the turn has {before + len(text)} characters; the limit is {limit}: "
                "end it, and give the rest in another turn",
            )

    def turn(self, session: Session) -> None:
        """One more turn of this session."""
        session.came()
        current_us = session.current.waiting_us if session.current is not None else 0
        if session.full:
            limit = self._limits.turns_waiting
            message = f"{limit} turns are waiting, the limit; interrupt, or try later"
            raise self._busy("turns", message, current_us / 1000, session)
        excess_us = self._sessions.speech_excess(session)
        if excess_us:
            message = (
                f"all sessions have {self._limits.speech_waiting_s:g} s of speech waiting "
                "(limits.speech_waiting_s), this one more than its share: ask again when it has spoken some of it"
            )
            raise self._busy("speech", message, excess_us / 1000, session)
        if self._sessions.holds_others_up(session):
            message = (
                "this session asks again before the time that it is told, and others speak: until it waits, it "
                "gets one turn at a time, and their work comes first"
            )
            raise self._busy("pressing", message, current_us / 1000, session)
        retry_ms = self._sessions.busy_for(session)
        if retry_ms is not None:
            message = (
                f"lip-sync is behind with what other sessions say, though it skips frames: try in {retry_ms} ms, "
                "or use mode 'offline', which waits"
            )
            raise self._busy("lipsync", message, retry_ms, session)

    def _busy(self, why: str, message: str, wait_ms: float, session: Session | None = None) -> ControlError:
        """BUSY, which the session's client hears; whether it waits is seen when it comes again."""
        retry_ms = min(max(-int(-wait_ms // 1), BUSY_RETRY_MS), RETRY_MOST_MS)
        if session is not None:
            session.patience.told(self._now(), retry_ms * 1000)
        return self._later(why, message, retry_ms)

    def _later(self, why: str, message: str, retry_ms: int = BUSY_RETRY_MS) -> ControlError:
        """BUSY, counted by the limit that refused."""
        self._meter.count(f"busy.{why}")
        return ControlError(ErrorCode.BUSY, message, retry_ms)

    def client_audio(self, session: Session, nbytes: int, bytes_per_s: int) -> None:
        """The audio of one ``process_segment`` call, beside what waits already."""
        limit = self._limits.audio_bytes_waiting
        if nbytes > limit:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"{nbytes} bytes of audio in one call; the limit is {limit}: send it in several calls",
            )
        waiting = session.audio_waiting
        if waiting + nbytes > limit:
            message = f"{waiting} bytes of audio wait to be shown; the limit is {limit}: send it later"
            raise self._busy("audio", message, (waiting + nbytes - limit) * 1000 / bytes_per_s)
        excess = self._sessions.audio_excess(session, nbytes)
        if excess:
            message = (
                f"all sessions have {self._limits.audio_bytes_total} bytes of audio waiting "
                "(limits.audio_bytes_total), this one more than its share: send it when some of it has been shown"
            )
            raise self._busy("audio", message, excess * 1000 / bytes_per_s)

    # --- microphone ---

    def microphone(self, microphone: Utterances, nbytes: int) -> None:
        """The audio of one ``audio`` call, beside what has yet to be heard."""
        if nbytes > microphone.capacity:
            raise ControlError(
                ErrorCode.TOO_LARGE,
                f"{nbytes} bytes of audio in one call; the limit at this rate is {microphone.capacity}: "
                "send pieces as they are spoken",
            )
        if nbytes > microphone.room:
            message = f"{microphone.room} bytes of audio can still be taken; send it as it is spoken"
            raise self._later("microphone", message)

    def sample_rate(self, microphone: Utterances, sample_rate: int) -> None:
        """A microphone stream at another rate, beside those that are still being heard."""
        if microphone.sample_rate not in (None, sample_rate) and microphone.rates_left >= OLD_RATES:
            message = f"{OLD_RATES} changes of sample_rate are still being heard: keep one rate, or try later"
            raise self._later("sample_rate", message)
