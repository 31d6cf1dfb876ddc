"""What the documentation shows is run as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import av

from tests.support.daemon import ROOT, Daemon
from tests.support.limits import COMMAND_S

GROUPS = ("probe", "config", "template")


def test_the_client_on_the_protocol_page_works(daemon: Daemon, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    program = found[1]
    assert "tcp://127.0.0.1:28880" in program
    program = program.replace("tcp://127.0.0.1:28880", daemon.control)
    program = program.replace("tcp://127.0.0.1:28881", daemon.stream)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=COMMAND_S, check=True)
    with av.open(str(tmp_path / "hello.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 24


def test_every_command_of_the_documents_exists() -> None:
    """Each ``musecast ...`` on a page is one that the program has."""
    commands = set()
    for page in (ROOT / "README.md", ROOT / "docs" / "operations.md"):
        text = "".join(re.findall(r"^```\n(.*?)```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE))
        for group, command in re.findall(
            r"^(?:\.venv/bin/)?musecast ([a-z]+)(?: ([a-z]+)\b)?", text, re.MULTILINE
        ):
            commands.add((group, command) if group in GROUPS else (group,))
    assert len(commands) >= 8
    listed = {group: _help(*group) for group in {command[:-1] for command in commands}}
    unknown = {one for one in commands if not re.search(rf"│ {one[-1]}\b", listed[one[:-1]])}
    assert not unknown


def _help(*group: str) -> str:
    command = [Path(sys.executable).with_name("musecast"), *group, "--help"]
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True).stdout
