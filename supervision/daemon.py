"""The supervisor: one loop over pidfds, beats, signals and deadlines. It loads no model and opens no port.

A death is acted upon by the kernel's event: sweep the process group, tell the broker (``Down``), wait until it
has fenced the dead incarnation off (``Fenced``), back off, announce the next epoch (``Up``), spawn. A hang is
found by silence or by an item without progress, and ends in the same way after a dump of its stacks.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Sequence

import zmq

from broker.ipc import guards
from broker.ipc.messages import Beat, Demand, Down, Fenced, Message, Report, Rest, Resume, Up
from configs import logs
from configs.schema import Config
from configs.stages import OPTIONAL, STAND_INS
from models import engines
from stages import recorder
from supervision import policy
from supervision.child import Child
from supervision.console import Console
from supervision.environment import ChildEnvironment
from supervision.farewell import LAST_WORDS, Farewell
from supervision.line import Line
from supervision.notify import Notifier
from supervision.policy import LIVE, State
from supervision.process import become_reaper, describe, sweep
from supervision.readiness import Readiness
from supervision.reload import Reloader
from supervision.shutdown import Shutdown
from supervision.specs import Spec
from supervision.wakeup import signal_pipe

EXIT_FATAL = 70
EXIT_CONFIG = 78
DUMP_S = 0.5
"""From SIGUSR1 to SIGKILL: for the stacks to be written."""
SWEEP_S = 0.05
"""Between two looks at a process group that is not yet empty."""
SWEEP_LIMIT_S = 5.0
"""After this a process that cannot be killed (a driver holds it) is left behind, with an error in the log."""
REPORT_S = 1.0
"""Between two reports to the broker when nothing changes."""
CHANGE_S = 0.1
"""Least time between two reports."""
STALL_BEATS = 2
"""The supervisor's own loop being late by this many beats voids all silence measured meanwhile."""


