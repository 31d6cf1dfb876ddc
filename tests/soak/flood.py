"""Many clients that ask for far more than can be spoken, beside one that behaves.

What must hold: every request is answered, those that are refused with a ``retry_after_ms``; the memory of every
process stays bounded; what is accepted from the client that behaves is spoken whole, with its lips, on time; and
when the others have gone, it is served at once. ``python -m tests.soak.flood``: against a daemon of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import zmq

from benchmarks.machine import describe
from tests.support.client import Control, Session, Stranger
from tests.support.daemon import Daemon
from tests.support.limits import REPLY_S, WORK_S
from tests.support.processes import anonymous_bytes

CLIENTS = 50
ASK_EVERY_S = 0.25
"""Of each client: 50 of them ask for 200 turns of four seconds in each second."""
OUTSTANDING = 8
TEXT = "Whoever asks for more than there is, again and again, is told when to come back, and harms nobody."
POLITE = "One client asks once, and waits."
GROWTH_BYTES = 200_000_000
"""Of a process, however few sessions speak: a network takes 130 MB for its first long sentences."""
SESSION_BYTES = 5_000_000
"""Of a session that speaks, at most: 3 s of crops (1.1 MB each) and 10 s of sound are made ahead of its clock."""
RECOVERY_S = 5.0


@dataclass(slots=True)
class Report:
    """What was seen; ``problems`` where something does not hold."""

    asked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Of the flood, by code."""
    turns: int = 0
    """Of the client that behaves, from first to last segment."""
    waited_s: list[float] = field(default_factory=list)
    """How long each of its turns was refused."""
    late: int = 0
    shut: int = 0
    """Segments of it with the template's own mouth."""
    grown_mb: dict[str, float] = field(default_factory=dict)
    recovery_s: float = 0.0
    problems: list[str] = field(default_factory=list)


class _Client:
    """One that asks without end: nothing is waited for, everything that is answered is counted."""

    def __init__(self, stranger: Stranger, sid: str, report: Report) -> None:
        self.control: Control = stranger.another_control()
        self._sid, self._report = sid, report
        self._outstanding = 0
        self._number = 0
        self._next = 0.0
        self.send("start_session", idle="none")

    def send(self, op: str, **arguments: Any) -> None:
        self._number += 1
        self._outstanding += 1
        body = {"v": 1, "id": self._number, "op": op, "session_id": self._sid, **arguments}
        self.control.socket.send(msgpack.packb(body))

    def ask(self, now: float) -> None:
        """Once more, when it is time."""
        if now >= self._next and self._outstanding < OUTSTANDING:
            self._next = now + ASK_EVERY_S
            self._report.asked += 1
            self.send("say", text=TEXT)

    def read(self) -> None:
        """One reply."""
        reply = msgpack.unpackb(self.control.socket.recv())
        self._outstanding -= 1
        if not reply["ok"]:
            error = reply["error"]
            self._report.refused[error["code"]] += 1
            if error["code"] == "BUSY" and not error.get("retry_after_ms", 0) > 0:
                self._report.problems.append(f"BUSY without a time: {error}")

    @property
    def waiting(self) -> bool:
        """Whether something has no answer yet."""
        return self._outstanding > 0


def _drive(clients: list[_Client], until: threading.Event) -> None:
    """All of them in one thread: on two cores the load must not be what is measured."""
    poller = zmq.Poller()
    owners = {one.control.socket: one for one in clients}
    for socket in owners:
        poller.register(socket, zmq.POLLIN)
    while not until.is_set():
        for socket, _ in poller.poll(20):
            owners[socket].read()
        now = time.monotonic()
        for one in clients:
            one.ask(now)
    deadline = time.monotonic() + WORK_S
    for one in clients:
        one.send("end_session", drain=False)
        while one.waiting and one.control.socket.poll(max(0, int(1000 * (deadline - time.monotonic())))):
            one.read()


