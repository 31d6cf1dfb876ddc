"""``config check`` and ``doctor`` find what the start would find, and end with its code."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from clients.cli.app import app
from tests.support.processes import free_ports


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    control, stream = free_ports(2)
    return [
        f"runtime_dir={tmp_path}/run",
        f"state_dir={tmp_path}",
        f"endpoints.control=tcp://127.0.0.1:{control}",
        f"endpoints.stream=tcp://127.0.0.1:{stream}",
        "endpoints.gateway=off",
    ]


def run(words: str, sets: list[str], *more: str) -> Result:
    arguments = [argument for one in (*sets, *more) for argument in ("--set", one)]
    return CliRunner().invoke(app, [*words.split(), *arguments])


@pytest.mark.process
def test_what_can_start_is_valid(sets: list[str]) -> None:
    assert run("config check", sets).exit_code == 0
    findings = json.loads(run("doctor --json", sets).stdout)
    assert {one["verdict"] for one in findings} <= {"ok", "warn"}
    assert not Path(sets[0].partition("=")[2]).exists(), "looking makes nothing"


@pytest.mark.parametrize(
    ("wrong", "key", "words"),
    [
        ("engines.tts=[parrot]", "engines.tts", "no tts engine 'parrot'"),
        ("llm.faq=/nonexistent/faq.yaml", "llm.faq", "cannot be read"),
        ("engines.lipsync=[musetalk]", "engines.lipsync", "unet-v15|needs the package"),
        ("state_dir=/dev/null/state", "state_dir", "cannot be made or written"),
        ("runtime_dir=/dev/null", "runtime_dir", "no directory"),
    ],
)
@pytest.mark.process
def test_what_cannot_start_is_told_by_both(sets: list[str], wrong: str, key: str, words: str) -> None:
    checked = run("config check --json", sets, wrong)
    assert checked.exit_code == 78
    told = json.loads(checked.stdout)
    assert told["ok"] is False
    (problem, *_) = told["problems"]
    assert problem["key"] == key
    assert re.search(words, problem["message"])
    assert problem["hint"]
    assert told["error"]["code"] == "CONFIGURATION"
    assert problem["message"] in told["error"]["message"]
    shown = run("config check", sets, wrong)
    assert key in shown.output
    examined = run("doctor --json", sets, wrong)
    assert examined.exit_code == 1
    (failed, *_) = [one for one in json.loads(examined.stdout) if one["verdict"] == "fail"]
    assert (failed["subject"], failed["fact"]) == (f"--set {wrong}: {key}", problem["message"])


def test_a_port_of_another_program_is_what_the_start_would_say(sets: list[str]) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        checked = run("config check", sets, f"endpoints.stream={address}")
    assert checked.exit_code == 70
    assert f"{address} is taken by another program" in checked.output
