"""``make soak``: a daemon for half an hour, with sessions that come and go and processes that fail at random.

What must hold: every promise about sessions, checked one by one from outside; memory of all processes together
grows by at most 50 MB; no descriptor, thread or file is left behind; sound and picture differ by at most 40 ms.
The report, with plots, is in ``out/soak``. ``--seconds`` (``make soak DURATION=``) is how long sessions come.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.contract.test_fault_matrix import ARMED, KINDS, OVERRIDES, SPEAKING
from tests.soak.load import Killer, Visitor, rows
from tests.soak.measure import Sample, plots, sample
from tests.support.client import Stranger
from tests.support.daemon import ROOT, Daemon

GROWTH_MB = 50.0
SLACK = 2
"""Descriptors and threads that one process may have more than before: what its last second has opened."""
KEEP_S = 3.0
"""``ring.keep_s``: soon after the last session nothing is left of any."""
DEATHS = 2
"""At least, however short the time is."""
QUIET_S = 60.0
"""Within this much silence everything has gone that goes."""
SETTINGS = (*OVERRIDES, f"ring.keep_s={KEEP_S}")


def main() -> int:
    """Print what was found; 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--sessions", type=int, default=2, help="at once")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "soak")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    state = Path(tempfile.mkdtemp(prefix="mc-soak-", dir="/tmp"))
    daemon = Daemon(state, *SETTINGS, fault=ARMED)
    try:
        daemon.wait_healthy()
        report = soak(daemon, options.seconds, options.sessions, options.seed, options.out)
    finally:
        stopped = daemon.stop()
        options.out.mkdir(parents=True, exist_ok=True)
        shutil.copy(daemon.log, options.out / "daemon.log")
        daemon.remove()
        shutil.rmtree(state, ignore_errors=True)
    if stopped != 0:
        report["problems"].append(f"the daemon ended with {stopped}")
    (options.out / "report.json").write_text(json.dumps(report, indent=1))
    print(json.dumps({name: value for name, value in report.items() if name != "deaths"}, indent=1))
    return 1 if report["problems"] else 0


def soak(daemon: Daemon, seconds: float, sessions: int, seed: int, out: Path) -> dict[str, Any]:
    """Let it run; what was seen, with ``problems`` where something does not hold."""
    client = Stranger(daemon.control, daemon.stream)
    deaf: list[float] = []
    warm_up = _visitors(daemon, sessions, deaf, seed - 1)
    _let(warm_up, min(30.0, seconds / 4))  # everything is loaded that is loaded once, and has its usual size
    before = _quiet(daemon, client)
    killer = Killer(client, [*SPEAKING, "gateway"], {**KINDS}, seed)
    visitors = _visitors(daemon, sessions, killer.begun, seed)
    samples: list[Sample] = []
    began = time.monotonic()
    for one in (killer, *visitors):
        one.start()
    while time.monotonic() - began < seconds or (len(killer.deaths) < DEATHS and not killer.problems):
        samples.append(sample(daemon, time.monotonic() - began))
        time.sleep(min(5.0, max(0.5, seconds / 500)))
    killer.over.set()
    killer.join()
    _let(visitors, 0.0, started=True)
    after = _quiet(daemon, client)
    deadline = time.monotonic() + QUIET_S
    while grown(before, after) and time.monotonic() < deadline:  # on a busy machine what goes, goes late
        time.sleep(1.0)
        after = sample(daemon, 0.0)
    client.close()
    deaths = [*killer.deaths]
    plots(out, samples, [(one.at - began, one.instance) for one in deaths])
    problems = [*killer.problems, *(problem for one in (*warm_up, *visitors) for problem in one.problems)]
    problems += grown(before, after)
    if not deaths or not sum(one.turns for one in visitors):
        problems.append("nothing has died, or nobody has spoken: the time was too short")
    return {
        "seconds": seconds,
        "seed": seed,
        "sessions": sum(one.sessions for one in visitors),
        "turns": sum(one.turns for one in visitors),
        "turns_failed_with_the_broker": sum(one.failed for one in visitors),
        "frames": sum(one.frames for one in visitors),
        "late": sum(one.late for one in visitors),
        "deaths_by_process": dict(Counter(one.instance for one in deaths)),
        "longest_absence_s": round(max((one.back_s for one in deaths), default=0.0), 2),
        "drift_ms": round(1000 * max(one.drift_s for one in visitors), 2),
        "memory_mb": {name: _memory(one) for name, one in (("before", before), ("after", after))},
        "files": {"before": before.files, "after": after.files},
        "problems": problems,
        "deaths": [[round(one.at - began, 2), one.instance, one.kind, round(one.back_s, 2)] for one in deaths],
    }


def grown(before: Sample, after: Sample) -> list[str]:
    """What there is more of than before."""
    problems = []
    if (more := after.total_mb - before.total_mb) > GROWTH_MB:
        problems.append(f"memory has grown by {more:.0f} MB; {GROWTH_MB:.0f} are allowed")
    if after.files > before.files:
        problems.append(f"{after.files - before.files} files are left in the folders of the daemon")
    for name, one in after.processes.items():
        old = before.processes.get(name)
        for what in ("descriptors", "threads"):
            if old is not None and getattr(one, what) > getattr(old, what) + SLACK:
                problems.append(f"{name}: {getattr(old, what)} {what} before, {getattr(one, what)} after")
    return problems


def _memory(one: Sample) -> dict[str, float]:
    found = {name: round(process.memory_mb, 1) for name, process in sorted(one.processes.items())}
    return {"all": round(one.total_mb, 1), **found}


def _visitors(daemon: Daemon, count: int, died: list[float], seed: int) -> list[Visitor]:
    def connect() -> Stranger:
        return Stranger(daemon.control, daemon.stream)

    return [Visitor(connect, lambda: died, seed, f"visitor {number}") for number in range(count)]


def _let(visitors: list[Visitor], seconds: float, *, started: bool = False) -> None:
    """Let them visit for at least so long; then each ends the visit that it is at."""
    for one in () if started else visitors:
        one.start()
    time.sleep(seconds)
    for one in visitors:
        one.over.set()
    for one in visitors:
        one.join()


def _quiet(daemon: Daemon, client: Stranger) -> Sample:
    """Everybody warm, nobody speaking, and what has ended forgotten."""
    time.sleep(KEEP_S + 2.0)  # the ring's own time; a session that has ended has no event after it
    deadline = time.monotonic() + QUIET_S
    while any(rows(client)[instance]["state"] != "idle" for instance in (*SPEAKING, "gateway")):
        assert time.monotonic() < deadline, rows(client)
        time.sleep(0.2)
    return sample(daemon, 0.0)


if __name__ == "__main__":
    sys.exit(main())
