"""What the OpenAPI page says is so: schemathesis sends what fits and what does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.client import Stranger
from tests.support.gateway import Patient
from tests.support.gateway_process import GatewayProcess
from tests.support.limits import COMMAND_S, WORK_S

LEFT_OUT = ("/api/sessions/{sid}/stream.mp4",)
"""Never ends."""
SEED = 1


@pytest.fixture
def tidy(gateway: GatewayProcess) -> Iterator[str]:
    """The gateway's address; sessions that came into being are ended."""
    with httpx.Client(base_url=gateway.url, timeout=WORK_S, transport=Patient()) as http:
        before = {one["session_id"] for one in http.get("/api/status").json()["sessions"]}
        yield gateway.url
        for one in http.get("/api/status").json()["sessions"]:
            if one["session_id"] not in before:
                http.post("/api/end_session", json={"session_id": one["session_id"], "drain": False})


CONFIG = """
[parameters]
"path.sid" = "{sid}"
"path.job" = "{job}"

[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx"]

[[operations]]
include-operation-id = ["delete_template", "preprocess_template", "process_segment"]
[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 502]

[[operations]]
include-operation-id = ["health", "render_file"]
[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
"""Media and jobs are asked for where there are some. FAILED is an answer of these three, and of no other;
NOT_READY, as the daemon is warm, only of a film that is not finished, and where it stood still as it was asked."""


@pytest.mark.timeout(900)
def test_no_answer_is_undocumented_and_none_is_a_500(tidy: str, stranger: Stranger, tmp_path: Path) -> None:
    session = stranger.session(record=True)
    session.speak("Hello.")
    job = httpx.post(f"{tidy}/api/render", data={"text": "Hello."}, timeout=WORK_S).json()["job"]
    (tmp_path / "schemathesis.toml").write_text(CONFIG.format(sid=session.sid, job=job))
    config = str(tmp_path / "schemathesis.toml")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run"),
        *(f"{tidy}/openapi.json", "--phases", "examples,coverage", "--seed", str(SEED)),
        *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
        *("--request-timeout", str(int(WORK_S)), "--no-color"),
    ]
    for path in LEFT_OUT:
        command += ["--exclude-path", path]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=5 * COMMAND_S, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
