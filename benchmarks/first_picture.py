"""Turns on a machine that has other work: shut mouths, the first picture, and pauses inside sentences.

25 turns of 3 to 12 s in each of four combinations: with idle video and without, in a session whose template was
shown before and in the first one of its template since the start (a daemon of its own for each such turn), beside
processes that keep a core busy each. What a viewer sees is computed from ``sent_ns`` by the rules of the media
clock.

Where the kernel groups processes by session (autogroup) or by service (cgroups), the daemon as a whole and the
busy processes get equal shares; where it does not, each process of the daemon competes with them by its own nice
value.

All of it takes a quarter of an hour for each number of hogs. With ``--short`` turns are as many and last 1 to 2 s,
and a quiet machine is waited for once: ``--state warm`` takes two to three minutes then, ``--state cold`` five
to six.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks._common import percentile, report
from clients.cli.private import private_daemon
from clients.cli.session import own_session
from clients.client import Client
from clients.follower import Follower
from configs.grid import QUANTUM_US

SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Nobody has seen it, because it was early in the morning, and everybody was still asleep.",
    "Then it went home.",
    "In the evening it told its family about the dog, the fence, and the long way through the fields.",
)
SHORT = ("Then it went home.", "The fox jumps over the lazy dog.", "Nobody has seen it in the morning.")
COMBINATIONS = tuple(itertools.product(("none", "loop"), ("warm", "cold")))
FIRST_P95_MS = 600
GAP_MS = 200
TURN_TIMEOUT_S = 180.0
HOG = "while True: pass"
QUIET_LOAD = 1.0
SETTLE_S = 60.0


@dataclass
class Seen:
    """What a viewer of some turns has seen, microseconds."""

    first: list[int] = field(default_factory=list)
    media: int = 0
    shut: int = 0
    skipped: int = 0
    inside: list[int] = field(default_factory=list)
    """Pauses before segments that begin no sentence."""
    between: list[int] = field(default_factory=list)


def text_of(turn: int, *, short: bool = False) -> str:
    """3 to 12 s of speech: one to three sentences, another selection each turn; or one sentence of 1 to 2 s."""
    if short:
        return SHORT[turn % len(SHORT)]
    count = 1 + turn % 3
    return " ".join(SENTENCES[(turn + k) % len(SENTENCES)] for k in range(count))


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """Processes at nice 0 that keep a core busy each."""
    made = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(count)]
    try:
        yield
    finally:
        for process in made:
            process.kill()
            process.wait()


def speak(client: Client, template: str, idle: str, text: str, seen: Seen) -> None:
    """One turn on a session of its own."""
    with own_session(client, template_id=template, idle=idle) as session:
        if idle == "loop":
            _receive(session.follower, lambda h: h.get("kind") == "media")
        asked = time.time_ns()
        turn = session.request("say", text=text)["turn"]
        headers = _receive(session.follower, lambda h: h.get("event") == "turn.ended")
        look([h for h in headers if h.get("kind") == "media"], headers, turn, asked, seen)


def _receive(follower: Follower, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The headers up to the first that is wanted."""
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + TURN_TIMEOUT_S
    while time.monotonic() < deadline:
        message = follower.receive(1.0)
        if message is not None:
            found.append(message.header)
            if wanted(message.header):
                return found
    raise TimeoutError(f"the turn has not ended within {TURN_TIMEOUT_S:.0f} s")


