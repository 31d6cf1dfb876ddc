"""Any stage may be killed or frozen in mid-turn: no hole, no repeat, everything heard once, the turn ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.limits import BEAT_S, RECOVERY_S
from tests.support.microphone import question
from tests.support.whole import check_whole

STAGES = ("asr", "llm", "tts", "lipsync", "encode")
SPOKEN_S = 1.6
"""Into the bundled question somebody is still speaking."""
OVERRIDES = (
    "supervisor.beats_missed=6",  # nobody else is to be taken for hung
    "supervisor.intensity=30",
    "supervisor.backoff_s=[0]",
    "engines.tts=[espeak]",  # its successor is there at once
)
TEXT = (
    "This is a speech about nothing in particular, so that something may break in it. "
    "Nobody notices. In the end every word has been said exactly once."
)


@pytest.fixture
def listener(own_daemon: Daemon) -> Iterator[Stranger]:
    """A client of the daemon, once every process is warm again that a test before may have killed."""
    client = Stranger(own_daemon.control, own_daemon.stream)
    for row in client.control.ok("status")["stages"]:
        if row["stage"] in STAGES:
            _wait_warm(client, row["instance"])
    yield client
    client.close()


@pytest.fixture(scope="module")
def undisturbed(own_daemon: Daemon) -> Session:
    """The same speech without any accident."""
    client = Stranger(own_daemon.control, own_daemon.stream)
    session = client.session(mode="offline")
    session.speak(TEXT)
    return session


def _wait_warm(listener: Stranger, instance: str, after: int = 0) -> dict[str, Any]:
    """Until an incarnation after ``after`` is warm; ``sys.`` once a second is the event to look again at."""
    stream = listener.subscribe("sys.")
    deadline = time.monotonic() + RECOVERY_S
    while True:
        row = stage_row(listener.control.ok("status"), instance)
        if row["epoch"] > after and row["state"] in ("idle", "busy"):
            return row
        assert time.monotonic() < deadline, f"{instance} did not come back: {row}"
        stream.wait(lambda _: True, BEAT_S, "sys. message", start=len(stream.messages))


def _kill(listener: Stranger, instance: str) -> int:
    """SIGKILL, as soon as it is warm; returns the epoch that has died."""
    row = _wait_warm(listener, instance)
    os.kill(row["pid"], signal.SIGKILL)
    return int(row["epoch"])


@pytest.mark.parametrize("instance", ["tts.0", "lipsync.0", "encode.0"])
def test_a_stage_killed_while_the_turn_speaks(listener: Stranger, undisturbed: Session, instance: str) -> None:
    before = stage_row(listener.control.ok("status"), instance)
    session = listener.session()
    turn = session.say(TEXT)
    session.wait_media(2, turn)
    epoch = _kill(listener, instance)
    check_whole(session, turn, undisturbed)
    _wait_warm(listener, instance, epoch)
    after = stage_row(listener.control.ok("status"), instance)
    assert after["restarts"] >= before["restarts"] + 1
    assert after["pid"] != before["pid"]


def test_every_working_stage_killed_in_one_long_turn(listener: Stranger, own_daemon: Daemon) -> None:
    """Unpaced and longer than any stage may work ahead, so that each has items in hand when it dies."""
    long = " ".join(f"This is part {n}. {TEXT}" for n in ("one", "two"))
    calm = listener.session(mode="offline")
    calm.speak(long)
    session = listener.session(mode="offline")
    turn = session.say(long)
    epochs = {}
    for count, instance in ((1, "tts.0"), (3, "lipsync.0"), (6, "encode.0"), (8, "encode.1")):
        session.wait_media(count, turn)
        epochs[instance] = _kill(listener, instance)
    check_whole(session, turn, calm)
    for instance, epoch in epochs.items():
        _wait_warm(listener, instance, epoch)


def test_the_responder_killed_before_it_answers(listener: Stranger) -> None:
    calm = listener.session(mode="offline")
    calm.wait_ended(calm.ok("chat", text="What is musecast?")["turn"])
    session = listener.session(mode="offline")
    epoch = _kill(listener, "llm.0")
    turn = session.ok("chat", text="What is musecast?")["turn"]
    check_whole(session, turn, calm)
    _wait_warm(listener, "llm.0", epoch)


def test_the_recogniser_killed_while_somebody_speaks(listener: Stranger) -> None:
    """What has been said before the death is heard again by its successor. Nobody stops speaking before it."""
    session = listener.session(mode="offline")
    sound, rate = question()
    before, after = np.split(sound, [int(SPOKEN_S * rate)])
    session.ok("audio", pcm=before.tobytes(), sample_rate=rate)
    turn = session.wait_event("user.speech.started")["turn"]
    epoch = _kill(listener, "asr.0")
    session.ok("audio", pcm=after.tobytes(), sample_rate=rate, end=True)
    session.wait_ended(turn)
    assert session.events("transcript.final", turn)[0]["data"]["text"]
    assert len(session.events("user.speech.started")) == 1
    _wait_warm(listener, "asr.0", epoch)


def test_both_encoders_killed_at_once_while_the_session_drains(listener: Stranger, undisturbed: Session) -> None:
    session = listener.session()
    turn = session.say(TEXT)
    session.wait_media(1, turn)
    ending = session.control.send("end_session", session_id=session.sid)
    epochs = {instance: _kill(listener, instance) for instance in ("encode.0", "encode.1")}
    check_whole(session, turn, undisturbed)
    assert session.control.take(ending)["segments"] == len(session.media)
    for instance, epoch in epochs.items():
        _wait_warm(listener, instance, epoch)


def test_a_frozen_stage_is_replaced(listener: Stranger, undisturbed: Session) -> None:
    row = stage_row(listener.control.ok("status"), "lipsync.0")
    session = listener.session()
    turn = session.say(TEXT)
    session.wait_media(1, turn)
    os.kill(row["pid"], signal.SIGSTOP)
    check_whole(session, turn, undisturbed)
    _wait_warm(listener, "lipsync.0", row["epoch"])


def test_health_is_ok_again_afterwards(listener: Stranger) -> None:
    stream = listener.subscribe("sys.")
    stream.wait(lambda m: m.header["status"] == "ok", RECOVERY_S, "status ok")