def _say(session: Session, report: Report, limit_s: float) -> int | None:
    """Ask as one is told to: again after the time that a refusal names; the turn, or None after so long."""
    began = time.monotonic()
    while True:
        reply = session.control.call("say", session_id=session.sid, text=POLITE)
        waited = time.monotonic() - began
        if reply["ok"]:
            report.waited_s.append(round(waited, 2))
            return int(reply["turn"])
        if reply["error"]["code"] != "BUSY" or waited > limit_s:
            report.problems.append(f"refused after {waited:.1f} s: {reply['error']}")
            return None
        time.sleep(reply["error"]["retry_after_ms"] / 1000)


def _speak(session: Session, report: Report, limit_s: float) -> None:
    turn = _say(session, report, limit_s)
    if turn is None:
        return
    end = session.wait_ended(turn)
    if end["event"] != "turn.ended":
        report.problems.append(f"a turn that was accepted ended with {end}")
    report.shut += sum(m.header["degraded"] == "audio_only" for m in session.of_turn(turn))
    report.turns += 1


def flood(
    control: str, stream: str, pids: dict[str, int], seconds: float, clients: int = CLIENTS, refusals: int = 1
) -> Report:
    """Let ``clients`` ask for so long, and until it was too much: so often at least somebody was refused.

    Args:
        pids: of the processes whose memory is bounded, by name.
    """
    report = Report()
    polite, many = Stranger(control, stream), Stranger(control, stream)
    session = polite.session(idle="none")
    _speak(session, report, WORK_S)
    before = {name: anonymous_bytes(pid) for name, pid in pids.items()}
    most = dict(before)
    tag = random.randrange(1 << 30)
    crowd = [_Client(many, f"flood-{tag}-{number}", report) for number in range(clients)]
    over = threading.Event()
    driver = threading.Thread(target=_drive, args=(crowd, over), daemon=True)
    driver.start()
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until or (report.refused["BUSY"] < refusals and now < until + WORK_S):
        _speak(session, report, WORK_S)
        for name, pid in pids.items():
            most[name] = max(most[name], anonymous_bytes(pid))
    over.set()
    driver.join(WORK_S + REPLY_S)
    if driver.is_alive() or any(one.waiting for one in crowd):
        report.problems.append("the flood has requests that are not answered")
    began = time.monotonic()
    _say(session, report, WORK_S)
    report.recovery_s = round(time.monotonic() - began, 2)
    report.late = session.end(drain=True)["late"]
    report.grown_mb = {name: round((most[name] - before[name]) / 1e6, 1) for name in pids}
    for name, pid in pids.items():
        if most[name] - before[name] > max(GROWTH_BYTES, SESSION_BYTES * (clients + 1)):
            report.problems.append(f"{name} has grown by {report.grown_mb[name]} MB")
        if not anonymous_bytes(pid):
            report.problems.append(f"{name} (process {pid}) is gone")
    if report.refused["BUSY"] < refusals:
        report.problems.append("nobody was refused: it was no flood")
    if set(report.refused) - {"BUSY"}:
        report.problems.append(f"refused with other codes than BUSY: {dict(report.refused)}")
    polite.close(end=False)
    many.close(end=False)
    return report


def processes(stranger: Stranger) -> dict[str, int]:
    """Process ids of what serves, by instance; not of ``prepare``, which comes and goes."""
    stages = stranger.control.ok("status")["stages"]
    return {row["instance"]: row["pid"] for row in stages if row["stage"] != "prepare"}


def main() -> int:
    """Print what was seen; 1 when something does not hold; what is a matter of time is judged here alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="mc-flood-", dir="/tmp"))
    daemon = Daemon(state)
    try:
        daemon.wait_healthy()
        stranger = Stranger(daemon.control, daemon.stream)
        report = flood(daemon.control, daemon.stream, processes(stranger), options.seconds, options.clients)
        stranger.close()
    finally:
        daemon.stop()
        daemon.remove()
        shutil.rmtree(state, ignore_errors=True)
    if report.recovery_s > RECOVERY_S:
        report.problems.append(f"served again {report.recovery_s} s after the flood; {RECOVERY_S} are allowed")
    if report.late or report.shut:
        report.problems.append(
            f"of the client that behaves {report.late} segments were late, {report.shut} with a shut mouth"
        )
    print(describe())
    print(json.dumps({name: getattr(report, name) for name in report.__slots__}, indent=1))
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
