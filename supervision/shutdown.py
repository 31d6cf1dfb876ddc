"""The end: the broker drains (another one ends its sessions if it could not), the stages finish, or are killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from configs import logs
from configs.schema import Supervisor
from supervision import policy
from supervision.child import Child
from supervision.console import Console
from supervision.farewell import Farewell
from supervision.notify import Notifier
from supervision.policy import State


class Shutdown:
    """Ends all children, the broker first; each has its part of ``supervisor.stop_s``.

    Args:
        children: by instance, the broker among them.
        farewell: whether the sessions have been told.
        console: the terminal's.
        start_last: starts a broker that only ends the sessions that are left.
        kill: ends a child that hangs, for the reason given.
    """

    def __init__(
        self,
        children: Mapping[str, Child],
        farewell: Farewell,
        notifier: Notifier,
        console: Console,
        *,
        start_last: Callable[[], None],
        kill: Callable[[Child, str], None],
    ) -> None:
        self._children = children
        self._broker = next(child for child in children.values() if child.spec.is_broker)
        self._farewell = farewell
        self._start_last = start_last
        self._kill = kill
        self._notifier = notifier
        self._console = console
        self._log = logs.get()
        self._since: float | None = None
        self._told = (0.0, 0)
        """When the broker was told to end, and how often it had said by then that it serves."""
        self._manager_told = self._stages_told = False
        self._killed_all = False
        self.exit_code = 0
        """The daemon's, of the first reason to stop."""

    @property
    def begun(self) -> bool:
        """Whether nothing is to be started any more."""
        return self._since is not None

    @property
    def over(self) -> bool:
        """Whether no process is left."""
        if self._since is None:
            return False
        return not any(c.running or c.state is State.REAPING for c in self._children.values())

    @property
    def unheard(self) -> bool:
        """Whether sessions are left that nobody has been told the end of."""
        return self._farewell.failed

    def begin(self, code: int, *, again: bool = False) -> None:
        """Begin to stop.

        Args:
            code: the daemon's exit code.
            again: it was asked for a second time, which kills at once.
        """
        if self._since is not None:
            if again and not self._killed_all:
                self._log.warning("daemon.killing", reason="second signal")
                self.kill_everything()
            return
        self._since = time.monotonic()
        self.exit_code = code
        self._log.info("daemon.stopping", code=code)
        self._tell_manager()
        if code == 0:
            self._console.stopping()
        for child in self._children.values():
            if child.state in (State.BACKOFF, State.FENCING):
                child.enter(State.STOPPED)
        self._broker.end()
        self._told = time.monotonic(), self._broker.vitals.ready_beats
        if self._broker.state is State.STOPPED:
            self.broker_ended(None)

    def _tell_manager(self) -> None:
        """Once; again where it had no room for it."""
        if not self._manager_told:
            self._manager_told = self._notifier.send("STOPPING=1", "STATUS=stopping")

    def broker_ended(self, code: int | None) -> None:
        """The broker has ended with this code: let another one end the sessions that are left if it could not.

        Args:
            code: None: there was none when the end began.
        """
        self._farewell.ended(code)
        if not self._killed_all and self._farewell.another():
            self._start_last()
            self._broker.commanded = True
            self._end_stages()  # which it does not need, and which have to be gone in time, too

    def deadline(self, settings: Supervisor) -> float:
        """Until when the present part may take, by the monotonic clock; only once begun."""
        assert self._since is not None
        return self._since + (settings.stop_s if self._stages_told else policy.broker_stop_s(settings))

    def step(self, now: float, settings: Supervisor) -> None:
        """What comes next, once it has begun: the broker drains, then the stages end."""
        assert self._since is not None
        self._tell_manager()
        late = now >= self.deadline(settings)
        if not self._stages_told and (late or not self._broker.running):
            if self._broker.process is not None:
                self._log.error("broker.undrained", limit_s=policy.broker_stop_s(settings))
                self._broker.process.kill_group()
            self._end_stages()
        elif self._stages_told and late and not self._killed_all:
            self.kill_everything()
        elif not self._stages_told and policy.deaf(*self._told, self._broker.vitals, settings.beat_s):
            self._kill(self._broker, "goes on as if it had not been told to stop")

    def _end_stages(self) -> None:
        self._stages_told = True
        for child in self._children.values():
            if not child.spec.is_broker:
                child.end()

    def kill_everything(self) -> None:
        """SIGKILL to every group."""
        self._killed_all = True
        for child in self._children.values():
            if child.process is not None:
                if self._since is not None:
                    self._log.warning("child.killed", child=child.spec.instance, state=child.state.value)
                child.commanded = True
                child.process.kill_group()
