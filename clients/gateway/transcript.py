"""What was said in a session, made of its events. Pure.

Times are on the session's media timeline. The avatar's sentences have theirs from ``sentence``; the user's words
have none and stand where the picture was when they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clients.aio.messages import Header

USER_SHOWN_US = 2_000_000
"""The user's words take no media time; in subtitles they are shown for so long."""
SHORTEST_US = 40_000


@dataclass(slots=True)
class Line:
    """One utterance of the user, or one sentence of the avatar.

    Attributes:
        pts: where it begins, in us.
        dur: how long it was to be heard; None: its end is not known yet, or, of the user, it takes no time.
        cut: it was interrupted before its end.
        unheard: it was cut before it began.
    """

    turn: int
    speaker: str
    text: str
    pts: int
    dur: int | None = None
    cut: bool = False
    unheard: bool = False
    confidence: float | None = None
    language: str | None = None


@dataclass(slots=True)
class Transcript:
    """Of one session, from its first event that is still there."""

    session_id: str
    lines: list[Line] = field(default_factory=list)
    interrupted: dict[int, str | None] = field(default_factory=dict)
    """Turn -> what was heard of its answer; None where the daemon does not say."""
    complete: bool = True
    """Nothing from the session's beginning is missing."""
    ended: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON."""
        lines = []
        for line in self.lines:
            one: dict[str, Any] = {"turn": line.turn, "speaker": line.speaker, "text": line.text, "pts": line.pts}
            one |= {"dur": line.dur}
            if line.speaker == "user":
                one |= {"confidence": line.confidence, "language": line.language}
            else:
                one |= {"cut": line.cut, "unheard": line.unheard}
            lines.append(one)
        turns = [{"turn": turn, "spoken_text": text} for turn, text in sorted(self.interrupted.items())]
        return {
            "session_id": self.session_id, "complete": self.complete, "ended": self.ended, "lines": lines,
            "interrupted": turns,
        }  # fmt: skip

    def vtt(self) -> str:
        """As WebVTT."""
        cues = [
            f"{_clock(start, '.')} --> {_clock(end, '.')}\n<v {_NAMES[line.speaker]}>{_escaped(line.text)}\n"
            for line, start, end in self._cues()
        ]
        return "\n".join(["WEBVTT\n", *cues])

    def srt(self) -> str:
        """As SubRip."""
        cues = [
            f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n"
            f"{_NAMES[line.speaker]}: {_one_line(line.text)}\n"
            for number, (line, start, end) in enumerate(self._cues(), 1)
        ]
        return "\n".join(cues)

    def _cues(self) -> Iterable[tuple[Line, int, int]]:
        shown = [line for line in self.lines if not line.unheard and line.text.strip()]
        for line in sorted(shown, key=lambda one: one.pts):
            dur = line.dur if line.speaker == "avatar" and line.dur is not None else USER_SHOWN_US
            yield line, line.pts, line.pts + max(SHORTEST_US, dur)


_NAMES = {"user": "User", "avatar": "Avatar"}


def transcript(session_id: str, events: Iterable[Header]) -> Transcript:
    """The transcript of events in the order of ``n``."""
    made = Transcript(session_id)
    places: dict[tuple[int, int], Line] = {}
    at = 0
    for number, event in enumerate(events):
        name, data, turn = event["event"], event["data"], event["turn"]
        if number == 0:
            made.complete = event["n"] == 0
        if name == "sentence":
            line = places.get((turn, data["index"]))
            if line is None:
                line = places[turn, data["index"]] = Line(turn, "avatar", data["text"], data["pts"])
                made.lines.append(line)
            line.text, line.pts, line.dur = data["text"], data["pts"], data["dur"]
            at = max(at, line.pts + (line.dur or 0))
        elif name == "transcript.final" and data["text"]:
            made.lines.append(
                Line(turn, "user", data["text"], at, confidence=data["confidence"], language=data["language"])
            )
        elif name == "speech.ended":
            _close(places, turn, event["pts"])
            at = event["pts"]
        elif name == "turn.interrupted":
            made.interrupted[turn] = data.get("spoken_text")
            at = _cut(places, turn, data["flush_from"], at)
        made.ended = made.ended or name == "session.ended"
    return made


def _close(places: dict[tuple[int, int], Line], turn: int, end: int) -> None:
    """The turn's voice ends: so does a sentence whose end was not known, unless the next one began before."""
    for line in sorted((line for (of, _), line in places.items() if of == turn), key=lambda one: -one.pts):
        if line.dur is None:
            line.dur = max(0, end - line.pts)
        end = line.pts


def _cut(places: dict[tuple[int, int], Line], turn: int, flush_from: int, at: int) -> int:
    """What of the turn lies at or after the cut is not heard; returns where media stands now."""
    lines = [line for (of, _), line in places.items() if of == turn]
    for line in lines:
        if line.pts >= flush_from:
            line.unheard = line.cut = True
            line.dur = 0
        elif line.dur is None or line.pts + line.dur > flush_from:
            line.cut, line.dur = True, flush_from - line.pts
    return flush_from if lines else min(at, flush_from)


def _clock(us: int, point: str) -> str:
    ms = us // 1000
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return _one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


MIME = {"json": "application/json", "vtt": "text/vtt; charset=utf-8", "srt": "application/x-subrip; charset=utf-8"}
