"""What is particular to hibari: its voices, its words and where its sounds lie."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from configs.schema import Config, Hibari, Tts
from models.api import EngineError, Span
from models.tts import hibari_times as times
from models.tts.hibari import HibariSynthesizer
from models.tts.speech import SILENCE
from tests.support.doubles import quiet


@pytest.fixture(scope="module")
def hibari() -> Iterator[HibariSynthesizer]:
    made = HibariSynthesizer(Config())
    made.load(quiet)
    yield made
    made.close()


def words(engine: HibariSynthesizer, text: str) -> list[Span]:
    return [word for chunk in engine.speak(text, "", 0, threading.Event()) for word in chunk.words]


def test_words_are_as_they_are_written_however_they_are_read(hibari: HibariSynthesizer) -> None:
    text = "On 5 May 2024 the 12% tax was $3.50, Dr. O'Neil said; don't ask -- it's 9:30pm."
    said = words(hibari, text)
    assert [word.text for word in said] == [
        "On", "5", "May", "2024", "the", "12%", "tax", "was", "$3.50", "Dr", "O'Neil", "said", "don't", "ask",
        "it's", "9:30pm",
    ]  # fmt: skip
    lengths = {word.text: word.t1_us - word.t0_us for word in said}
    assert lengths["$3.50"] > 2 * lengths["tax"], "three dollars and fifty cents"


def test_a_long_sentence_is_cut_for_the_network_and_loses_no_word(hibari: HibariSynthesizer) -> None:
    text = "one two three four five six seven eight nine ten " * 8
    assert [word.text for word in words(hibari, text)] == text.split()


@pytest.mark.parametrize(
    "text", ["7" * 600, "$" * 200 + "5", "MDCCLXXVI.IV/V", "a" * 2000, "[x](/ɹˈɛd/) [y](/", "½ ⅓ ² ∞ €5k", "é̈́ñ"]
)
def test_odd_text_is_read_or_passed_over(hibari: HibariSynthesizer, text: str) -> None:
    chunks = list(hibari.speak(text, "", 0, threading.Event()))
    assert sum(len(chunk.pcm) for chunk in chunks) < 48_000 * 2000


def test_another_script_is_left_to_another_voice(hibari: HibariSynthesizer) -> None:
    assert [hibari.speaks(tag) for tag in ("en", "en-GB", "zh-CN", "de", "")] == [True, True, False, False, False]
    with pytest.raises(EngineError, match=r"hibari speaks English, not zh.*engines\.tts"):
        list(hibari.speak("你好 there", "", 0, threading.Event()))


def test_only_voices_that_are_here_are_offered(hibari: HibariSynthesizer) -> None:
    assert [voice.name for voice in hibari.voices()] == ["heart"]
    with pytest.raises(EngineError, match=r"emma is not on this machine.*--voice emma"):
        HibariSynthesizer(Config(hibari=Hibari(voice="emma"))).load(quiet)
    with pytest.raises(EngineError, match=r"no voice 'bob'; known are:.*heart.*Set hibari\.voice"):
        HibariSynthesizer(Config(hibari=Hibari(voice="bob"))).load(quiet)
    odd = HibariSynthesizer(Config(tts=Tts(voice="zh-CN-XiaoxiaoNeural")))
    odd.load(quiet)
    assert words(odd, "Hello.") == words(hibari, "Hello.")


def test_the_count_is_laid_out_with_stress_on_its_vowel() -> None:
    sounds = times.lay_out([("m", 0), ("ˈ", 0), ("ɑ", 0), (",", 1), (" ", 1), ("p", 2)], [6, 2, 2, 4, 2, 2, 3, 5])
    assert [s.symbol for s in sounds] == [SILENCE, "m", "'A:", SILENCE, "p", SILENCE]
    assert [s.t0 + times.AHEAD for s in sounds][1:] == [12, 16, 28, 34, 42]
    assert sounds[0].t0 == 0
    assert sounds[-1].t1 == 52


def test_borders_are_moved_to_where_sounds_are_heard() -> None:
    rng, t = np.random.default_rng(1), np.arange(60 * times.HOP)
    vowel = 0.3 * np.sin(t * 0.15)
    hiss = 0.1 * rng.standard_normal(len(t))
    audio = np.zeros(len(t))
    for begin, end, sound in ((10, 22, hiss), (22, 40, vowel)):
        audio[begin * times.HOP : end * times.HOP] = sound[begin * times.HOP : end * times.HOP]
    sounds = [times.Sound(SILENCE, -1, 0, 14), times.Sound("s", 0, 14, 26), times.Sound("'A:", 0, 26, 44),
              times.Sound(SILENCE, -1, 44, 60)]  # fmt: skip
    times.fit(sounds, audio.astype(np.float32))
    assert [s.t0 for s in sounds] == [0, 10, 22, 40]


def test_a_pause_is_moved_to_the_silence_that_it_is() -> None:
    sounds = [times.Sound(SILENCE, -1, 0, 6), times.Sound("m", 0, 6, 10), times.Sound("'A:", 0, 10, 22),
              times.Sound(SILENCE, -1, 22, 28), times.Sound("p", 2, 28, 36),
              times.Sound(SILENCE, -1, 36, 52)]  # fmt: skip
    level = np.full(52, 0.1)
    level[:5] = level[20:25] = level[34:] = 0
    settled = times.settle(sounds, times.silences(level))
    assert [(s.symbol, s.t0, s.t1) for s in settled] == [
        (SILENCE, 0, 5), ("m", 5, 10), ("'A:", 10, 20), (SILENCE, 20, 25), ("p", 25, 34), (SILENCE, 34, 52),
    ]  # fmt: skip


def test_a_pause_that_is_not_heard_is_none() -> None:
    sounds = [times.Sound(SILENCE, -1, 0, 2), times.Sound("A:", 0, 2, 10), times.Sound(SILENCE, -1, 10, 18),
              times.Sound("p", 2, 18, 30), times.Sound(SILENCE, -1, 30, 40)]  # fmt: skip
    level = np.full(40, 0.1)
    level[:2] = level[36:] = 0
    settled = times.settle(sounds, times.silences(level))
    assert [(s.symbol, s.t0, s.t1) for s in settled] == [("A:", 0, 18), ("p", 18, 36), (SILENCE, 36, 40)]
