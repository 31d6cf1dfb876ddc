"""Minutes of conversation in Chromium, against a daemon of its own: neither drift nor growth.

``python -m tests.soak.page --seconds 600``. The face idles between the answers, as on the page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tests.support.daemon import Daemon
from tests.web.browsing import Web

HELD_S = 20.0
"""In the browser's buffer: ten seconds behind the play head, what is ahead of it, and a segment."""
WAITING = {"queue": 8, "moments": 32}
"""What may be in hand at the end of an answer: appends, and events that the play head has yet to reach."""
SEGMENTS = 96
"""Remembered by the player: twelve seconds of the shortest, and some."""
DRIFT_MS = 250
GROWTH_MB = 32


def problems(talk: dict[str, Any]) -> list[str]:
    """What of a conversation does not hold; ``talk`` as the scenario ``conversation`` tells it."""
    found = [f"the page complained: {error}" for error in talk["errors"]]
    sizes: list[dict[str, float]] = talk["sizes"]
    for what, limit in {**WAITING, "held": SEGMENTS, "buffered_s": HELD_S, "ranges": 1}.items():
        if (most := max(one[what] for one in sizes)) > limit:
            found.append(f"{what}: {most:g}; {limit:g} are allowed")
    if (drift := abs(_change(talk["lags_ms"]))) > DRIFT_MS:
        found.append(f"the play head has drifted by {drift:.0f} ms; {DRIFT_MS} are allowed")
    if (more := _change([one["heap"] for one in sizes]) / 1e6) > GROWTH_MB:
        found.append(f"the page's memory has grown by {more:.0f} MB; {GROWTH_MB} are allowed")
    return found


def _change(values: Sequence[float]) -> float:
    """From the second quarter, when all is warm, to the last."""
    quarter = max(1, len(values) // 4)
    return median(values[-quarter:]) - median(values[quarter : 2 * quarter] or values)


def main() -> int:
    """1 where something does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600)
    options = parser.parse_args()
    state = Path(tempfile.mkdtemp(prefix="mc-page-"))

    def start(*overrides: str) -> Daemon:
        daemon = Daemon(state, *overrides)
        daemon.wait_healthy()
        return daemon

    web = Web(start, state)
    try:
        talk = web.browse("chromium", {"name": "conversation", "seconds": options.seconds})["conversation"]
    finally:
        web.daemon.stop()
        web.daemon.remove()
        shutil.rmtree(state, ignore_errors=True)
    found = [talk["failed"]] if "failed" in talk else problems(talk)
    report = {"answers": len(talk.get("sizes", ())), "last": talk.get("sizes", [{}])[-1:], "problems": found}
    print(json.dumps(report, indent=1))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
