"""What a hostile or an unlucky client found: one test per promise that was broken once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.support.client import Stranger

FEED_RATE = 16_000
FEED_CHUNK_S = 0.25
FEED_S = 4.0


@pytest.mark.parametrize("sid", ["newline\n", "\n"])
def test_an_id_with_a_newline_at_its_end_is_refused(stranger: Stranger, sid: str) -> None:
    assert stranger.control.refused("start_session", session_id=sid)["code"] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("audio", {"pcm": "QUJDRA=="}),
        ("process_segment", {"audio": "QUJDRA==", "format": "s16le", "sample_rate": 16000, "last": True}),
    ],
)
def test_text_where_bytes_belong_is_refused(stranger: Stranger, op: str, arguments: dict[str, Any]) -> None:
    session = stranger.session()
    assert session.refused(op, **arguments)["code"] == "INVALID_ARGUMENT"


def test_segments_and_events_give_as_many_as_were_asked_for(stranger: Stranger) -> None:
    """16 and 256 are what a client gets that names no number; the bound of an answer is 8 MiB."""
    session = stranger.session(mode="offline")
    session.speak("These words are said many times over. " * 12)
    published = len(session.media)
    assert published > 16
    assert len(session.ok("segments", from_seq=0)["segments"]) == 16
    assert len(session.ok("segments", from_seq=0, max=published)["segments"]) == published


def test_the_microphone_may_change_its_rate_between_utterances(stranger: Stranger) -> None:
    session = stranger.session()
    for rate in (16_000, 48_000, 8_000):
        session.ok("audio", pcm=bytes(rate // 5), sample_rate=rate, end=True)


def test_audio_fed_at_its_own_speed_moves_the_lips(stranger: Stranger) -> None:
    """A live voice has no lead: what arrives late is shown late, with its lips, not without them."""
    session = stranger.session()
    size = int(FEED_RATE * FEED_CHUNK_S) * 2
    count = int(FEED_S / FEED_CHUNK_S)
    clock = threading.Event()
    start = time.monotonic()
    turns = set()
    for k in range(count):
        clock.wait(max(0.0, start + k * FEED_CHUNK_S - time.monotonic()))
        reply = session.ok(
            "process_segment",
            audio=bytes(size),
            format="s16le",
            sample_rate=FEED_RATE,
            last=k == count - 1,
        )
        turns.add(reply["turn"])
    for turn in turns:  # one, unless the feed was held up for 2 s
        session.wait_ended(turn)
    assert "audio_only" not in {m.header["degraded"] for m in session.media}
