"""What a hostile or an unlucky client found: one test per promise that was broken once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.support.client import Stranger
from tests.support.daemon import Daemon
from tests.support.processes import peak_bytes
from tests.support.zmtp import RawPeer

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


def test_a_message_without_end_costs_no_session_anything(daemon: Daemon, stranger: Stranger) -> None:
    """200 frames of 30 MiB, and no last one: whoever sends them loses the connection, while others speak on."""
    session = stranger.session()
    status = stranger.control.ok("status")
    broker = next(row["pid"] for row in status["stages"] if row["stage"] == "broker")
    before = peak_bytes(broker, reset=True)
    turn = session.say("Whoever sends too much is not heard, and whoever speaks goes on to the end. " * 2)
    session.wait_media(1, turn)
    for _ in range(2):
        with RawPeer(daemon.control) as attacker:
            assert attacker.flood(200, 30 << 20) < 50  # who looks 40 times a second may be kept from it for one
    session.wait_ended(turn)
    assert peak_bytes(broker) - before < 1_500_000_000, "of the 6 GB that were to come"
    assert session.events("turn.ended", turn)
    assert [m.header["seq"] for m in session.media] == list(range(len(session.media)))
    after = stranger.control.ok("status")
    assert next(row["pid"] for row in after["stages"] if row["stage"] == "broker") == broker


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
    # Where lip-sync itself stood still for seconds, some have none by right: not the most of them.
    without = [m for m in session.media if m.header["degraded"] == "audio_only"]
    assert len(without) < len(session.media) / 2
