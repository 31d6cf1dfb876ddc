"""System calls of a whole tree of processes, refused or watched by the kernel (seccomp(2)); no root needed.

``Watch`` notes every socket that is made and every address that is connected to, by whatever library and in
whatever descendant: the kernel holds each such call until this process has seen it and lets it go on.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import ipaddress
import os
import platform
import select
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ARCHITECTURES = {
    "x86_64": (0xC000003E, 317, 41, 42),
    "aarch64": (0xC00000B7, 277, 198, 203),
}
"""Machine -> its audit number, and its numbers of seccomp, socket and connect."""
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
_NR, _ARCH, _ARGUMENT_0 = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERRNO, _NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
_NEW_LISTENER = 1 << 3
_NOTIF_RECV, _NOTIF_SEND = 0xC0502100, 0xC0182101
_CONTINUE = 1
_NO_NEW_PRIVS = 38

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def available() -> bool:
    """Whether this machine's numbers are known and its kernel can hand calls to another process."""
    try:
        known = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError:
        return False
    return platform.machine() in _ARCHITECTURES and "user_notif" in known


def restrict_families(families: Sequence[int]) -> None:
    """Have ``socket`` fail with EAFNOSUPPORT for all other families, as RestrictAddressFamilies= does."""
    audit, _, socket_nr, _ = _ARCHITECTURES[platform.machine()]
    allowed = [(_EQUAL, len(families) - k, 0, family) for k, family in enumerate(families)]
    _install(
        [
            (_LOAD, 0, 0, _ARCH),
            (_EQUAL, 0, 4 + len(allowed), audit),
            (_LOAD, 0, 0, _NR),
            (_EQUAL, 0, 2 + len(allowed), socket_nr),
            (_LOAD, 0, 0, _ARGUMENT_0),
            *allowed,
            (_RETURN, 0, 0, _ERRNO | 97),  # EAFNOSUPPORT
            (_RETURN, 0, 0, _ALLOW),
        ],
        0,
    )


def _install(program: Sequence[Instruction], flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    number = _ARCHITECTURES[platform.machine()][1]
    made = libc.syscall(number, 1, flags, ctypes.byref(_Program(len(program), ctypes.addressof(code))))
    if made < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(made)


def _watch_and_run(channel: int, command: Sequence[str]) -> None:
    """In the child: hand the listener over, become the command."""
    audit, _, socket_nr, connect_nr = _ARCHITECTURES[platform.machine()]
    with socket.socket(fileno=channel) as end:
        listener = _install(
            [
                (_LOAD, 0, 0, _ARCH),
                (_EQUAL, 0, 3, audit),
                (_LOAD, 0, 0, _NR),
                (_EQUAL, 2, 0, socket_nr),
                (_EQUAL, 1, 0, connect_nr),
                (_RETURN, 0, 0, _ALLOW),
                (_RETURN, 0, 0, _NOTIFY),
            ],
            _NEW_LISTENER,
        )
        end.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.close(listener)
    os.execvp(command[0], list(command))


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``what`` is "socket" with family and type, or "connect" with the address."""

    process: str
    what: str
    family: int
    detail: str

    @property
    def outside(self) -> bool:
        """Whether it could reach past this machine: any datagram or raw internet socket, any other address."""
        if self.family in (socket.AF_UNIX, socket.AF_UNSPEC, socket.AF_NETLINK):
            return False
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return True
        if self.what == "socket":
            return self.detail != "stream"
        return not ipaddress.ip_address(self.detail).is_loopback


class Watch:
    """What the processes below the watched commands do with sockets; ``command`` makes one watched."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._ours, self._theirs = socket.socketpair()
        self._threads: list[threading.Thread] = []

    def command(self, command: Sequence[str]) -> list[str]:
        """What to run instead, with ``pass_fds=watch.pass_fds``; ``started`` is to follow."""
        return [sys.executable, str(Path(__file__)), str(self._theirs.fileno()), *command]

    @property
    def pass_fds(self) -> tuple[int]:
        """For ``subprocess``."""
        return (self._theirs.fileno(),)

    def started(self, timeout_s: float = 60.0) -> None:
        """Begin to watch the process that was just started from ``command``."""
        self._ours.settimeout(timeout_s)
        _, ancillary, _, _ = self._ours.recvmsg(1, socket.CMSG_SPACE(4))
        (listener,) = array.array("i", ancillary[0][2])
        thread = threading.Thread(target=self._follow, args=(listener,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def finish(self, timeout_s: float = 60.0) -> None:
        """Wait until every watched process is gone."""
        for thread in self._threads:
            thread.join(timeout_s)
        self._ours.close()
        self._theirs.close()

    def _follow(self, listener: int) -> None:
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        while not poller.poll()[0][1] & select.POLLHUP:
            notice = bytearray(80)
            with contextlib.suppress(OSError):  # the caller was killed meanwhile
                fcntl.ioctl(listener, _NOTIF_RECV, notice)
                number, pid, _, nr, _, _, first, second, third, *_ = struct.unpack("QIIiIQ6Q", notice)
                with contextlib.suppress(OSError, ValueError):
                    self.calls.append(_read(pid, nr, first, second, third))
                fcntl.ioctl(listener, _NOTIF_SEND, struct.pack("QqiI", number, 0, 0, _CONTINUE))
        os.close(listener)


def _read(pid: int, nr: int, first: int, second: int, third: int) -> Call:
    name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    if nr == _ARCHITECTURES[platform.machine()][2]:
        kind = "stream" if second & 0xF == socket.SOCK_STREAM else f"type {second & 0xF}"
        return Call(name, "socket", first, kind)
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        address = os.pread(memory, min(third, 128), second)
    finally:
        os.close(memory)
    (family,) = struct.unpack_from("H", address)
    if family == socket.AF_INET:
        return Call(name, "connect", family, socket.inet_ntop(family, address[4:8]))
    if family == socket.AF_INET6:
        return Call(name, "connect", family, socket.inet_ntop(family, address[8:24]))
    return Call(name, "connect", family, "")


if __name__ == "__main__":
    _watch_and_run(int(sys.argv[1]), sys.argv[2:])