def look(
    media: Sequence[dict[str, Any]], headers: Sequence[dict[str, Any]], turn: int, asked_ns: int, seen: Seen
) -> None:
    """Add what a viewer sees of one turn. Idle video in its middle is a pause, too."""
    starts = [h["data"]["pts"] for h in headers if h.get("event") == "sentence"]
    own = [h for h in media if h["turn"] == turn]
    seen.first.append((own[0]["sent_ns"] - asked_ns) // 1000)
    seen.media += sum(h["dur"] for h in own)
    seen.shut += sum(h["dur"] for h in own if h["degraded"] == "audio_only")
    seen.skipped += sum(h["dur"] for h in own if h["degraded"] == "skip")
    anchor: tuple[int, int] | None = None
    spoken = pause = 0
    for h in media:
        at = h["sent_ns"] // 1000
        stood = 0 if anchor is None else at - (anchor[1] + h["pts"] - anchor[0])
        if anchor is None or stood >= 0:
            anchor = (h["pts"], at)
        if h["turn"] != turn:
            if own[0]["pts"] < h["pts"] < own[-1]["pts"]:
                pause += stood + h["dur"]
            continue
        stood += pause
        pause = 0
        if spoken and stood > 0:
            near = min(abs(h["pts"] - start) for start in starts)
            (seen.between if near <= QUANTUM_US // 2 else seen.inside).append(stood)
        spoken += 1


def measure(idle: str, state: str, turns: int, options: argparse.Namespace) -> Seen:
    """One combination."""
    seen = Seen()
    overrides = [f"state_dir={options.state_dir}", *options.overrides]
    if state == "warm":
        with private_daemon(None, overrides) as client:
            speak(client, options.template, idle, text_of(0), Seen())
            with hogs(options.hogs):
                for turn in range(turns):
                    speak(client, options.template, idle, text_of(turn, short=options.short), seen)
        return seen
    for turn in range(turns):
        with private_daemon(None, overrides) as client, hogs(options.hogs):
            speak(client, options.template, idle, text_of(turn, short=options.short), seen)
    return seen


def _settle() -> None:
    """Wait until the machine is as quiet as the bars ask for, or will not be."""
    deadline = time.monotonic() + SETTLE_S
    while os.getloadavg()[0] > QUIET_LOAD and time.monotonic() < deadline:
        time.sleep(2)


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=25)
    parser.add_argument("--hogs", type=int, default=2)
    parser.add_argument("--template", default="default")
    parser.add_argument("--idle", choices=("none", "loop"))
    parser.add_argument("--state", choices=("warm", "cold"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="setting of the daemon")
    parser.add_argument("--short", action="store_true", help="turns of one short sentence")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    found: dict[str, Any] = {"turns": options.turns, "hogs": options.hogs}
    good = True
    with tempfile.TemporaryDirectory() as options.state_dir:
        if options.short:
            _settle()
        with private_daemon(None, [f"state_dir={options.state_dir}"]) as client:
            speak(client, options.template, "none", text_of(0), Seen())
        for idle, state in COMBINATIONS:
            if idle != (options.idle or idle) or state != (options.state or state):
                continue
            if not options.short:
                _settle()
            load = os.getloadavg()[0]
            seen = measure(idle, state, options.turns, options)
            p50, p95 = (percentile(seen.first, share) / 1000 for share in (0.5, 0.95))
            gap = max(seen.inside, default=0) / 1000
            bound = options.hogs <= 2
            good &= not seen.shut and (not bound or (p95 <= FIRST_P95_MS and gap <= GAP_MS))
            name = f"idle {idle}, {state}"
            rows += [
                (
                    f"{name} (load {load:.1f}): shut mouth of {seen.media / 1e6:.0f} s",
                    f"{seen.shut / 1e6:.2f} s",
                    "0",
                ),
                ("... first segment, p50", f"{p50:.0f} ms", ""),
                ("... p95", f"{p95:.0f} ms", f"{FIRST_P95_MS} ms" if bound else ""),
                ("... longest pause inside a sentence", f"{gap:.0f} ms", f"{GAP_MS} ms" if bound else ""),
                ("... pauses inside, between", f"{len(seen.inside)}, {len(seen.between)}", ""),
                ("... of it with skipped frames", f"{seen.skipped / 1e6:.1f} s", ""),
            ]
            found[f"{idle}_{state}"] = {
                "load_before": round(load, 2),
                "media_s": round(seen.media / 1e6, 1),
                "audio_only_s": round(seen.shut / 1e6, 2),
                "skip_s": round(seen.skipped / 1e6, 2),
                "first_p50_ms": round(p50),
                "first_p95_ms": round(p95),
                "longest_gap_ms": round(gap),
                "gaps_inside": len(seen.inside),
                "gaps_between": len(seen.between),
            }
    report(found, rows, options.json)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
