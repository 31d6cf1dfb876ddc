"""How far the start has come, for systemd, the log and the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable

from configs import logs
from configs.schema import Config
from supervision import policy
from supervision.child import Child
from supervision.console import Console
from supervision.notify import Notifier
from supervision.policy import State

EXTEND_S = 30
"""By how much systemd's start timeout is put off at each report while stages load."""
SETTLED = policy.READY | {State.FATAL}
"""A process that was given up is not waited for: the daemon serves without it, or ends."""


class Readiness:
    """Announces once that the daemon is ready, and every change before and after it."""

    def __init__(self, config: Config, notifier: Notifier, console: Console) -> None:
        self._config = config
        self._notifier = notifier
        self._console = console
        self._reached = False
        self._told = False
        """Whether the manager has taken the news: there may be no room for it at first."""
        self._status = ""

    def tell(self, children: Iterable[Child], uptime_s: float) -> None:
        """What is true now."""
        needed = [child for child in children if not child.spec.on_demand]
        ready = [child for child in needed if child.state in policy.READY]
        if not self._reached and all(child.state in SETTLED or child.resting for child in needed):
            self._reached = True
            self._announce(uptime_s, next((child.address for child in ready if child.address), None))
        missing = [f"{c.spec.instance} {c.state.value}" for c in needed if c not in ready]
        status = f"{len(ready)} of {len(needed)} processes ready"
        if missing:
            status += f"; {', '.join(missing)}"
        status += "".join(f"; {child.note}" for child in needed if child.note)
        lines = []
        if not self._reached:
            lines.append(f"EXTEND_TIMEOUT_USEC={EXTEND_S * 1_000_000}")
        elif not self._told:
            lines.append("READY=1")
        if status != self._status:
            lines.append(f"STATUS={status}")
        if lines and self._notifier.send(*(" ".join(line.split()) for line in lines)):
            self._status, self._told = status, self._reached

    def _announce(self, uptime_s: float, gateway: str | None) -> None:
        logs.get().info(
            "daemon.ready",
            seconds=round(uptime_s, 2),
            control=self._config.endpoints.control,
            stream=self._config.endpoints.stream,
            gateway=gateway,
            runtime_dir=self._config.runtime_dir,
            supervisor_pid=os.getpid(),
        )
        self._console.ready(uptime_s, gateway)
