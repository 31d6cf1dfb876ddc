"""Children as the kernel sees them: spawn, signal, reap, and leave nothing of them behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def become_reaper() -> None:
    """Adopt the orphans of our children, so that whatever a stage started can be found and ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        print(f"prctl(PR_SET_CHILD_SUBREAPER): errno {ctypes.get_errno()}", file=sys.stderr)


class Process:
    """One running child: its own session, stdin a pipe whose end tells it that we are gone."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Spawn by exec; to be called from the main thread, whose end the child's guard watches.

        Raises:
            OSError: no such program, no memory, too many processes or open files; nothing is left running.
        """
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, env=env, start_new_session=True)
        self.pid = self._popen.pid
        try:
            self.pidfd = os.pidfd_open(self.pid)
        except OSError:  # nobody would ever hear of its end
            self.kill_group()
            self._popen.wait()
            self.close_stdin()
            raise

    def signal(self, number: int) -> None:
        """To the child alone."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def kill_group(self) -> None:
        """SIGKILL to the child and all of its group; a stopped process dies of it too."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def close_stdin(self) -> None:
        """Nobody waits for its results any more."""
        if self._popen.stdin is not None and not self._popen.stdin.closed:
            self._popen.stdin.close()

    def reap(self) -> int:
        """The exit status of a child whose pidfd has become readable; negative: the signal."""
        code = self._popen.wait()
        os.close(self.pidfd)
        self.close_stdin()
        return code

    @property
    def rss_mb(self) -> float | None:
        """Resident memory."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return None
        return round(pages * PAGE_BYTES / 1e6, 1)


def sweep(group: int, known: Collection[int]) -> bool:
    """End what a dead child has left behind: members of its group, and descendants that left the group.

    Args:
        group: the dead child's process group.
        known: pids of the children that live on.

    Returns:
        Whether nothing is left.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    for pid in _strangers(known):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    if _strangers(known):
        return False
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def _strangers(known: Collection[int]) -> list[int]:
    """Our children that we did not start: orphans of our own, which the kernel has handed to us.

    They are told from anything else in this process by their session, which is not ours.
    """
    session = os.getsid(0)
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text()
        except FileNotFoundError:  # a kernel without the list: the process group alone has to do
            continue
        for pid in map(int, children.split()):
            with contextlib.suppress(ProcessLookupError):
                if pid not in known and os.getsid(pid) != session:
                    found.append(pid)
    return found


def describe(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
