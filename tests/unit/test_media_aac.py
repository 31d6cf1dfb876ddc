from __future__ import annotations

import threading
from collections.abc import Sequence

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from configs.schema import Config
from models.api import EngineError, Pcm
from models.media import aac
from models.media.fmp4 import AAC_FRAME

QUANTUM = 15 * AAC_FRAME
TEXT = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps in the shade of a very old oak tree. "
    "She sells sea shells on the sea shore. Please speak clearly, and pause between the words!"
)


@pytest.fixture(scope="module")
def speech() -> Pcm:
    """Some ten seconds of real synthetic speech, 48 kHz."""
    pytest.importorskip("espeakng_loader", reason="pip install 'musecast[espeak]'")
    from models.tts.espeak import EspeakSynthesizer

    voice = EspeakSynthesizer(Config())
    voice.load(lambda *_: None)
    pcm = np.concatenate([chunk.pcm for chunk in voice.speak(TEXT, "en", 0, threading.Event())])
    voice.close()
    return pcm


def decode(packets: Sequence[bytes], config: bytes) -> NDArray[np.float64]:
    decoder = av.CodecContext.create("aac", "r")
    decoder.extradata = config
    frames = [frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(av.Packet(packet))]
    return np.concatenate(frames).astype(np.float64)


def with_rolls(pcm: Pcm, length: int) -> tuple[Pcm, int]:
    """The turn as segments see it (silence around it), and how many segments of ``length`` it fills."""
    count = len(pcm) // length
    silence = [np.zeros(aac.PRE_ROLL, np.int16), np.zeros(aac.POST_ROLL, np.int16)]
    return np.concatenate([silence[0], pcm[: count * length], silence[1]]), count


@pytest.mark.parametrize("kbps", [64, 96, 128])
@pytest.mark.parametrize("quanta", [1, 2, 4])
def test_joints_are_within_1_2_of_one_continuous_encode(speech: Pcm, kbps: int, quanta: int) -> None:
    length, rate = quanta * QUANTUM, kbps * 1000
    padded, count = with_rolls(speech, length)
    config = aac.audio_settings(rate).config
    apart: list[bytes] = []
    for k in range(count):
        apart += aac.encode_span(padded[k * length : (k + 1) * length + aac.PRE_ROLL + aac.POST_ROLL], rate)
    joined, whole = decode(apart, config), decode(aac.encode_span(padded, rate), config)
    original = padded[aac.PRE_ROLL : -aac.POST_ROLL] / 32768
    assert len(joined) == len(whole) == len(original)

    def error(decoded: NDArray[np.float64], before: int, after: int) -> float:
        at = [slice(k * length - before, k * length + after) for k in range(1, count)]
        return float(np.sqrt(np.mean([np.square(decoded[s] - original[s]) for s in at])))

    # The frame that both encoders had a part in, and a wider look around it.
    for before, after in ((0, AAC_FRAME), (AAC_FRAME, AAC_FRAME), (2048, 2048)):
        assert error(joined, before, after) <= 1.2 * error(whole, before, after)


def test_a_span_begins_where_its_segment_begins(speech: Pcm) -> None:
    """No priming is left in: the decoded sound lies where it was, to the sample."""
    padded, _ = with_rolls(speech, QUANTUM)
    part = padded[: aac.PRE_ROLL + 10 * QUANTUM + aac.POST_ROLL]
    decoded = decode(aac.encode_span(part, 96_000), aac.audio_settings(96_000).config)
    original = part[aac.PRE_ROLL : -aac.POST_ROLL] / 32768
    errors = {
        shift: float(np.square(np.roll(decoded, shift)[4096:-4096] - original[4096:-4096]).mean())
        for shift in (-1024, -2, -1, 0, 1, 2, 1024)
    }
    assert min(errors, key=errors.__getitem__) == 0
    assert errors[0] < 0.01 * np.square(original).mean()


def test_the_rate_follows_the_setting_and_silence_costs_next_to_nothing(speech: Pcm) -> None:
    padded, count = with_rolls(speech, QUANTUM)
    rates = [sum(map(len, aac.encode_span(padded, kbps * 1000))) * 8 / (count * 0.32) for kbps in (64, 96, 128)]
    assert 30e3 < rates[0] < rates[1] < rates[2] < 180e3
    assert sum(map(len, aac.encode_span(np.zeros_like(padded), 96_000))) * 8 / (count * 0.32) < 3e3


@pytest.mark.parametrize("samples", [0, 6 * AAC_FRAME, 6 * AAC_FRAME + 1920])
def test_a_span_of_another_length_is_refused(samples: int) -> None:
    with pytest.raises(EngineError, match="whole AAC frames") as caught:
        aac.encode_span(np.zeros(samples, np.int16), 96_000)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_rate_that_aac_cannot_follow_is_refused() -> None:
    with pytest.raises(EngineError, match="audio_kbps from 24 to 160"):
        aac.audio_settings(256_000)
