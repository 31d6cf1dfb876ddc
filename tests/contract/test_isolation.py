"""Four sessions at once, each with its own words: nothing crosses over."""

from __future__ import annotations

import numpy as np

from tests.support.client import Message, Session, Stranger
from tests.support.pacing import assert_paced
from tests.support.segments import aligned_correlation, assert_seamless, decode, speech_like

WORDS = ("apples and pears", "iron and coal", "rivers and seas", "moons and stars")


def test_four_speaking_sessions_keep_their_own_words(stranger: Stranger) -> None:
    def another() -> list[Message]:
        session = stranger.session()
        session.speak(texts[0])
        return session.media

    sessions = [stranger.session() for _ in WORDS]
    texts = [
        f"I only ever speak of {words}. Nothing but {words} is heard from me. Yes, {words}." for words in WORDS
    ]
    turns = [session.say(text) for session, text in zip(sessions, texts, strict=True)]
    for session, turn, text in zip(sessions, turns, texts, strict=True):
        session.wait_ended(turn)
        assert {m.header["sid"] for m in session.all} == {session.sid}
        assert " ".join(e["data"]["text"] for e in session.events("sentence")) == text
        assert session.events("reply.delta")[0]["data"]["text"] == text
        assert_seamless([m.header for m in session.media])
        assert decode(session.blob()).frames == sum(m.header["frames"] for m in session.media)
        assert_paced(session.media, another)


def test_four_sessions_are_heard_with_their_own_voice(stranger: Stranger) -> None:
    sounds = [speech_like(1.6 + 0.32 * n, seed=10 + n) for n in range(4)]
    sessions = [stranger.session(mode="offline") for _ in sounds]
    pieces = [np.array_split(sound, 7) for sound in sounds]
    asked: list[tuple[Session, int]] = []
    for number in range(7):  # in turns, and without waiting: a pause of 2 s would end them
        asked += [
            (
                session,
                session.control.send(
                    "process_segment",
                    session_id=session.sid,
                    audio=own[number].tobytes(),
                    format="s16le",
                    sample_rate=48_000,
                    last=number == 6,
                ),
            )
            for session, own in zip(sessions, pieces, strict=True)
        ]
    replies = [session.control.take(number) for session, number in asked]
    turns = [reply["turn"] for reply in replies[-4:]]
    heard = []
    for session, turn in zip(sessions, turns, strict=True):
        session.wait_ended(turn)
        heard.append(decode(session.blob()).sound)
    for row, sound in enumerate(heard):
        for column, sent in enumerate(sounds):
            likeness = aligned_correlation(sound, sent.astype(np.float32))
            assert (likeness > 0.95) if row == column else (likeness < 0.5), (row, column, likeness)
