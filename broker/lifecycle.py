"""The life of the daemon: starting until everything required is warm, ready, draining, stopping."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

import structlog

from broker.errors import ControlError, contained
from broker.ipc.messages import TemplateReady
from broker.sessions.registry import Sessions
from broker.templates.catalog import Catalog, Listed
from broker.templates.preparation import Preparations
from broker.timers import Timer, Timers
from broker.workers.status import WorkerStatus
from configs.schema import Config

log = structlog.get_logger()

DEFAULT_RETRY_S = 5.0
"""Until the default template is tried again after a failure."""


class Phase(Enum):
    """What the daemon is doing with its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"


NEXT = {
    Phase.STARTING: {Phase.READY, Phase.DRAINING, Phase.STOPPING},
    Phase.READY: {Phase.DRAINING, Phase.STOPPING},
    Phase.DRAINING: {Phase.STOPPING},
    Phase.STOPPING: set[Phase](),
}
"""Every change that there is."""


class Waiter(NamedTuple):
    """Someone who waits for readiness."""

    then: Callable[[], None]
    limit: Timer


class Lifecycle:
    """Which phase the daemon is in, and who waits for the next.

    Args:
        now: monotonic microseconds.
    """

    def __init__(
        self,
        config: Config,
        timers: Timers,
        now: Callable[[], int],
        workers: WorkerStatus,
        catalog: Catalog,
        preparations: Preparations,
        sessions: Sessions,
    ) -> None:
        self._stages = config.stages
        self._timers = timers
        self._now = now
        self._workers = workers
        self._catalog = catalog
        self._preparations = preparations
        self._sessions = sessions
        self._began = now()
        self._waiting: list[Waiter] = []
        self.phase = Phase.STARTING
        self.obstacle = ""
        """What keeps the daemon from serving beside its processes, in words."""

    def _enter(self, phase: Phase) -> None:
        if phase not in NEXT[self.phase]:
            raise ValueError(f"the daemon cannot go from {self.phase.value} to {phase.value}")
        self.phase = phase

    # --- how it is ---

    @property
    def uptime_s(self) -> float:
        """Seconds since this broker started."""
        return (self._now() - self._began) / 1_000_000

    @property
    def ready(self) -> bool:
        """Every required stage is or was warm, and the default template is there."""
        return self._workers.serving and self._catalog.find("default") is not None

    @property
    def draining(self) -> bool:
        """No more sessions are taken."""
        return self.phase in (Phase.DRAINING, Phase.STOPPING)

    @property
    def over(self) -> bool:
        """Nothing is left to be done: the process may end."""
        return self.phase is Phase.STOPPING and not self._sessions.live

    @property
    def status(self) -> str:
        """``health``'s status: "starting", "ok", "degraded" or "draining"."""
        if self.draining:
            return "draining"
        if not self.ready:
            return "starting"
        degraded = not self._workers.complete or any(s.output.degraded for s in self._sessions.live.values())
        return "degraded" if degraded else "ok"

    @property
    def beat_state(self) -> str:
        """What the supervisor is told."""
        return "draining" if self.draining else "busy" if self._sessions.live else "idle"

    def missing(self) -> str:
        """What readiness waits for, in words."""
        late = [r.instance for r in self._workers.rows if r.required and r.state not in ("idle", "busy")]
        return ", ".join(late) or "the template 'default'"

    # --- starting ---

    def start(self) -> None:
        """Make the template that a session gets without asking; nothing is ready before it is."""

        def then(found: Listed | ControlError, made: TemplateReady | None) -> None:
            self.obstacle = ""
            if isinstance(found, ControlError):
                self.obstacle = f"no template: {found.message}"
                self._timers.at(self._now() + int(DEFAULT_RETRY_S * 1_000_000), self.start)

        self._preparations.template("default", then)

    def when_ready(self, then: Callable[[], None], late: Callable[[float], None]) -> None:
        """Call ``then`` once everything required is warm, or ``late`` with the limit when that takes too long."""
        if self.ready:
            then()
            return
        limit_s = max(getattr(self._stages, stage).load_timeout_s for stage in self._stages.__struct_fields__)

        def over() -> None:
            self._waiting.remove(waiter)
            late(limit_s)

        waiter = Waiter(then, self._timers.at(self._now() + int(limit_s * 1_000_000), over))
        self._waiting.append(waiter)

    def look(self) -> None:
        """See whether the daemon has become ready, and tell those who waited for it."""
        if not (self._waiting or self.phase is Phase.STARTING) or not self.ready:
            return
        if self.phase is Phase.STARTING:
            self._enter(Phase.READY)
            log.info("broker.ready", after_s=round(self.uptime_s, 3))
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.limit.cancel()
            contained("when_ready", waiter.then)

    # --- the end ---

    def drain(self, timeout_s: float, then: Callable[[dict[str, Any]], None]) -> None:
        """Take no more sessions; call ``then`` when all have ended or the time is over."""
        if not self.draining:
            self._enter(Phase.DRAINING)
        total = len(self._sessions.live)
        told = False

        def finish() -> None:
            nonlocal told
            if not told:
                told = True
                limit.cancel()
                left = sorted(self._sessions.live)
                then({"sessions": total, "finished": total - len(left), "abandoned": left})

        limit = self._timers.at(self._now() + int(timeout_s * 1_000_000), finish)
        for session in [*self._sessions.live.values()]:
            self._sessions.end(
                session, "ended", drain=True, then=lambda _: None if self._sessions.live else finish()
            )
        if not self._sessions.live:
            finish()

    def stop(self) -> None:
        """End every session now; ``over`` says when that is done."""
        if self.phase is Phase.STOPPING:
            return
        self._enter(Phase.STOPPING)
        log.info("broker.stopping", sessions=len(self._sessions.live))
        for session in [*self._sessions.live.values()]:
            self._sessions.end(session, "shutdown", drain=False)
