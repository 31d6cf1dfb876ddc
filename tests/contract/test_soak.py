"""Half a minute of what ``make soak`` does for half an hour."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.daemon import ROOT
from tests.support.limits import RECOVERY_S, START_S, WORK_S

SECONDS = 15
"""At least; the first two deaths are waited for, and the broker's is one of them."""


def test_sessions_and_deaths(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.soak", "--seconds", str(SECONDS), "--out", str(tmp_path)]
    limit_s = START_S + SECONDS + 2 * RECOVERY_S + WORK_S
    done = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=limit_s)
    assert done.returncode == 0, done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["turns"] > 0
    assert report["deaths_by_process"].get("broker", 0) >= 1, report["deaths"]
    assert all((tmp_path / f"{name}.png").stat().st_size for name in ("memory", "descriptors", "threads"))