class Supervisor:
    """Keeps ``specs`` running until told to stop.

    Args:
        config: resolved; ``runtime_dir`` is locked by the caller.
        specs: the broker first, then the stages in their order of start.
        console: the terminal's.
        warnings: what the daemon was started without, for ``health`` and ``status``.
        reloader: asked at SIGHUP under a service manager.
    """

    def __init__(
        self,
        config: Config,
        specs: Sequence[Spec],
        notifier: Notifier,
        console: Console,
        warnings: Sequence[str] = (),
        reloader: Reloader | None = None,
    ) -> None:
        self._config = config
        self._warnings = list(warnings)
        self._reloader = reloader if notifier.managed else None
        self._settings = config.supervisor
        self._log = logs.get()
        self._notifier = notifier
        self._console = console
        self._readiness = Readiness(config, notifier, console)
        self.cause = ""
        """Why ``run`` ended with another code than 0."""
        passed = [*self._settings.pass_environment, *engines.variables(config)]
        environment = ChildEnvironment(config.runtime_dir, passed).of
        self._children = {
            spec.instance: Child(spec, self._settings, time.monotonic, environment) for spec in specs
        }
        self._broker = next(child for child in self._children.values() if child.spec.is_broker)
        self._line = Line(config.runtime_dir)
        self._poller = zmq.Poller()
        self._by_fd: dict[int, Child] = {}
        self._begun = self._awake_at = time.monotonic()
        self._dirty = True
        self._reported = 0.0
        self._signals = self._hangups = 0
        self._shutdown = Shutdown(
            self._children,
            Farewell(config.runtime_dir),
            notifier,
            console,
            start_last=lambda: self._start(self._broker, LAST_WORDS),
            kill=self._kill,
        )

    # --- the loop ---

    def run(self) -> int:
        """Supervise; returns the daemon's exit code. Main thread only (signals, spawning)."""
        become_reaper()
        stop = dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._on_stop_signal)
        with signal_pipe({**stop, signal.SIGHUP: self._on_hangup}) as pipe:
            self._poller.register(self._line.health, zmq.POLLIN)
            self._poller.register(pipe.fileno(), select.POLLIN)
            try:
                for child in self._children.values():
                    if not child.spec.on_demand:
                        self._start(child)
                while not self._shutdown.over:
                    self._turn(pipe)
            finally:
                self._shutdown.kill_everything()
                self._line.close()
        code = self._shutdown.exit_code
        if self._shutdown.unheard and code == 0:
            code = EXIT_FATAL
            self.cause = "the broker was killed before it had ended its sessions; its last log lines say more"
        self._log.info("daemon.stopped", code=code, seconds=round(self._uptime(), 1))
        return code

    def _turn(self, pipe: socket.socket) -> None:
        due = self._next_deadline()
        timeout = max(0.0, due - time.monotonic())
        ready = dict(self._poller.poll(int(timeout * 1000) + 1))
        self._forgive_stall(timeout)
        if pipe.fileno() in ready:
            pipe.recv(4096)
        for message in self._line.heard():
            self._hear(message)
        for fd in [fd for fd in ready if isinstance(fd, int) and fd in self._by_fd]:
            self._ended(self._by_fd[fd])
        now = time.monotonic()
        for child in self._children.values():
            self._look(child, now)
        if self._hangups and self._reloader is not None:
            self._reload(self._reloader)
        if self._signals:
            self._shutdown.begin(0, again=self._signals > 1)
        if self._shutdown.begun:
            self._shutdown.step(now, self._settings)
        self._report(now)

    def _next_deadline(self) -> float:
        due = self._reported + (CHANGE_S if self._dirty else REPORT_S)
        if self._notifier.watchdog_s:
            due = min(due, self._reported + self._notifier.watchdog_s / 3)
        for child in self._children.values():
            if child.deadline is not None:
                due = min(due, child.deadline)
            if child.state in LIVE and (not self._shutdown.begun or child.spec.is_broker):
                due = min(due, policy.next_look(child.vitals, child.spec.limits))
        if self._shutdown.begun:
            due = min(due, self._shutdown.deadline(self._settings), self._reported + 2 * CHANGE_S)
        return due

    def _forgive_stall(self, timeout: float) -> None:
        now = time.monotonic()
        late = now - self._awake_at - timeout
        self._awake_at = now
        if late > STALL_BEATS * self._settings.beat_s:
            self._log.warning("supervisor.stalled", seconds=round(late, 1))
            for child in self._children.values():
                policy.forgive(now, child.vitals, child.spec.limits)

    def _on_stop_signal(self, *_: object) -> None:
        self._signals += 1

    def _on_hangup(self, *_: object) -> None:
        """Under a service manager: the configuration has changed. Elsewhere the terminal has been closed."""
        if self._reloader is None:
            self._signals += 1
        else:
            self._hangups += 1

    def _reload(self, reloader: Reloader) -> None:
        self._hangups = 0
        self._settings = settings = reloader.settings()
        for child in self._children.values():
            child.policy.adopt(settings.backoff_s, settings.intensity, settings.window_s)

    # --- births ---

    def _start(self, child: Child, *arguments: str) -> None:
        """Announce and spawn the next incarnation."""
        child.epoch += 1
        if child.spec.is_broker:
            self._line.open_broker()
            for other in self._children.values():
                if other.running and other.spec.is_worker:
                    self._line.tell(Up(instance=other.spec.instance, epoch=other.epoch, stage=other.spec.stage))
        elif child.spec.is_worker:
            self._tell_broker(Up(instance=child.spec.instance, epoch=child.epoch, stage=child.spec.stage))
        try:
            child.spawn(*arguments)
        except OSError as error:
            self._log.error("child.not_spawned", child=child.spec.instance, reason=str(error))
            child.reason = f"could not be started: {error}"
            self._after_death(child)
            return
        assert child.process is not None
        name, pid = child.spec.instance, child.process.pid
        self._log.info("child.spawned", child=name, child_epoch=child.epoch, child_pid=pid)
        self._by_fd[child.process.pidfd] = child
        self._poller.register(child.process.pidfd, select.POLLIN)
        self._dirty = True

    # --- news ---

    def _hear(self, message: Message) -> None:
        if isinstance(message, Beat):
            child = self._children.get(message.src)
            if child is not None and child.running and child.epoch == message.ep:
                self._dirty |= child.hear(message, time.monotonic())
        elif isinstance(message, Fenced):
            child = self._children.get(message.instance)
            if child is not None and child.epoch == message.epoch and child.state is State.FENCING:
                self._after_fence(child)
        elif isinstance(message, Demand):
            self._demand(message.stage)
        elif isinstance(message, Rest | Resume):
            child = self._children.get(message.instance)
            if child is not None and not child.spec.is_broker and not self._shutdown.begun:
                self._rest(child) if isinstance(message, Rest) else self._resume(child)
        else:
            self._log.warning("health.unknown", type=type(message).__name__)

    def _demand(self, stage: str) -> None:
        """The broker has work for a stage on demand."""
        now = time.monotonic()
        for child in self._children.values():
            if child.spec.stage != stage or not child.spec.on_demand or self._shutdown.begun:
                continue
            child.wanted = True
            if child.state is State.FATAL and now - child.vitals.state_since >= self._settings.window_s:
                child.policy.forget()  # nobody restarts a daemon for what may have been one bad source
                child.enter(State.STOPPED)
            if child.state is State.STOPPED and not child.resting:
                self._start(child)

    def _rest(self, child: Child) -> None:
        """An operator has taken it out of service, and it holds nothing any more."""
        if child.resting:
            return
        child.resting = self._dirty = True
        self._log.info("child.resting", child=child.spec.instance)
        if child.state is State.BACKOFF:
            child.enter(State.STOPPED)
        child.end()

    def _resume(self, child: Child) -> None:
        """It is wanted again, also one that was given up; what it has failed at before does not count."""
        if not child.resting and child.state is not State.FATAL:
            return
        child.resting, self._dirty = False, True
        self._log.info("child.resumed", child=child.spec.instance)
        child.policy.forget()
        if child.state is State.FATAL:
            child.enter(State.STOPPED)
        if child.state is State.STOPPED and child.needed:
            self._start(child)

    # --- deaths ---

    def _ended(self, child: Child) -> None:
        """The kernel says that the process has ended."""
        process = child.process
        assert process is not None
        self._poller.unregister(process.pidfd)
        del self._by_fd[process.pidfd]
        child.exit_code = process.reap()
        child.process = None
        how = describe(child.exit_code)
        if child.state is State.KILLING:
            reason = f"{child.reason} ({how})"
        else:
            reason = f"{how}: {child.error}" if child.error else how
        child.commanded |= child.spec.on_demand and child.exit_code == 0
        stacks = guards.take_stacks(self._config.runtime_dir, child.spec.instance, child.epoch)
        if stacks:
            self._log.error("child.stacks", child=child.spec.instance, child_epoch=child.epoch, stacks=stacks)
        self._log.log(
            20 if child.commanded else 40,  # info, error
            "child.exited",
            child=child.spec.instance,
            child_epoch=child.epoch,
            code=child.exit_code,
            reason=reason,
            lived_s=round(time.monotonic() - child.vitals.spawned, 2),
        )
        child.reason = reason
        self._after_death(child)

    def _after_death(self, child: Child) -> None:
        child.enter(State.REAPING, deadline=time.monotonic())
        self._dirty = True
        self._sweep(child, time.monotonic())

    def _sweep(self, child: Child, now: float) -> None:
        """Go on once nothing is left of the dead process's group."""
        known = {c.process.pid for c in self._children.values() if c.process is not None}
        if child.group and not sweep(child.group, known):
            if now - child.vitals.state_since < SWEEP_LIMIT_S:
                child.deadline = now + SWEEP_S
                return
            self._log.error("group.undead", child=child.spec.instance, group=child.group)
        child.group = 0
        if child.spec.is_broker:
            self._broker_died(child)
            return
        if not child.spec.is_worker:
            self._after_fence(child)
            return
        notes = recorder.path_of(self._config.runtime_dir, child.spec.instance, child.epoch)
        down = Down(
            instance=child.spec.instance,
            epoch=child.epoch,
            reason=child.reason,
            commanded=child.commanded,
            in_hand=recorder.read(notes),
        )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(notes)
        if self._broker.running and self._tell_broker(down) and not self._shutdown.begun:
            child.enter(State.FENCING, deadline=now + self._settings.fence_s)
        else:
            self._after_fence(child)

    def _broker_died(self, broker: Child) -> None:
        """Its successor knows only the incarnations that are named to it: what it had to fence is fenced."""
        self._line.close_broker()
        for child in self._children.values():
            if child.state is State.FENCING:
                self._after_fence(child)
        self._after_fence(broker)

    def _after_fence(self, child: Child) -> None:
        """Nothing of the dead incarnation can be heard any more: what next?"""
        now = time.monotonic()
        self._dirty = True
        if self._shutdown.begun:
            child.enter(State.STOPPED)
            if child.spec.is_broker:
                self._shutdown.broker_ended(child.exit_code)
        elif child.commanded or child.resting:
            child.enter(State.STOPPED)
            if child.needed:
                self._start(child)
        elif child.exit_code in (EXIT_CONFIG, guards.DEVICE_GONE):
            self._give_up(child, child.reason)
        else:
            wait = child.policy.ended(now, now - child.vitals.spawned, ready=child.vitals.ready)
            if wait is None:
                settings = self._settings
                never = child.policy.never_ready
                when = "before it was ever ready" if never else f"within {settings.window_s:g} s"
                self._give_up(
                    child, f"more than {settings.intensity} unexpected ends {when}, the last: {child.reason}"
                )
            else:
                child.enter(State.BACKOFF, deadline=now + wait)

    def _give_up(self, child: Child, reason: str) -> None:
        child.enter(State.FATAL, reason=reason)
        self._log.error("child.fatal", child=child.spec.instance, reason=reason)
        if child.spec.stage in OPTIONAL or child.spec.optional:
            return
        stages = {child.spec.stage, STAND_INS.get(child.spec.stage)}
        twins = [other for other in self._children.values() if other.spec.stage in stages]
        if all(twin.state is State.FATAL for twin in twins):
            self._log.error("daemon.fatal", stage=child.spec.stage, reason=reason)
            self.cause = f"{child.spec.instance} was given up: {reason}"
            if not child.error:
                self.cause += f". The log's lines of {child.spec.instance} say more"
            self._shutdown.begin(EXIT_CONFIG if child.exit_code == EXIT_CONFIG else EXIT_FATAL)

    # --- deadlines and hangs ---

    def _look(self, child: Child, now: float) -> None:
        """Act on what time alone has changed."""
        if child.state in LIVE and (not self._shutdown.begun or child.spec.is_broker):
            why = policy.verdict(now, child.vitals, child.spec.limits)
            if why is not None:
                self._kill(child, why)
        if child.deadline is None or now < child.deadline:
            return
        if child.state is State.KILLING and child.process is not None:
            child.deadline = None
            child.process.kill_group()
        elif child.state is State.REAPING:
            self._sweep(child, now)
        elif child.state is State.FENCING:
            child.deadline = None
            self._kill(self._broker, f"did not fence {child.spec.instance} within {self._settings.fence_s:g} s")
        elif child.state is State.BACKOFF and (child.spec.is_broker or self._broker.running):
            child.restarts += 1
            self._start(child)
        elif child.state is State.BACKOFF:
            child.deadline = self._broker.deadline  # after the broker

    def _kill(self, child: Child, why: str) -> None:
        """The ladder: stacks (from a child that can answer), then SIGKILL to its group."""
        if child.state not in LIVE or child.process is None:
            return
        self._log.error("child.hung", child=child.spec.instance, child_epoch=child.epoch, reason=why)
        child.enter(State.KILLING, reason=why, deadline=time.monotonic() + (DUMP_S if child.vitals.heard else 0))
        if child.vitals.heard:
            child.process.signal(signal.SIGUSR1)
        self._dirty = True

    def _tell_broker(self, message: Message) -> bool:
        told = self._line.tell(message)
        if not told and self._broker.running:
            self._kill(self._broker, f"does not read: {type(message).__name__} could not be delivered")
        return told

    # --- telling others ---

    def _report(self, now: float) -> None:
        """To the broker and to systemd, at changes and once a second."""
        due = self._reported + (CHANGE_S if self._dirty else self._report_every())
        if now < due:
            return
        self._reported, self._dirty = now, False
        rows = [child.row() for child in self._children.values()]
        self._line.tell(Report(supervisor_pid=os.getpid(), rows=rows, warnings=self._warnings))
        if self._notifier.watchdog_s:
            self._notifier.send("WATCHDOG=1")
        if not self._shutdown.begun:
            self._readiness.tell(self._children.values(), self._uptime())

    def _report_every(self) -> float:
        return min(REPORT_S, (self._notifier.watchdog_s or REPORT_S * 3) / 3)

    def _uptime(self) -> float:
        return time.monotonic() - self._begun
