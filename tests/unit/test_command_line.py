"""The ``musecast`` command without a daemon: wrong usage, exit codes, what is imported, Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer

from clients.cli import app
from clients.cli.failures import told
from clients.client import RequestError
from tests.support.limits import GONE_S

NOBODY = ("--set", "endpoints.control=tcp://127.0.0.1:9")


def call(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> tuple[str, str]:
    capsys.readouterr()
    found = app.run(list(arguments))
    printed = capsys.readouterr()
    assert found == code, printed
    return printed.out, printed.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version", code=0)[0] == f"musecast {metadata.version('musecast')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fly",), "fly"),
        (("sey",), "Did you mean 'say'? `"),
        (("say",), "musecast say --help"),
        (("say", "hi", "there"), "into quotes"),
        (("say", "hi", "--template", "my face"), "letters"),
        (("say", "hi", "--session", "a/b"), "letters"),
        (("say", "a\udcffb"), "UTF-8"),
        (("probe", "record", "sid", "film.avi"), ".mp4"),
        (("say", "hi", "--out", "/dev/null"), ".mp4"),
        (("render", "--text", "hi", "--out", "/no/such/folder/a.mp4"), "/no/such/folder"),
        (("listen", "-", "--rate", "96000"), "48000"),
        (("render", "--out", "a.mp4"), "--audio"),
        (("template", "rm", "Zoë"), "letters"),
    ],
)
def test_wrong_usage_is_one_line_or_json(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    out, err = call(capsys, *arguments, *NOBODY, code=2)
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    out, err = call(capsys, *arguments, "--json", *NOBODY, code=2)
    error = json.loads(out)["error"]
    assert error["code"] == "USAGE"
    assert words in error["message"]
    assert err == ""


def test_a_device_is_not_replaced(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    link = tmp_path / "null.mp4"
    link.symlink_to("/dev/null")
    for arguments in (("say", "hi", "--out", str(link)), ("probe", "record", "sid", str(link))):
        assert "a device" in call(capsys, *arguments, *NOBODY, code=2)[1]
    (tmp_path / "demo.mp4").symlink_to("/dev/null")
    assert "a device" in call(capsys, "demo", "--out", str(tmp_path), code=1)[1]
    assert "no folder" in call(capsys, "demo", "--out", str(tmp_path / "a" / "b"), code=1)[1]
    assert Path("/dev/null").is_char_device()
    assert not (tmp_path / "a").exists()


def test_a_pipe_is_not_waited_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.png", tmp_path / "zero.png"
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    render = ("render", "--out", str(tmp_path / "film.mp4"), "--audio")
    for source, kind in ((str(pipe), "a pipe"), (str(link), "a device")):
        for arguments in (("template", "add", source), ("listen", source), (*render, source)):
            _, err = call(capsys, *arguments, *NOBODY, code=1)
            assert f"{source} is {kind}: name a file" in err
            assert err.count("\n") == 1


def test_where_a_wrong_key_comes_from_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--set foo.bar=1: foo: unknown key" in call(capsys, "probe", "health", "--set", "foo.bar=1", code=78)[1]
    _, err = call(capsys, "probe", "health", "--config", "/nope.yaml", code=78)
    assert err.count("/nope.yaml") == 1
    assert "no such file" in err


def test_a_wrong_configuration_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = call(capsys, "probe", "health", "--json", "--set", "timeline.lead=5", code=78)
    assert json.loads(out)["error"]["code"] == "CONFIGURATION"


def test_json_after_two_dashes_is_a_text() -> None:
    assert app.wants_json(["say", "hi", "--json"])
    assert not app.wants_json(["say", "--", "--json"])


@pytest.mark.parametrize(
    ("code", "message", "shown"),
    [
        ("NOT_FOUND", "no template 'x': see list_templates", "`musecast template list`"),
        ("NOT_FOUND", "no session 'x': never started; start_session begins one", "`musecast probe status`"),
        ("NOT_FOUND", "session 'x' is ending and takes no more input: use start_session for another", "--session"),
        ("FAILED", "template 'x' is in use: choose another template_id", "--id"),
        ("FAILED", "turn 1 was not published: see status, and read segments later", "`musecast probe status`"),
    ],
)
def test_refusals_are_told_in_commands(code: str, message: str, shown: str) -> None:
    text = told(RequestError(code, message))
    assert shown in text
    assert not re.search(r"[a-z]_[a-z]|segments", text), "a word of the protocol"


def test_every_command_that_is_named_to_people_exists() -> None:
    root = Path(app.__file__).parents[2]
    pages = [*root.glob("*.md"), *(root / "docs").glob("*.md"), *(root / "configs").glob("*.yaml")]
    rooms = ("clients", "configs", "models", "supervision")
    sources = [path for room in rooms for path in (root / room).rglob("*.py")]
    commands: Any = typer.main.get_command(app.app)
    named = set()
    for path in [*pages, *sources]:
        text = path.read_text("utf-8")
        named |= set(re.findall(r"`(?:\.venv/bin/)?musecast ([a-z]+)(?: ([a-z]+))?", text))
    assert len(named) > 20
    groups = {name: getattr(one, "commands", None) for name, one in commands.commands.items()}
    unknown = {
        (first, second) for first, second in named
        if first not in groups or (second and groups[first] is not None and second not in groups[first])
    }  # fmt: skip
    assert not unknown


def test_light_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from clients.cli.main import main\n"
        f"for one in (['--help'], ['probe', '--help'], ['probe', 'health', *{NOBODY!r}], ['say']): main(one)\n"
        "print('heavy:', sorted({'cv2', 'av', 'numpy', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "heavy: []"


def test_too_few_open_files_are_told_instead_of_an_abort() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "clients.cli.main", "probe", "health"],
        check=False, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)),
    )  # fmt: skip
    assert result.returncode == 1
    assert "ulimit" in result.stderr
    assert result.stderr.count("\n") == 1


IMPORTING = """
import sys, time
from clients.cli.main import main

def stand(event, arguments):
    if event == "import" and arguments[0] == sys.argv[1]:
        print("importing", file=sys.stderr, flush=True)
        while True:
            time.sleep(0.01)

sys.addaudithook(stand)
sys.exit(main(["listen", "-"]))
"""
"""Stands still where it is about to import a module, until a signal ends it."""


@pytest.mark.parametrize("moment", ["clients.cli.app", "typer.core", "yaml", "clients.cli.weights"])
def test_ctrl_c_during_imports_leaves_no_traceback(moment: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", IMPORTING, moment], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        told = process.stderr.read().splitlines()
        assert process.wait(GONE_S) in (130, -signal.SIGINT)
    assert told in ([], ["interrupted"])
