"""The lines of docs/embedding.md in a browser."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import IO, Any

from tests.support.client import Stranger
from tests.support.daemon import ROOT
from tests.support.gateway_process import GatewayProcess

SCRIPT = Path(__file__).with_name("chromium.js")


def lines_of_the_page(url: str, sid: str) -> str:
    """The script behind the heading, for this gateway and session."""
    page = (ROOT / "docs" / "embedding.md").read_text("utf-8")
    section = page.partition("## Over WebRTC")[2]
    found = re.search(r"<script type=\"module\">\n(.*?)</script>", section, re.DOTALL)
    assert found is not None
    return found[1].replace("http://127.0.0.1:28888", url).replace("SID", sid)


def told(lines: IO[str], what: str) -> dict[str, Any]:
    line = lines.readline()
    assert what in json.loads(line or "{}"), line
    counted: dict[str, Any] = json.loads(line)[what]
    return counted


def test_chromium_shows_and_plays_it(webrtc: GatewayProcess, stranger: Stranger) -> None:
    session = stranger.session(idle="loop")
    command = ["node", str(SCRIPT), webrtc.url, lines_of_the_page(webrtc.url, session.sid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        try:
            seen = told(node.stdout, "seen")
            assert seen["codec"] == "video/H264"
            assert seen["keyFramesDecoded"] >= 1
            assert seen["framesDecoded"] >= 25
            session.say("One, two, three, four, five. Now you can hear me.")
            assert told(node.stdout, "heard")["energy"] > 0
            assert node.wait() == 0
        finally:
            node.kill()
