"""Several sessions speaking at once in real time: late segments, ``health`` meanwhile, CPU of every process."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from benchmarks._common import cpu_s, percentile, report
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.client import Client
from configs.grid import FPS
from tests.support.processes import descendants

TEXT = (
    "This is session number {n}, and it speaks for as long as the measurement lasts. "
    "It tells of the weather on the coast, of the wind and of the waves. "
    "Sometimes it pauses for a moment, and then it goes on as if nothing had happened. "
)
HEALTH_EVERY_S = 0.05
HEALTH_P99_MS = 20


class Watch:
    """What one session's listener sees."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.segments = 0
        self.degraded = 0
        self.ahead: list[int] = []
        """By each segment: what had been sent and not yet shown by the session's clock, microseconds."""
        self._anchor: tuple[int, int] | None = None
        self._end = 0

    def receive(self, timeout_s: float) -> bool:
        """Take the next message; False when none comes within ``timeout_s``."""
        message = self.session.follower.receive(timeout_s)
        if message is None:
            return False
        header = message.header
        if header.get("kind") == "media":
            self.segments += 1
            self.degraded += header["degraded"] is not None
            self._look(header["pts"], header["dur"], header["sent_ns"] // 1000)
        elif header.get("event") in ("turn.ended", "turn.failed", "turn.interrupted"):
            raise RuntimeError(f"session {self.session.id} stopped speaking too early: {header}")
        return True

    def _look(self, pts: int, dur: int, at: int) -> None:
        clock = None if self._anchor is None else self._anchor[0] + at - self._anchor[1]
        if clock is None or clock >= self._end:
            self._anchor, clock = (pts, at), pts
        self._end = pts + dur
        self.ahead.append(self._end - clock)


def _measure(client: Client, watches: list[Watch], seconds: float) -> list[float]:
    """``health`` round trips in ms while the sessions speak."""
    trips = []
    start = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        client.request("health")
        trips.append((time.monotonic() - now) * 1000)
        for watch in watches:
            while watch.receive(0.0):
                pass
        due = start + len(trips) * HEALTH_EVERY_S
        watches[len(trips) % len(watches)].receive(max(0.0, due - time.monotonic()))
    return trips


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--template", default="default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with private_daemon(None, []) as client, contextlib.ExitStack() as stack:
        status = client.request("status")
        names = {row["pid"]: row["instance"] for row in status["stages"] if row["pid"]}
        pids = descendants(status["supervisor_pid"]) | {status["supervisor_pid"]}
        watches = [
            Watch(stack.enter_context(own_session(client, template_id=options.template)))
            for _ in range(options.sessions)
        ]
        for n, watch in enumerate(watches):
            text = TEXT.format(n=n)
            watch.session.request("say", text=text * (int(options.seconds * 25) // len(text) + 1))
        before = {pid: cpu_s(pid) for pid in pids}
        began = time.monotonic()
        trips = _measure(client, watches, options.seconds)
        elapsed = time.monotonic() - began
        # `prepare` ends by itself when it has had nothing to do for a minute.
        used = {pid: cpu_s(pid) - before[pid] for pid in pids if Path(f"/proc/{pid}").exists()}
        ends = [watch.session.request("end_session", drain=False) for watch in watches]
    late = sum(end["late"] for end in ends)
    segments = sum(end["segments"] for end in ends)
    media_s = sum(end["media_us"] for end in ends) / 1e6
    degraded_s = sum(end["degraded_us"] for end in ends) / 1e6
    p50, p99 = percentile(trips, 0.5), percentile(trips, 0.99)
    ahead = [value / 1000 for watch in watches for value in watch.ahead]
    cpu = {names.get(pid, "supervisor"): round(100 * value / elapsed, 1) for pid, value in used.items()}
    frames = max(1, round(media_s * FPS))
    per_frame = {
        stage: round(1000 * sum(v for pid, v in used.items() if names.get(pid, "").startswith(stage)) / frames, 2)
        for stage in ("lipsync", "encode")
    }
    found = {
        "sessions": options.sessions,
        "seconds": options.seconds,
        "late": late,
        "segments": segments,
        "media_s": round(media_s, 1),
        "degraded_s": round(degraded_s, 2),
        "ahead_p50_ms": round(percentile(ahead, 0.5)),
        "ahead_max_ms": round(max(ahead)),
        "health_p50_ms": round(p50, 2),
        "health_p99_ms": round(p99, 2),
        "cpu_ms_per_frame": per_frame,
        "cpu_percent": cpu,
    }
    rows = [
        (f"{options.sessions} sessions, {options.seconds:.0f} s: late segments", f"{late} of {segments}", "0"),
        ("media published", f"{media_s:.0f} s", ""),
        ("of it degraded", f"{degraded_s:.1f} s", "0"),
        ("delivered ahead of the clock, p50", f"{percentile(ahead, 0.5):.0f} ms", ""),
        ("delivered ahead of the clock, max", f"{max(ahead):.0f} ms", ""),
        ("health meanwhile, p50", f"{p50:.1f} ms", ""),
        ("health meanwhile, p99", f"{p99:.1f} ms", f"{HEALTH_P99_MS} ms"),
        *((f"{stage} per frame", f"{value:.2f} CPU-ms", "") for stage, value in per_frame.items()),
        *((f"CPU of {name}", f"{value:.1f} %", "") for name, value in sorted(cpu.items()) if value >= 0.1),
        ("CPU of all", f"{sum(cpu.values()):.0f} %", ""),
    ]
    report(found, rows, options.json)
    return 0 if late == 0 and p99 <= HEALTH_P99_MS else 1


if __name__ == "__main__":
    sys.exit(main())
