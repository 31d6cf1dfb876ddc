"""What nobody should send, 100,000 times, and 10,000 times over HTTP: the long form of
``tests/contract/test_garbage.py`` and of the noise in ``tests/contract/test_gateway_refusals.py``.

``python -m tests.soak.garbage [--messages N]``: against a daemon of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.contract.test_garbage import Garbage, throw
from tests.soak.flood import processes
from tests.support.client import Stranger
from tests.support.daemon import LIGHT, Daemon
from tests.support.limits import START_S
from tests.support.mutations import throw_mutated
from tests.support.processes import anonymous_bytes

MESSAGES = 100_000
REQUESTS = 10_000
WARM_UP = 10_000
GROWTH_BYTES = 50_000_000


def main() -> int:
    """Print what was seen; 1 when something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    messages = parser.parse_args().messages
    state = Path(tempfile.mkdtemp(prefix="mc-garbage-", dir="/tmp"))
    daemon = Daemon(state, *LIGHT, "endpoints.gateway=127.0.0.1:0")
    try:
        daemon.wait_healthy()
        stranger = Stranger(daemon.control, daemon.stream)
        throw(daemon, stranger, WARM_UP)  # what is loaded once is loaded
        port = _port(stranger)
        throw_mutated(port, REQUESTS // 10, seed=0)
        pids = processes(stranger)
        before = {name: anonymous_bytes(pid) for name, pid in pids.items()}
        begun = time.monotonic()
        counted = throw(daemon, stranger, messages)
        answers = throw_mutated(port, REQUESTS, seed=1)
        healthy = stranger.control.ok("health")["status"]
        grown = {name: anonymous_bytes(pid) - before[name] for name, pid in pids.items()}
        stranger.close()
    finally:
        stopped = daemon.stop()
        daemon.remove()
        shutil.rmtree(state, ignore_errors=True)
    problems = [f"{name} has grown by {more} bytes" for name, more in grown.items() if more > GROWTH_BYTES]
    problems += [
        f"{count} requests were answered {status!r}" for status, count in answers.items() if status[:1] == b"5"
    ]
    if healthy != "ok":
        problems.append(f"health is {healthy} afterwards")
    if stopped != 0:
        problems.append(f"the daemon ended with {stopped}")
    report = {
        "sent": Garbage.sent,
        "counted_as_broken": counted,
        "answers_over_http": {status.decode() or "none": count for status, count in sorted(answers.items())},
        "seconds": round(time.monotonic() - begun, 1),
        "grown_mb": {name: round(more / 1e6, 1) for name, more in grown.items()},
        "problems": problems,
    }
    print(json.dumps(report, indent=1))
    return 1 if problems else 0


def _port(stranger: Stranger) -> int:
    """Of the gateway, once it listens."""
    deadline = time.monotonic() + START_S
    while not (url := stranger.control.ok("status")["endpoints"]["gateway"]):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no gateway within {START_S:g} s")
        time.sleep(0.1)
    return int(url.rpartition(":")[2])


if __name__ == "__main__":
    sys.exit(main())
