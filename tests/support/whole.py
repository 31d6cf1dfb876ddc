"""What is promised of a turn whatever has died while it spoke."""

from __future__ import annotations

from tests.support.client import Session
from tests.support.segments import aligned_correlation, assert_continuous, assert_seamless, decode


def check_whole(session: Session, turn: int, undisturbed: Session) -> None:
    """Everything that contract 3 promises about a turn with an accident in it."""
    session.wait_ended(turn)
    headers = [m.header for m in session.media]
    assert_seamless(headers)
    assert {h["gen"] for h in headers} == {0}
    decoded = decode(session.blob())
    assert_continuous(decoded, headers[0]["pts"], sum(h["frames"] for h in headers))
    assert [e["event"] for e in session.events(turn=turn)].count("turn.ended") == 1
    reference = decode(undisturbed.blob())
    assert decoded.frames == reference.frames, "words are missing or repeated"
    assert aligned_correlation(decoded.sound, reference.sound) > 0.95, "not the same speech"
    sentences = [(e["data"]["index"], e["data"]["text"]) for e in session.events("sentence", turn)]
    assert sentences == [(e["data"]["index"], e["data"]["text"]) for e in undisturbed.events("sentence")]
