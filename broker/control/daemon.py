"""Operations on the daemon and its processes: how they are, what there is, and taking them out of service."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import metadata
from typing import Any

from broker.control.admission import Admission
from broker.control.requests import PROTOCOL, Drain, Instance, ListVoices, Nothing
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.journal.journal import Journal
from broker.lifecycle import Lifecycle
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.workers.drains import Drains
from broker.workers.ledger import Ledger
from broker.workers.status import WorkerStatus
from models.meter import BUCKETS_S

WARM_RETRY_MS = 1000


class DaemonHandlers:
    """How the daemon is.

    Args:
        boot: id of the supervisor's run.
        stages: names of all stages, in order.
        endpoints: the public addresses that never change, by name.
        now: monotonic microseconds.
    """

    def __init__(
        self,
        boot: str,
        stages: list[str],
        endpoints: dict[str, str],
        now: Callable[[], int],
        lifecycle: Lifecycle,
        admission: Admission,
        workers: WorkerStatus,
        ledger: Ledger,
        sessions: Sessions,
        journal: Journal,
        drains: Drains,
    ) -> None:
        self._boot = boot
        self._stages = stages
        self._endpoints = endpoints
        self._now = now
        self._lifecycle = lifecycle
        self._admission = admission
        self._workers = workers
        self._ledger = ledger
        self._sessions = sessions
        self._journal = journal
        self._drains = drains
        self._versions = {
            "musecast": metadata.version("musecast"),
            "protocol": str(PROTOCOL),
            "python": sys.version.split()[0],
        }

    @property
    def operations(self) -> Operations:
        """By name."""
        return {
            "health": (Nothing, self.health),
            "status": (Nothing, self.status),
            "initialize": (Nothing, self.initialize),
            "list_voices": (ListVoices, self.list_voices),
            "drain": (Drain, self.drain),
            "drain_instance": (Instance, self.drain_instance),
            "resume_instance": (Instance, self.resume_instance),
        }

    def health(self, request: Request, args: Nothing) -> None:
        """Alive, and how well."""
        request.reply(
            status=self._lifecycle.status,
            boot=self._boot,
            uptime_s=round(self._lifecycle.uptime_s, 3),
            warnings=self._workers.warnings,
        )

    def status(self, request: Request, args: Nothing) -> None:
        """Everything an operator looks at."""
        now = self._now()
        request.reply(
            stages=self._workers.public_rows(),
            supervisor_pid=self._workers.supervisor_pid,
            queues={stage: {"items": 0, "media_ms": 0} for stage in self._stages} | self._ledger.backlog(),
            sessions=[_row(session, now) for session in self._sessions.live.values()],
            endpoints={**self._endpoints, "gateway": self._workers.gateway},
            warnings=self._workers.warnings,
            journal=self._journal.report(),
            limits=self._admission.public_limits(),
            versions=self._versions,
            buckets_s=BUCKETS_S,
        )

    def initialize(self, request: Request, args: Nothing) -> None:
        """Answer when everything required is warm."""

        def late(limit_s: float) -> None:
            missing = self._lifecycle.missing()
            request.refuse(
                ControlError(
                    ErrorCode.NOT_READY, f"not warm within {limit_s:.0f} s: {missing}; see status", WARM_RETRY_MS
                )
            )

        self._lifecycle.when_ready(lambda: request.reply(ready=True, load_s=self._workers.load_s()), late)

    def list_voices(self, request: Request, args: ListVoices) -> None:
        """What a session's ``voice`` may name."""
        wanted = (args.language or "").lower()
        request.reply(
            voices=[
                voice
                for voice in self._workers.voices()
                if not wanted or f"{voice['language'].lower()}-".startswith(f"{wanted}-")
            ]
        )

    def drain(self, request: Request, args: Drain) -> None:
        """Take no more sessions, finish those there are."""
        self._lifecycle.drain(args.timeout_s, lambda report: request.reply(**report))

    def drain_instance(self, request: Request, args: Instance) -> None:
        """Take one process out of service."""
        self._drains.check(args.instance)
        self._drains.drain(args.instance, args.timeout_s, _answer(request))

    def resume_instance(self, request: Request, args: Instance) -> None:
        """Take it back."""
        self._drains.check(args.instance)
        self._drains.resume(args.instance, args.timeout_s, _answer(request))


def _answer(request: Request) -> Callable[[ControlError | None], None]:
    return lambda error: request.reply() if error is None else request.refuse(error)


def _row(session: Session, now: int) -> dict[str, Any]:
    """``status.sessions``."""
    timeline = session.output.timeline
    clock = timeline.clock(now)
    return {
        "session_id": session.id,
        "template_id": session.settings.template.id,
        "mode": session.settings.mode,
        "record": session.settings.record,
        "gen": timeline.gen,
        "turn": session.current.number if session.current else None,
        "newest_seq": timeline.seq - 1 if timeline.seq else None,
        "clock": clock,
        "lead_ms": (timeline.end - clock) // 1000,
        "survives": session.channel.store.survives,
    }
