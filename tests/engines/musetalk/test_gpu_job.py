"""``python -m benchmarks.gpu`` from end to end, as it would run on a GPU, with tiny networks on this CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_job.child import ROOT
from benchmarks.gpu_job.job import TINY_SHARES

SECONDS = 540
"""Of the job where other programs take the processors; alone it takes a tenth of it."""


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS)
def test_the_whole_job_runs_and_no_part_fails(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.gpu", "--profile", "tiny", "--device", "cpu",
            "--seconds", str(SECONDS), "--loop-seconds", "4", "--step-seconds", "1", "--sizes", "1",
            "--encoders", "1", "--out", str(out),
        ],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    found = json.loads(out.read_text())
    assert set(found["parts"]) == TINY_SHARES.keys() - {"copies"}, "copies needs a checkout of upstream"
    for name, part in found["parts"].items():
        assert not {"error", "skipped"} & part.keys(), (name, part)
    rows = {
        part: [row for row in found["rows"] if row["part"] == part]
        for part in ("host", "closeness", "gpu_path", "cold", "loops", "first_unit", "streams")
    }
    assert all(rows.values()), {part: len(those) for part, those in rows.items()}
    # On a busy machine the sweep leaves out what its time does not reach, and says so.
    assert not any("error" in row for part in ("closeness", "gpu_path") for row in rows[part])
    assert any("max_levels" in row for row in rows["closeness"])
    assert any("frames_per_s" in row for row in rows["gpu_path"])
    assert {row["number"] for row in rows["loops"]} == {"generation", "delivered"}
    assert all(row["frames_per_s"] > 0 for row in rows["loops"])
    assert set(rows["cold"][0]["ms_since_start"]) == {"python", "imports", "weights", "ready", "first request"}
    assert "delivered" in done.stdout, "the table"
