"""One supervised process through all of its incarnations."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

from broker.ipc.messages import Beat, ChainRow, HistogramRow, StageRow
from configs import logs
from configs.schema import Supervisor
from supervision.policy import LIVE, PUBLIC, READY, TRANSITIONS, RestartPolicy, State, Vitals
from supervision.process import Process
from supervision.specs import Spec

EVERYDAY = frozenset({State.IDLE, State.BUSY})
"""Changes between these are told at debug level, as are the two that a logged exit implies."""


class Child:
    """State of one instance; ``enter`` is the only way to change it."""

    def __init__(
        self,
        spec: Spec,
        settings: Supervisor,
        clock: Callable[[], float],
        environment: Callable[[str, Mapping[str, str]], Mapping[str, str]],
    ) -> None:
        """``environment`` makes that of an incarnation from instance and own variables."""
        self.spec = spec
        self._environment = environment
        self.policy = RestartPolicy(settings.backoff_s, settings.intensity, settings.window_s)
        self.state = State.STOPPED
        self.epoch = 0
        self.process: Process | None = None
        self.group = 0
        """Process group of the last incarnation."""
        self.vitals = Vitals(0.0, 0.0, 0.0)
        self.restarts = 0
        self.reason = ""
        """Why it is not running, or why it last ended."""
        self.error = ""
        """What it said itself about a failed load."""
        self.exit_code: int | None = None
        self.commanded = False
        """It was told to end, or ended on demand."""
        self.wanted = False
        """A stage on demand was asked for while it was on its way out."""
        self.resting = False
        """Taken out of service by an operator, until it is resumed."""
        self.deadline: float | None = None
        """Of the present state, where it has one."""
        self.gpu: tuple[float | None, float | None] = (None, None)
        self.metrics: dict[str, float] = {}
        self.histograms: dict[str, HistogramRow] = {}
        self.chain: list[ChainRow] = []
        """What the present incarnation says of its work."""
        self.note = ""
        """What it says keeps the daemon from serving."""
        self.address: str | None = None
        self.engine: str | None = None
        self.device: str | None = None
        self._clock = clock
        self._log = logs.get(child=spec.instance)

    def enter(self, state: State, *, reason: str = "", deadline: float | None = None) -> bool:
        """Change the state; False when it is the same already.

        Raises:
            RuntimeError: the change is not in ``policy.TRANSITIONS``.
        """
        if state is self.state:
            return False
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"{self.spec.instance}: no way from {self.state} to {state}")
        old, self.state, self.deadline = self.state, state, deadline
        self.vitals.state, self.vitals.state_since = state, self._clock()
        if reason:
            self.reason = reason
        elif state in LIVE:
            self.reason = ""
        quiet = (state in EVERYDAY and old in EVERYDAY) or state in (State.REAPING, State.FENCING)
        tell = self._log.debug if quiet else self._log.info
        tell("child.state", now=state.value, was=old.value, child_epoch=self.epoch, reason=self.reason or None,
             item=self.vitals.item or None)
        return True

    def spawn(self, *arguments: str) -> None:
        """Start the next incarnation, with more arguments; its epoch has already been announced.

        Raises:
            OSError: the process could not be started.
        """
        now = self._clock()
        self.vitals = Vitals(spawned=now, beat=now, phase_since=now)
        self.exit_code, self.error, self.commanded, self.wanted = None, "", False, False
        self.gpu, self.metrics, self.chain, self.address = (None, None), {}, [], None
        self.histograms = {}
        self.note = ""
        self.enter(State.STARTING)
        command = [*self.spec.command, "--epoch", str(self.epoch), "--parent", str(os.getpid()), *arguments]
        self.process = Process(command, self._environment(self.spec.instance, self.spec.env))
        self.group = self.process.pid

    def end(self) -> None:
        """SIGTERM; a stage is also told that nobody waits for its results."""
        if self.process is None:
            return
        self.commanded = True
        if self.state in LIVE:
            self.enter(State.DRAINING)
        self.process.signal(signal.SIGTERM)
        if not self.spec.is_broker:
            self.process.close_stdin()

    def hear(self, beat: Beat, now: float) -> bool:
        """Take a beat of the present incarnation; True when the state has changed."""
        vitals = self.vitals
        vitals.heard, vitals.beat = True, now
        vitals.item, vitals.busy_ms = beat.item, beat.busy_ms
        self.engine, self.device = beat.engine or self.engine, beat.device or self.device
        self.gpu, self.metrics = (beat.gpu_mem_mb, beat.gpu_util), beat.metrics
        self.histograms = beat.histograms
        self.chain = beat.chain
        self.address = beat.address or self.address
        self.error = beat.error or self.error
        self.note = beat.note
        phase = f"{beat.state} {beat.phase}".rstrip()
        if phase != vitals.phase:
            vitals.phase, vitals.phase_since = phase, now
        try:
            state = State(beat.state)
        except ValueError:
            return False
        if state is State.BUSY:
            self.wanted = False  # what it was asked for is in its hands
        if state in READY:
            vitals.ready = True
            vitals.ready_beats += 1
        return state in LIVE and self.state in LIVE and self.enter(state)

    @property
    def needed(self) -> bool:
        """Whether it is to be started when it has ended as commanded."""
        return not self.resting and (self.wanted or not self.spec.on_demand)

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None

    @property
    def ended(self) -> bool:
        """Whether its last incarnation is over and done with."""
        return self.state in (State.STOPPED, State.BACKOFF, State.FATAL)

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out, or kept out of service."""
        return self.resting or (self.commanded and not self.ended)

    def row(self) -> StageRow:
        """The line of the public ``status``."""
        return StageRow(
            stage=self.spec.stage,
            instance=self.spec.instance,
            epoch=self.epoch,
            pid=self.process.pid if self.process else None,
            state=PUBLIC[State.DRAINING if self.leaving else self.state],
            engine=self.engine if self.running else None,
            device=self.device if self.running else None,
            busy_ms=self.vitals.busy_ms if self.running else 0,
            restarts=self.restarts,
            rss_mb=self.process.rss_mb if self.process else None,
            gpu_mem_mb=self.gpu[0] if self.running else None,
            gpu_util=self.gpu[1] if self.running else None,
            reason=self.reason or None,
            required=not self.spec.on_demand and not self.spec.optional,
            metrics=self.metrics if self.running else {},
            histograms=self.histograms if self.running else {},
            chain=self.chain if self.running else [],
            address=self.address if self.running else None,
        )
