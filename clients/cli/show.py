"""A conversation turn on the terminal: the words as they come, and its timings at the end."""

from __future__ import annotations

import re
from typing import Any, Protocol

from rich.console import Group
from rich.markup import escape

from clients.cli.common import CommandError
from clients.cli.terminal import out, print_json, table

TERMINAL_EVENTS = ("turn.ended", "turn.interrupted", "turn.failed")

MOMENTS = {
    "vad_end": "end of the question noticed",
    "asr_final": "question understood",
    "llm_first_token": "first word of the answer",
    "llm_first_sentence": "first sentence complete",
    "tts_first_audio": "first audio spoken",
    "lipsync_first": "first lips animated",
    "encode_first": "first segment encoded",
    "first_segment": "first segment published",
    "last_segment": "last segment published",
}
REASONS = {
    "client": "somebody interrupted it",
    "barge_in": "somebody spoke",
    "ended": "its session was ended",
    "expired": "nobody asked anything for too long",
    "shutdown": "the daemon stops",
}
LEVELS = {
    "skip": "the lips move in fewer steps",
    "fallback": "the lips are moved by another engine",
    "audio_only": "the lips stand still",
}

_CODE = re.compile(r"^[A-Z_]+: ")


def refuse_unspoken(ended: dict[str, Any], what: str) -> None:
    """Say so when a turn ended and nothing of it was heard.

    Args:
        ended: the header of ``turn.ended``.
        what: was to be spoken: "the text" or "the answer".

    Raises:
        CommandError: nothing was heard.
    """
    if ended["data"]["timings_ms"]["first_segment"] is None:
        raise CommandError(
            f"nothing in {what} can be spoken: it has no letters and no digits that a voice can say"
        )


class Video(Protocol):
    """Something that takes a session's media."""

    def add(self, header: dict[str, Any], payload: bytes) -> None:
        """The next ``init`` or media message."""


def timings(values: dict[str, float | None], since: str) -> Group:
    """``timings_ms`` of a turn: each moment, and how long after the one before."""
    made = table("moment", ">ms", ">step")
    previous = 0.0
    for name, meaning in MOMENTS.items():
        value = values.get(name)
        if value is None:
            continue
        made.add_row(meaning, f"{value:.0f}", f"+{value - previous:.0f}")
        previous = value
    return Group(f"Milliseconds since {since}", made)


class Transcript:
    """Prints the events of a session as a conversation."""

    def __init__(self, *, json: bool = False) -> None:
        self._json = json
        self._in_reply = False

    def event(self, header: dict[str, Any]) -> None:
        """Show one event."""
        if self._json:
            print_json(header)
            return
        name, data = header["event"], header["data"]
        if name == "reply.delta":
            if not self._in_reply:
                out.print("[cyan]avatar[/] ", end="")
                self._in_reply = True
            out.print(escape(data["text"]), end="", soft_wrap=True)
            return
        self._end_line()
        if name == "user.speech.started":
            out.print("[dim]listening[/]")
        elif name == "transcript.final":
            heard = escape(data["text"]) if data["text"] else "[dim](not understood)[/]"
            out.print(f"[green]you[/]    {heard}", soft_wrap=True)
        elif name == "turn.interrupted" and data["reason"] == "no_speech":
            out.print(f"[dim]no answer: {escape(self.reason(data))}[/]", soft_wrap=True)
        elif name == "turn.interrupted":
            out.print(f"[yellow]interrupted[/] {escape(self.reason(data))}", soft_wrap=True)
        elif name == "turn.failed":
            out.print(f"[red]failed[/] {escape(data['message'])}", soft_wrap=True)
        elif name == "degraded":
            out.print(f"[yellow]degraded[/] {escape(self.degraded(data))}", soft_wrap=True)

    @staticmethod
    def reason(data: dict[str, Any]) -> str:
        """Why a turn or a session ended before its time; ``data`` of that event."""
        return str(data.get("message") or REASONS.get(data["reason"], data["reason"]))

    @staticmethod
    def degraded(data: dict[str, Any]) -> str:
        """What is missing from the picture now, and why."""
        seen = LEVELS.get(data["level"], data["level"])
        reason = _CODE.sub("", data.get("reason") or "")
        return f"{seen}: {reason}" if reason else seen

    def _end_line(self) -> None:
        if self._in_reply:
            out.print()
            self._in_reply = False
