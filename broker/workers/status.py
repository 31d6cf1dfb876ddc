"""Who is there: the supervisor's report joined with what the broker knows. Answers ``health`` and ``status``."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.ipc.messages import Ready, Report, StageRow
from configs.schema import Config

ON_DEMAND = {"prepare"}
"""Stages that run when there is work for them."""
OPTIONAL = ON_DEMAND | {"fallback"}
"""Stages that may be absent."""


class WorkerStatus:
    """State of all processes."""

    def __init__(self, config: Config) -> None:
        self._required = [s for s in config.stages.__struct_fields__ if s not in OPTIONAL]
        self._instances = {s: getattr(config.stages, s).instances for s in self._required}
        self.rows: list[StageRow] = []
        self.supervisor_pid: int | None = None
        self._ready: dict[str, Ready] = {}
        self._was_ready = False

    def report(self, message: Report) -> None:
        """The supervisor's view."""
        self.rows = message.rows
        self.supervisor_pid = message.supervisor_pid

    def ready(self, message: Ready) -> None:
        """A worker is warm."""
        self._ready[message.src] = message

    def down(self, instance: str) -> None:
        """A worker is gone."""
        self._ready.pop(instance, None)

    @property
    def complete(self) -> bool:
        """Whether every required stage has all its instances warm."""
        return all(self._warm(stage) >= self._instances[stage] for stage in self._required)

    @property
    def serving(self) -> bool:
        """Whether every required stage has at least one warm instance, now or ever since."""
        if not self._was_ready and (self.complete or self._standing_in):
            self._was_ready = True
        return self._was_ready

    @property
    def _standing_in(self) -> bool:
        """Whether only lip-sync is missing, given up by the supervisor, and the fallback engine is warm."""
        rows = [r for r in self.rows if r.stage == "lipsync"]
        given_up = bool(rows) and all(r.state == "fatal" for r in rows)
        others = all(self._warm(s) >= self._instances[s] for s in self._required if s != "lipsync")
        return given_up and others and self._warm("fallback") > 0

    def _warm(self, stage: str) -> int:
        return sum(1 for r in self._ready.values() if r.stage == stage)

    def given_up(self) -> dict[str, str]:
        """Stages whose every process is given up, with the reason."""
        by_stage: dict[str, list[StageRow]] = {}
        for row in self.rows:
            by_stage.setdefault(row.stage, []).append(row)
        return {
            stage: rows[0].reason or "unknown"
            for stage, rows in by_stage.items()
            if all(row.state == "fatal" for row in rows)
        }

    @property
    def skips(self) -> bool:
        """Whether every warm lip-sync process can skip frames."""
        warm = [r for r in self._ready.values() if r.stage == "lipsync"]
        return bool(warm) and all(r.info.get("skips") is True for r in warm)

    def load_s(self) -> dict[str, float]:
        """Seconds each warm instance took to load."""
        return {r.src: round(r.load_s, 3) for r in self._ready.values()}

    def status(self, *, draining: bool) -> str:
        """ "ok", "degraded", "starting" or "draining"."""
        if draining:
            return "draining"
        if not self.serving:
            return "starting"
        return "ok" if self.complete else "degraded"

    def public_rows(self) -> list[dict[str, Any]]:
        """``status.stages``."""
        rows = []
        for row in self.rows:
            entry: dict[str, Any] = msgspec.to_builtins(row)
            ready = self._ready.get(row.instance)
            if ready is not None and ready.ep == row.epoch:
                entry["engine"] = ready.engine or None
                entry["device"] = ready.device or None
            rows.append(entry)
        return rows
