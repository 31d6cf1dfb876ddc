"""``process_segment``: a client's own audio, in pieces of any size and format, as one continuous turn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.client import Session, Stranger
from tests.support.limits import REPLY_S, WORK_S
from tests.support.segments import (
    aligned_correlation,
    assert_continuous,
    assert_seamless,
    decode,
    speech_like,
    wav,
)


def _raw(samples: NDArray[np.int16], sample_rate: int, **arguments: Any) -> dict[str, Any]:
    return {"audio": samples.tobytes(), "format": "s16le", "sample_rate": sample_rate, **arguments}


def _check(session: Session, turn: int, seconds: float) -> NDArray[np.float32]:
    """The turn ended, is seamless, and is the audio padded to whole quanta; returns the sound."""
    session.wait_ended(turn)
    headers = [m.header for m in session.of_turn(turn)]
    assert_seamless(headers, headers[0]["seq"])
    frames = sum(h["frames"] for h in headers)
    assert frames * 40 >= seconds * 1000 - 1e-6
    assert frames * 40 < seconds * 1000 + 320 + 1e-6, "padded by more than a quantum"
    first = headers[0]["seq"]
    decoded = decode(session.blob(first, first + len(headers)))
    assert_continuous(decoded, headers[0]["pts"], frames)
    return decoded.sound


def test_wait_replies_when_the_segments_are_published(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    sound = speech_like(2.0)
    reply = session.ok("process_segment", WORK_S, audio=wav(sound, 48_000), last=True, wait=True)
    assert reply["accepted_ms"] == 2000
    assert reply["carried_ms"] == 0
    assert reply["segments"] == list(range(len(reply["segments"])))
    session.wait_media(len(reply["segments"]), reply["turn"], REPLY_S)
    assert sum(m.header["frames"] for m in session.of_turn(reply["turn"])) == 56  # 2 s in whole quanta
    assert session.media[-1].header["last"] is True
    heard = _check(session, reply["turn"], 2.0)
    assert aligned_correlation(heard, sound.astype(np.float32)) > 0.95


def test_carry_over_joins_pieces_of_odd_sizes(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    sound = speech_like(3.1, 16_000)
    sizes = [1, 777, 5123, 8000, 3, 12_345, 160, 9999]
    cuts = [*np.cumsum(sizes).tolist(), len(sound)]
    replies = session.feed(
        *(
            _raw(sound[begin:cut], 16_000, last=cut == len(sound), wait=True)
            for begin, cut in itertools.pairwise([0, *cuts])
        )
    )
    accepted = sum(reply["accepted_ms"] for reply in replies)
    seqs = [seq for reply in replies for seq in reply["segments"]]
    turns = {reply["turn"] for reply in replies}
    assert max(reply["carried_ms"] for reply in replies) < 400
    assert replies[-1]["carried_ms"] == 0
    assert len(turns) == 1
    assert accepted == pytest.approx(len(sound) / 16, abs=len(cuts))
    assert seqs == list(range(len(seqs))), "each segment is reported by the call that completed it"
    heard = _check(session, turns.pop(), 3.1)
    expected = np.interp(np.arange(int(3.1 * 48_000)) / 3.0, np.arange(len(sound)), sound)
    assert aligned_correlation(heard, expected) > 0.95


def test_any_cut_of_the_audio_gives_the_same_media(stranger: Stranger) -> None:
    sound = speech_like(2.5, 22_050)
    whole = stranger.session(mode="offline")
    turn = whole.ok("process_segment", WORK_S, **_raw(sound, 22_050, last=True))["turn"]
    one = _check(whole, turn, 2.5)
    pieces = stranger.session(mode="offline")
    turn = pieces.feed(
        *(
            _raw(sound[begin : begin + 3001], 22_050, last=begin + 3001 >= len(sound))
            for begin in range(0, len(sound), 3001)
        )
    )[-1]["turn"]
    other = _check(pieces, turn, 2.5)
    assert len(one) == len(other)
    assert aligned_correlation(one, other, reach=2) > 0.98


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("kind", ["wav", "raw"])
def test_sample_rates_and_formats(stranger: Stranger, sample_rate: int, kind: str) -> None:
    session = stranger.session(mode="offline")
    seconds = 0.9
    sound = speech_like(seconds, sample_rate)
    audio = {"audio": wav(sound, sample_rate)} if kind == "wav" else _raw(sound, sample_rate)
    turn = session.ok("process_segment", WORK_S, **audio, last=True)["turn"]
    heard = _check(session, turn, seconds)
    count = int(seconds * 48_000)
    expected = np.interp(np.arange(count) * sample_rate / 48_000, np.arange(len(sound)), sound)
    assert aligned_correlation(heard, expected) > 0.95


def test_stereo_wav_is_mixed(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    left, right = speech_like(0.9, seed=2), speech_like(0.9, seed=3)
    audio = wav(np.stack([left, right], axis=1), 48_000)
    turn = session.ok("process_segment", WORK_S, audio=audio, last=True)["turn"]
    heard = _check(session, turn, 0.9)
    assert aligned_correlation(heard, left.astype(np.float32) + right) > 0.9


def test_a_turn_without_last_is_closed_after_two_seconds(stranger: Stranger) -> None:
    session = stranger.session(mode="offline")
    turn = session.ok("process_segment", WORK_S, **_raw(speech_like(0.5), 48_000))["turn"]
    session.wait_ended(turn)
    assert sum(m.header["frames"] for m in session.of_turn(turn)) == 16
    assert session.ok("process_segment", WORK_S, **_raw(speech_like(0.5), 48_000, last=True))["turn"] == turn + 1
