"""The player in real browsers: cuts, how soon a turn is seen, frames shown, minutes without drift or growth."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._common import percentile, report
from tests.support.daemon import Daemon
from tests.web.browsing import Web

FRAME_S = 0.04
SEEN_P95_MS = 100
FRAMES_PER_S = 24.5
OPENED_MS = 400
STEPS = ("asked", "begun", "connected", "appended", "shown", "moved")
"""What a page passes from its address to a face that moves."""
LEAKS_S = {"chromium": 0.16, "firefox": 0.34}

Row = tuple[str, str, str]


def _started(state_dir: Path, *overrides: str) -> Daemon:
    daemon = Daemon(state_dir, *overrides)
    daemon.wait_healthy()
    return daemon


def _cuts(found: dict[str, Any]) -> dict[str, float]:
    """The worst of all cuts."""
    rounds = found["rounds"]
    before = [[one["time"] - cut["flush"] for one in cut["frames"] if one["at"] < cut["append"]] for cut in rounds]
    first = [
        next(
            one["time"]
            for one in cut["frames"]
            if one["at"] >= cut["append"] and one["time"] >= cut["flush"] - 0.001
        )
        - cut["flush"]
        for cut in rounds
    ]
    leaks = sorted(max(0.0, max(times, default=-1.0) + FRAME_S) for times in before)
    return {
        "cuts": len(rounds),
        "silent_ms": max((cut["quiet"] or cut["append"]) - cut["event"] for cut in rounds),
        "leaked_s": leaks[-1],
        "next_leaked_s": leaks[-2] if len(leaks) > 1 else 0.0,
        "first_frame_off_s": max(first),
        "first_frames_off": sum(off > FRAME_S / 2 for off in first),
    }


def _rows(browser: str, found: dict[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for name, leak in (("cuts", LEAKS_S[browser]), ("cuts of a page", 0.0 if browser == "chromium" else None)):
        cuts = _cuts(found[name])
        rows += [
            (f"{browser}: {name}, {cuts['cuts']} times: silent after", f"{cuts['silent_ms']:.0f} ms", "250 ms"),
            (
                f"{browser}: {name}: old picture past the cut, muted",
                f"{cuts['leaked_s'] * 1000:.0f} ms (then {cuts['next_leaked_s'] * 1000:.0f} ms)",
                "" if leak is None else f"{leak * 1000:.0f} ms",
            ),
            (
                f"{browser}: {name}: first new frame off",
                f"{cuts['first_frame_off_s'] * 1000:.0f} ms ({cuts['first_frames_off']} of them)",
                "0 ms",
            ),
        ]
    seen = [one["shown_ms"] for one in found["turns"]["seen"]]
    rows.append((f"{browser}: first segment to its frame, p50", f"{percentile(seen, 0.5):.0f} ms", ""))
    bound = f"{SEEN_P95_MS} ms" if browser == "chromium" else ""
    rows.append((f"{browser}: first segment to its frame, p95", f"{percentile(seen, 0.95):.0f} ms", bound))
    talk = found["conversation"]
    shown = 25 * talk["shown"] / talk["frames"]
    rows.append((f"{browser}: distinct frames a second of speech", f"{shown:.2f}", f"{FRAMES_PER_S}"))
    captions = percentile(talk["captions_ms"], 0.95)
    rows.append((f"{browser}: captions after their time, p95", f"{captions:.0f} ms", f"{FRAME_S * 1000:.0f} ms"))
    lags = talk["lags_ms"][4:]
    rows.append((f"{browser}: behind the session, p50 to worst", f"{percentile(lags, 0.5)} to {max(lags)} ms", ""))
    held = talk["sizes"][-1]
    rows.append(
        (f"{browser}: in the buffer at the end", f"{held['buffered_s']:.1f} s, {held['held']} segments", "")
    )
    return rows


def _opening(openings: list[dict[str, float]]) -> list[Row]:
    """How long the page takes to move, and when it has passed what."""
    rows: list[Row] = []
    for step in STEPS:
        times = [one[step] for one in openings]
        told = f"{percentile(times, 0.5):.0f} ms, p95 {percentile(times, 0.95):.0f} ms"
        rows.append((f"page opened to {step}, p50", told, f"{OPENED_MS} ms" if step == "moved" else ""))
    return rows


def _holds(row: Row) -> bool:
    """Whether a row is within its bound, which is the least for frames and the most for all else."""
    what, value, bound = row
    if not bound:
        return True
    number, limit = float(value.split()[0]), float(bound.split()[0])
    return number >= limit if "frames a second" in what else number <= limit


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--cuts", type=int, default=20, help="in each browser and each kind of session")
    parser.add_argument("--seconds", type=int, default=60, help="of conversation in each browser")
    parser.add_argument("--browser", choices=sorted(LEAKS_S), help="only this one")
    parser.add_argument("--openings", type=int, default=10, help="of the page, in Chromium")
    parser.add_argument("--only-openings", action="store_true", help="nothing else")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    page = {"idle": "loop", "cut_margin_ms": 250}
    scenarios: list[dict[str, Any]] = [
        {"name": "cuts", "times": arguments.cuts},
        {"name": "cuts", "label": "cuts of a page", "times": arguments.cuts, "settings": page},
        {"name": "turns"},
        {"name": "conversation", "seconds": arguments.seconds},
    ]
    browsers = [arguments.browser] if arguments.browser else [] if arguments.only_openings else sorted(LEAKS_S)
    found: dict[str, Any] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="mc-page-") as directory:
        web = Web(lambda *overrides: _started(Path(directory), *overrides), Path(directory))
        try:
            opening = {"name": "opening", "times": arguments.openings}
            found["opening"] = web.browse("chromium", opening)["opening"]
            rows += _opening(found["opening"]["openings"])
            for browser in browsers:
                found[browser] = web.browse(browser, *scenarios)
                rows += _rows(browser, found[browser])
        finally:
            web.daemon.stop()
            web.daemon.remove()
    report(found, rows, arguments.json)
    return 0 if all(map(_holds, rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
