"""Who is there: the supervisor's report joined with what the broker knows. Answers ``health`` and ``status``."""

from __future__ import annotations

from typing import Any

import msgspec

from broker.ipc.messages import Ready, Report, StageRow
from configs.schema import Config
from configs.stages import GATEWAY, REQUIRED, STAND_INS

_VOICE = ("engine", "name", "language", "gender")
"""What a line of the tts stage's ``voices`` says, between tabs."""
_BEFORE_READY = ("starting", "loading")


class WorkerStatus:
    """State of all processes."""

    def __init__(self, config: Config) -> None:
        self._instances: dict[str, int] = {s: getattr(config.stages, s).instances for s in REQUIRED}
        self.rows: list[StageRow] = []
        self._warnings: list[str] = []
        self.supervisor_pid: int | None = None
        self._ready: dict[str, Ready] = {}
        self._was_ready = False
        self.draining: set[str] = set()
        """Instances that finish what they hold; ``Drains`` is the one writer."""

    def report(self, message: Report) -> None:
        """The supervisor's view."""
        self.rows = message.rows
        self._warnings = message.warnings
        self.supervisor_pid = message.supervisor_pid

    def ready(self, message: Ready) -> None:
        """A worker is warm."""
        self._ready[message.src] = message

    def down(self, instance: str) -> None:
        """A worker is gone."""
        self._ready.pop(instance, None)

    @property
    def complete(self) -> bool:
        """Whether every required stage has all its instances warm, and a wanted gateway is not given up."""
        return all(map(self._full, REQUIRED)) and GATEWAY not in self.given_up()

    @property
    def gateway(self) -> str | None:
        """Where the gateway listens; None while it does not."""
        return next((row.address for row in self.rows if row.stage == GATEWAY), None)

    @property
    def warnings(self) -> list[str]:
        """What the daemon was started without, and which processes were given up since, in sentences."""
        return [
            *self._warnings,
            *(
                f"{row.instance} was given up: {row.reason}; `musecast resume {row.instance}` tries it once more"
                for row in self.rows
                if row.state == "fatal"
            ),
        ]

    @property
    def serving(self) -> bool:
        """Whether each required stage has, or once had, warm all its instances that are to be had, or a stand-in
        where all were given up.
        """
        if not self._was_ready:
            self._was_ready = all(self._settled(s) or self._stood_in(s) for s in REQUIRED)
        return self._was_ready

    def _full(self, stage: str) -> bool:
        return self._warm(stage) >= self._instances[stage]

    def _settled(self, stage: str) -> bool:
        """Whether all are warm but those that an operator has drained, and some that were given up."""
        out = [row.state for row in self.rows if row.stage == stage and row.pid is None]
        warm, drained, lost = self._warm(stage), out.count("draining"), out.count("fatal")
        return warm + drained > 0 and warm + drained + lost >= self._instances[stage]

    def _stood_in(self, stage: str) -> bool:
        return stage in self.given_up() and stage in STAND_INS and self._warm(STAND_INS[stage]) > 0

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

    def voices(self) -> list[dict[str, str]]:
        """What the engines of tts offer, in the order of their chain; empty while none is warm."""
        for ready in self._ready.values():
            offered = ready.info.get("voices")
            if ready.stage == "tts" and isinstance(offered, list):
                rows = [dict(zip(_VOICE, line.split("\t"), strict=True)) for line in offered]
                return [{key: value for key, value in row.items() if value} for row in rows]
        return []

    def load_s(self) -> dict[str, float]:
        """Seconds each warm instance took to load."""
        return {r.src: round(r.load_s, 3) for r in self._ready.values()}

    def public_rows(self) -> list[dict[str, Any]]:
        """``status.stages``."""
        rows = []
        for row in self.rows:
            entry: dict[str, Any] = msgspec.to_builtins(row)
            ready = self._ready.get(row.instance)
            if ready is not None and ready.ep == row.epoch:
                if row.state in _BEFORE_READY:
                    # its word came here before the supervisor's next report
                    entry["state"] = "idle"
                entry["engine"] = (row.engine if row.chain else ready.engine) or None
                entry["device"] = ready.device or None
            if row.instance in self.draining:
                entry["state"] = "draining"
            if not row.chain:
                del entry["chain"]
            if not row.address:
                del entry["address"]
            rows.append(entry)
        return rows
