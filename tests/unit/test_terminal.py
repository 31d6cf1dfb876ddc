"""What reaches a terminal: no escape sequence of a foreign text, whatever the terminal can show."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape
from rich.progress import Progress, TextColumn

from clients.cli import template_view, terminal
from clients.cli.show import Transcript
from clients.cli.terminal import PlainConsole, table
from configs import logs
from configs.plain import plain
from configs.schema import Log

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x1bP$q\x1b\\\x9b2J\x08\r\x7f\u202ebad"


def controls(text: str) -> list[str]:
    return [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2066"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[1;31mb\x1b[0mc", "abc"),
        ("\x1b]0;owned\x07x", "x"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mX\x9d0;t\x9cY", "XY"),
        ("\x1bPq#0\x1b\\y", "y"),
        ("over\rwritten\x08\x08", "overwritten"),
        ("\x1b(B\x1bc", ""),
        ("\x1b[200~paste", "paste"),
        ("Grüße, 你好 👩‍👩‍👧\tا\n", "Grüße, 你好 👩‍👩‍👧\tا\n"),
    ],
)
def test_sequences_go_and_text_stays(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    assert not controls(plain(text))


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_plain_text_is_left_alone(text: str) -> None:
    assert plain(text) == text


def test_every_way_to_print_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    console = PlainConsole(file=file, highlight=False)
    console.print(escape(HOSTILE), soft_wrap=True)
    console.print(f"[red]failed:[/] {escape(HOSTILE)}")
    rows = table("name", title=HOSTILE)
    rows.add_row(escape(HOSTILE))
    console.print(rows)
    with Progress(TextColumn("{task.description}"), console=console) as bar:
        bar.add_task(escape(HOSTILE))
    assert "red" in file.getvalue()
    assert not controls(file.getvalue())


def test_what_looks_like_markup_or_an_emoji_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "see [/usr/bin] :100: [red]x :smile:"
    Transcript().event({"event": "reply.delta", "data": {"text": text}})
    assert text in capsys.readouterr().out
    file = io.StringIO()
    monkeypatch.setattr(template_view, "err", PlainConsole(file=file, force_terminal=True, width=200))
    with template_view.Watched(text):
        pass
    assert text in file.getvalue()


def test_our_own_colours_stay() -> None:
    file = io.StringIO()
    PlainConsole(file=file, force_terminal=True, color_system="standard").print("[red]x[/]")
    assert "\x1b[31mx" in file.getvalue()


def test_a_reply_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    transcript = Transcript()
    events: list[tuple[str, dict[str, Any]]] = [
        ("reply.delta", {"text": HOSTILE}),
        ("transcript.final", {"text": HOSTILE}),
        ("turn.interrupted", {"reason": HOSTILE}),
        ("turn.failed", {"code": "FAILED", "message": HOSTILE}),
        ("degraded", {"level": "audio_only", "stage": "lipsync", "reason": HOSTILE}),
    ]
    for name, data in events:
        transcript.event({"event": name, "data": data})
    printed = capsys.readouterr().out
    assert printed.count("bad") == len(events)
    assert not controls(printed)


def test_what_the_picture_lacks_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"level": "audio_only", "stage": "lipsync", "reason": "TIMEOUT: nothing has come for 3 s"}
    Transcript().event({"event": "degraded", "data": data})
    assert "degraded the lips stand still: nothing has come for 3 s" in capsys.readouterr().out


def test_json_is_exact_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_json({"text": HOSTILE, "name": "a\udcff", "ü": b"123"})
    printed = capsys.readouterr().out
    assert not controls(printed)
    assert "ü" in printed
    assert json.loads(printed) == {"text": HOSTILE, "name": "a\udcff", "ü": "<3 bytes>"}


def test_a_log_on_a_terminal_is_clean(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)  # pytest has handlers of its own
    monkeypatch.setattr(logging, "captureWarnings", lambda _: None)
    before = structlog.get_config()
    try:
        logs.setup(Log(format="console"))
        log = logs.get()
        log.info("x.y", text="\x1b]0;t\x07z", words=f"a {HOSTILE}", listed=[HOSTILE])
        try:
            raise ValueError(HOSTILE)
        except ValueError:
            log.exception("x.broke")
    finally:
        structlog.configure(**before)
    printed = capsys.readouterr().err
    assert "text=z" in printed
    assert "ValueError" in printed
    assert not controls(printed)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_character_shows_another(encoding: str) -> None:
    code = (
        "from clients.cli.terminal import *; tolerate_any_text(); out.print('Grüße 你好'); rows = table('ü');"
        "rows.add_row('你'); out.print(rows); print_json({'a': '你好'}); err.print('你')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONIOENCODING": encoding}
    )
    lines = result.stdout.decode(encoding).splitlines()
    assert lines[0].startswith("Gr")
    assert json.loads(lines[-1]) == {"a": "你好"}
