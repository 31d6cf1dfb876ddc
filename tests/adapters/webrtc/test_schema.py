"""What the OpenAPI page says of these routes is so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.adapters.webrtc import schemathesis_hooks as hooks
from tests.support.daemon import ROOT
from tests.support.gateway_process import GatewayProcess
from tests.support.limits import COMMAND_S, WORK_S

PATHS = "^/(whep|offer|human|interrupt_talk|is_speaking|record|set_audiotype)"


def test_no_answer_is_undocumented_and_none_is_a_500(webrtc: GatewayProcess, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{webrtc.url}/openapi.json"),
        *("--include-path-regex", PATHS, "--phases", "examples,coverage", "--seed", "1"),
        *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
        *("--request-timeout", str(int(WORK_S)), "--no-color"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": hooks.__name__, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_every_operation_has_an_example(webrtc: GatewayProcess) -> None:
    paths = httpx.get(f"{webrtc.url}/openapi.json", timeout=WORK_S).json()["paths"]
    assert {"/whep/{sid}", "/whep/{sid}/{viewer}", "/offer", "/human", "/humanaudio"} <= paths.keys()
    for path in ("/whep/{sid}", "/offer", "/human"):
        (content,) = paths[path]["post"]["requestBody"]["content"].values()
        assert content["example"], path
