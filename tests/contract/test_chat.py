"""``chat``: an answer in words of its own, streamed, in the language of the question."""

from __future__ import annotations

import pytest

from tests.support.client import Session, Stranger
from tests.support.segments import decode


def _answer(session: Session, turn: int) -> str:
    return "".join(e["data"]["text"] for e in session.events("reply.delta", turn))


@pytest.mark.parametrize(("question", "chinese"), [("What can you do?", False), ("你是谁？", True)])
def test_chat_answers_in_the_language_of_the_question(stranger: Stranger, question: str, chinese: bool) -> None:
    session = stranger.session(mode="offline")
    turn = session.ok("chat", text=question)["turn"]
    timings = session.wait_ended(turn)["data"]["timings_ms"]
    answer = _answer(session, turn)
    assert any("\u4e00" <= c <= "\u9fff" for c in answer) is chinese, answer
    sentences = [e["data"]["text"] for e in session.events("sentence", turn)]
    assert "".join(sentences).replace(" ", "") == answer.replace(" ", "").replace("\n", "")
    assert timings["llm_first_token"] is not None
    assert timings["llm_first_token"] <= timings["llm_first_sentence"] <= timings["tts_first_audio"]
    headers = [m.header for m in session.of_turn(turn)]
    decoded = decode(session.blob())
    assert decoded.frames == sum(h["frames"] for h in headers)
    assert float(abs(decoded.sound).max()) > 0.05
    assert session.events("turn.started", turn)[0]["data"]["source"] == "chat"


def test_an_unknown_question_is_answered_honestly(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    turn = session.ok("chat", text="What is the airspeed velocity of an unladen swallow?")["turn"]
    session.wait_ended(turn)
    assert _answer(session, turn).strip()
