"""What was said, made of events."""

from __future__ import annotations

from typing import Any

from clients.gateway.transcript import transcript

Q = 320_000


def events(*told: tuple[Any, ...]) -> list[dict[str, Any]]:
    """(name, turn, data, pts?), numbered."""
    made = []
    for n, (name, turn, data, *pts) in enumerate(told):
        made.append({"n": n, "event": name, "turn": turn, "data": data} | ({"pts": pts[0]} if pts else {}))
    return made


TALK = events(
    ("session.started", 0, {}),
    ("transcript.final", 1, {"text": "Who are <you>?", "confidence": 0.9, "language": "en"}),
    ("sentence", 1, {"index": 0, "text": "I am a face.", "pts": 0, "dur": 4 * Q}),
    ("sentence", 1, {"index": 1, "text": "I talk & listen.", "pts": 4 * Q, "dur": None}),
    ("sentence", 1, {"index": 2, "text": "Never said.", "pts": 9 * Q, "dur": 2 * Q}),
    ("turn.interrupted", 1, {"flush_from": 6 * Q, "reason": "barge_in", "spoken_text": "I am a face. I talk"}),
    ("transcript.final", 2, {"text": "Stop.", "confidence": None, "language": "en"}),
    ("sentence", 2, {"index": 0, "text": "All right.", "pts": 6 * Q, "dur": None}),
    ("speech.ended", 2, {}, 8 * Q),
    ("session.ended", 0, {"reason": "ended"}),
)


def test_lines_have_their_times_and_cuts() -> None:
    document = transcript("s", TALK).document()
    assert [(line["speaker"], line["text"], line["pts"], line["dur"]) for line in document["lines"]] == [
        ("user", "Who are <you>?", 0, None),
        ("avatar", "I am a face.", 0, 4 * Q),
        ("avatar", "I talk & listen.", 4 * Q, 2 * Q),
        ("avatar", "Never said.", 9 * Q, 0),
        ("user", "Stop.", 6 * Q, None),
        ("avatar", "All right.", 6 * Q, 2 * Q),
    ]
    assert [line.get("cut") for line in document["lines"]] == [None, False, True, True, None, False]
    assert [line.get("unheard") for line in document["lines"]] == [None, False, False, True, None, False]
    assert document["interrupted"] == [{"turn": 1, "spoken_text": "I am a face. I talk"}]
    assert document["complete"]
    assert document["ended"]


def test_subtitles_have_what_was_heard_in_the_order_of_time() -> None:
    assert transcript("s", TALK).vtt() == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:02.000\n<v User>Who are &lt;you&gt;?\n\n"
        "00:00:00.000 --> 00:00:01.280\n<v Avatar>I am a face.\n\n"
        "00:00:01.280 --> 00:00:01.920\n<v Avatar>I talk &amp; listen.\n\n"
        "00:00:01.920 --> 00:00:03.920\n<v User>Stop.\n\n"
        "00:00:01.920 --> 00:00:02.560\n<v Avatar>All right.\n"
    )
    subrip = transcript("s", TALK).srt()
    assert subrip.startswith("1\n00:00:00,000 --> 00:00:02,000\nUser: Who are <you>?\n\n2\n")
    assert "\n2\n00:00:00,000 --> 00:00:01,280\nAvatar: I am a face.\n" in subrip


def test_a_beginning_that_is_not_there_any_more_is_said() -> None:
    late = transcript("s", TALK[3:])
    assert not late.complete
    assert late.document()["lines"][0]["text"] == "I talk & listen."


def test_a_session_without_a_word_has_an_empty_transcript() -> None:
    empty = transcript("s", [])
    assert empty.document()["lines"] == []
    assert empty.vtt() == "WEBVTT\n"
    assert empty.srt() == ""
