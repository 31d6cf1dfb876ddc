"""What adapters make of a session's segments: that which a player shows, 40 ms at a time."""

from __future__ import annotations

import numpy as np
import pytest

from clients.adapters.decoder import TICK_SAMPLES, Decoder
from tests.support.client import Stranger
from tests.support.media import decode_audio, decode_video


def test_ticks_are_what_a_player_shows(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    session.speak("One two three. Four five six.")
    init, media = session.reply["init"], session.media
    assert len(media) > 1
    decoder = Decoder(init, "rgb24")
    made = [tick for one in media for tick in decoder.decode(one.header, one.payload)]
    pictures, sound = decode_video(session.blob()), decode_audio(session.blob())
    assert len(made) == len(pictures) == sum(one.header["frames"] for one in media)
    assert [tick.pts for tick in made] == [40_000 * number for number in range(len(made))]
    assert {(tick.turn, tick.gen, tick.width, tick.height) for tick in made} == {(1, 0, 512, 512)}
    heard = np.concatenate([np.frombuffer(tick.sound, "<i2") for tick in made])
    assert {len(tick.sound) for tick in made} == {2 * TICK_SAMPLES}
    assert np.abs(heard - np.clip(sound, -1, 1) * 32767).max() <= 1  # also where one segment joins the next
    for number in (0, len(made) // 2, len(made) - 1):
        seen = pictures[number].to_ndarray(format="rgb24").astype(int).reshape(-1)
        assert np.abs(seen - np.frombuffer(made[number].picture, np.uint8)).mean() < 6  # perhaps by another matrix

    planes = Decoder(init, "yuv420p").decode(media[0].header, media[0].payload)
    assert {len(tick.picture) for tick in planes} == {512 * 512 * 3 // 2}
    assert [tick.sound for tick in planes] == [tick.sound for tick in made[: len(planes)]]


def test_a_damaged_segment_is_refused_and_the_next_one_is_not(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    session.speak("One two three. Four five six.")
    first, second = session.media[:2]
    decoder = Decoder(session.reply["init"], "yuv420p")
    with pytest.raises(ValueError, match="moof"):
        decoder.decode(first.header, b"")
    with pytest.raises(ValueError, match="segment 0"):
        decoder.decode({**first.header, "frames": 1}, first.payload)
    assert len(decoder.decode(second.header, second.payload)) == second.header["frames"]
    with pytest.raises(ValueError, match="no init"):
        Decoder(b"no init", "yuv420p")
