"""The programs of docs/recipes.md, run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from models.llm.faq.book import read
from tests.support.client import Stranger
from tests.support.daemon import ROOT, Daemon
from tests.support.limits import COMMAND_S

PAGE = (ROOT / "docs" / "recipes.md").read_text("utf-8")
SHARED = "musecast_client.py"


def recipe(title: str) -> str:
    found = re.search(rf"^## {title}\n.*?^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return found[1]


@pytest.fixture
def folder(daemon: Daemon, tmp_path: Path) -> Path:
    shared = re.search(rf"^```python file={SHARED}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert shared is not None
    program = shared[1]
    assert "tcp://127.0.0.1:28880" in program
    program = program.replace("tcp://127.0.0.1:28880", daemon.control)
    (tmp_path / SHARED).write_text(program.replace("tcp://127.0.0.1:28881", daemon.stream))
    return tmp_path


def run(folder: Path, title: str) -> str:
    command = [sys.executable, "-c", recipe(title)]
    done = subprocess.run(command, cwd=folder, timeout=COMMAND_S, check=True, capture_output=True, text=True)
    return done.stdout


def test_a_language_model_of_ones_own(folder: Path) -> None:
    run(folder, "Your own language model")
    with av.open(str(folder / "answer.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) > 50


def test_a_voice_of_ones_own(folder: Path) -> None:
    assert "first_segment" in run(folder, "Your own voice")


def test_a_recogniser_of_ones_own(folder: Path) -> None:
    assert "answer" in run(folder, "Your own recogniser").lower()


def test_a_web_page_of_ones_own(
    folder: Path, launch: Callable[..., subprocess.Popen[str]], stranger: Stranger
) -> None:
    server = launch(
        sys.executable, "-c", f"import os; os.chdir({str(folder)!r}); import sys; sys.path.insert(0, '.')\n"
        + recipe("Your own web page"), "0", env={**os.environ},
    )  # fmt: skip
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    with urllib.request.urlopen(address, timeout=COMMAND_S) as page:
        assert b'<video src="/live.mp4"' in page.read()
    with urllib.request.urlopen(f"{address}/live.mp4", timeout=COMMAND_S) as live:
        urllib.request.urlopen(f"{address}/say", data=b"Hello there.", timeout=COMMAND_S).close()
        (folder / "live.mp4").write_bytes(live.read(60_000))
    stranger.control.call("end_session", session_id="page", drain=False)
    with av.open(str(folder / "live.mp4")) as container:
        assert next(container.decode(video=0)).width == 512


def test_the_questions_and_answers_are_a_file_that_can_be_read(tmp_path: Path) -> None:
    found = re.search(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    path = tmp_path / "faq.yaml"
    path.write_text(found[1], "utf-8")
    assert [entry.id for entry in read(str(path)).entries] == ["opening-hours", "again"]
