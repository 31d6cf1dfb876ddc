"""A microphone that hears the avatar."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.client import Stranger
from tests.support.daemon import Daemon
from tests.support.segments import decode

PIECE = 4800
"""Samples of one call."""
ITSELF = (
    "I am an avatar, and I can talk for as long as you like to listen to me.",
    "The sound of my voice comes out of your loudspeaker and goes back into your microphone.",
    "A person would know that it is only me, so nobody needs to answer what I have just said.",
    "When it rains in the mountains, the river behind the house becomes wide and loud.",
    "Two old men sit under a tree and play chess until the sun has gone down.",
)


@pytest.mark.full  # a busy machine shifts microphone against loudspeaker, as no room does
def test_the_avatar_is_not_interrupted_by_its_own_sound(
    own_daemon: Daemon, connect: Callable[[Daemon], Stranger]
) -> None:
    """A viewer whose loudspeaker is near the microphone, 350 ms behind; nobody says that it is cancelled."""
    stranger = connect(own_daemon)
    text = " ".join(ITSELF)
    speaker = stranger.session(mode="offline")
    speaker.speak(text)
    sound = decode(speaker.blob()).sound * 32767
    sound = np.concatenate([np.zeros(int(0.35 * 48_000)), sound, np.zeros(48_000)])
    random = np.random.default_rng(6)
    room = random.normal(size=4800) * np.exp(-np.arange(4800) / 800) * 0.1
    room[0] = 1.0
    near = np.convolve(sound, room)[: len(sound)] * 0.5 + random.normal(0, 10, len(sound))
    heard = near.reshape(-1)[: len(near) // PIECE * PIECE].clip(-32768, 32767).astype(np.int16)
    session = stranger.session()
    turn = session.say(text)
    session.wait_media(1, turn)
    begin, paced = session.media[0].at, threading.Event()
    for number, piece in enumerate(heard.reshape(-1, PIECE)):
        paced.wait(max(0.0, begin + (number + 1) * PIECE / 48_000 - time.monotonic()))  # as a microphone does
        session.ok("audio", pcm=piece.tobytes(), sample_rate=48_000)
    assert len(heard) > 18 * 48_000
    session.wait_ended(turn)
    assert "user.speech.started" not in [e["event"] for e in session.events()]
