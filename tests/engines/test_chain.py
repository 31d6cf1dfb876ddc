"""Chains of engines: what an item becomes when its engine fails, at every moment and in every way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from models.api import (
    Cancel,
    ChatMessage,
    Chunk,
    EngineError,
    Pcm,
    Progress,
    Responder,
    Span,
    Synthesizer,
    Transcriber,
    Transcript,
    Utterance,
    Voice,
)
from models.chain import responder, synthesizer, transcriber
from models.chain.attempt import LOOK_S
from models.chain.chain import Chain
from models.chain.policy import Limits, State
from models.meter import Meter
from tests.support.doubles import quiet
from tests.support.limits import GONE_S
from tests.support.processes import wait_until

LIMITS = Limits(first_output_s=0.3, next_output_s=0.4, break_after=2, probe_s=0.2, last_s=5)
PATIENT = LIMITS._replace(probe_s=600)
SENTENCE = "One two three four five six."
WORD_US = 300_000
WORD_SAMPLES = WORD_US * 48 // 1000
CHUNK = WORD_SAMPLES // 2 + 100
STEP_S = 0.1
"""Of time that an engine lets pass; less than any limit: one step too many makes nobody else late."""
HISTORY = [ChatMessage("user", "Hello?")]


class Time:
    """What a chain takes for the time: only what a test or a double lets pass, however busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


class Double:
    """An engine that does as it is told: after ``good`` outputs of an item it does what ``how`` says.

    "stall" lets time pass and gives nothing, "hang" gives nothing while time stands still.
    """

    can_continue = True
    deterministic = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.time = Time()
        self.how = ""
        self.good = 0
        self.asked: list[str] = []
        self.loads = 0
        self.load_fails = False
        self.stuck = threading.Event()
        self.left = threading.Event()
        self.languages = ("en", "zh")

    def load(self, progress: Progress) -> None:
        self.loads += 1
        if self.load_fails:
            raise EngineError("FAILED", "it does not load")

    def close(self) -> None: ...

    def passes(self) -> None:
        """Work for a while, long enough for a chain to notice."""
        self.time.passes(STEP_S)
        time.sleep(2 * LOOK_S)

    def _guarded(self, outputs: Sequence[object], cancel: Cancel) -> Iterator[object]:
        try:
            for number, output in enumerate(outputs):
                if self.how and number == self.good:
                    self._misbehave(cancel)
                    return
                yield output
        finally:
            self.left.set()

    def _misbehave(self, cancel: Cancel) -> None:
        if self.how == "raise":
            raise EngineError("FAILED", f"{self.name} is broken")
        if self.how == "bug":
            raise KeyError("x")
        self.stuck.set()
        deadline = time.monotonic() + GONE_S
        while not cancel.is_set():
            assert time.monotonic() < deadline, "nobody gives it up"
            if self.how == "stall":
                self.time.passes(STEP_S)
            time.sleep(0.005)


class Talker(Double):
    """A responder."""

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        self.asked.append(prefix)
        words = [word + " " for word in f"I am {self.name} and say this.".split()]
        yield from self._guarded(words, cancel)  # type: ignore[misc]


class Speaker(Double):
    """A synthesizer: each word lasts ``WORD_US``, chunks end in their middle."""

    offered: Sequence[Voice] = ()

    def speaks(self, language: str) -> bool:
        return language.split("-")[0] in self.languages

    def voices(self) -> Sequence[Voice]:
        return self.offered

    def speak(self, text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        self.asked.append(text)
        words = text.replace(".", "").split()
        spans = [Span(word, number * WORD_US, (number + 1) * WORD_US) for number, word in enumerate(words)]
        total = len(words) * WORD_SAMPLES
        chunks = []
        for at in range(from_us * 48 // 1000, total, CHUNK):
            pcm = np.full(min(CHUNK, total - at), ord(self.name[0]), np.int16)
            here = [span for span in spans if at <= span.t0_us * 48 // 1000 < at + len(pcm)]
            chunks.append(Chunk(pcm, here, here))
        yield from self._guarded(chunks, cancel)  # type: ignore[misc]


class Listener(Double):
    """A recogniser."""

    heard = 0

    def open(self, language: str) -> Utterance:
        engine = self
        engine.heard = 0

        class Open:
            def feed(self, pcm: Pcm) -> str | None:
                if engine.how == "feed":
                    raise EngineError("FAILED", "cannot take it")
                engine.heard += len(pcm)
                return None

            def finish(self, cancel: Cancel) -> Transcript:
                for found in engine._guarded([Transcript(f"{engine.name} {engine.heard}", "en", 1.0)], cancel):
                    assert isinstance(found, Transcript)
                    return found
                raise EngineError("FAILED", "nothing")

        return Open()


def talkers(*names: str, limits: Limits = PATIENT) -> tuple[responder.ChainResponder, list[Talker]]:
    engines = [Talker(name) for name in names]
    chain: Chain[Responder] = Chain("llm", _made(engines), limits, Meter(), responder.probe, engines[0].time)
    return responder.ChainResponder(chain), engines


def speakers(*names: str, limits: Limits = PATIENT) -> tuple[synthesizer.ChainSynthesizer, list[Speaker]]:
    engines = [Speaker(name) for name in names]
    chain: Chain[Synthesizer] = Chain("tts", _made(engines), limits, Meter(), synthesizer.probe, engines[0].time)
    return synthesizer.ChainSynthesizer(chain), engines


def listeners(*names: str, limits: Limits = PATIENT) -> tuple[transcriber.ChainTranscriber, list[Listener]]:
    engines = [Listener(name) for name in names]
    chain: Chain[Transcriber] = Chain("asr", _made(engines), limits, Meter(), transcriber.probe, engines[0].time)
    return transcriber.ChainTranscriber(chain), engines


def _made(engines: Sequence[Double]) -> dict[str, Callable[[], Any]]:
    for engine in engines:
        engine.time = engines[0].time
    return {engine.name: partial(_same, engine) for engine in engines}


def _same(engine: Double) -> Double:
    return engine


class Told:
    """Who was told to serve."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def __call__(self, engine: str, reason: str) -> None:
        self.all.append((engine, reason))


def answer(made: responder.ChainResponder, told: Told, prefix: str = "") -> str:
    return "".join(made.reply_via(HISTORY, prefix, threading.Event(), told))


# --- language models ---


@pytest.mark.parametrize("how", ["raise", "bug", "stall"])
def test_an_answer_that_does_not_begin_is_the_next_ones(how: str) -> None:
    made, (a, b) = talkers("a", "b")
    made.load(quiet)
    a.how = how
    told = Told()
    assert answer(made, told) == "I am b and say this. "
    assert [engine for engine, _ in told.all] == ["b"]
    assert told.all[0][1].startswith("a: ")
    if how == "stall":
        assert "0.3 s (chain.first_output_s.llm)" in told.all[0][1]
        assert a.left.wait(GONE_S)
    assert b.asked == [""]
    made.close()


@pytest.mark.parametrize("how", ["raise", "stall"])
def test_an_answer_that_breaks_off_is_continued_by_who_can(how: str) -> None:
    made, (a, b) = talkers("a", "b")
    made.load(quiet)
    a.how, a.good = how, 2
    told = Told()
    text = answer(made, told)
    assert text.startswith("I am ")
    assert b.asked == ["I am "]
    assert [engine for engine, _ in told.all] == ["a", "b"]
    made.close()


def test_an_answer_that_nobody_continues_fails_and_the_next_turn_is_the_next_ones() -> None:
    made, (a, b) = talkers("a", "b")
    made.load(quiet)
    b.can_continue = False
    a.how, a.good = "stall", 2
    told = Told()
    stream = made.reply_via(HISTORY, "", threading.Event(), told)
    assert [next(stream), next(stream)] == ["I ", "am "]
    with pytest.raises(EngineError, match="next_output_s"):
        next(stream)
    assert made.chain.serving == "b"
    assert answer(made, told) == "I am b and say this. "
    assert told.all[-1][0] == "b"
    assert "a: " in told.all[-1][1]
    made.close()


def test_thinking_counts_as_output() -> None:
    made, (a,) = talkers("a")
    made.load(quiet)

    def think(history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        for _ in range(4):
            a.passes()
            yield ""
        yield "Done."

    a.reply = think  # type: ignore[method-assign]
    assert answer(made, Told()) == "Done."
    made.close()


def test_a_single_engine_that_stalls_fails_with_the_named_limit() -> None:
    made, (a,) = talkers("a")
    made.load(quiet)
    a.how = "stall"
    with pytest.raises(EngineError, match=r"a gave nothing for 0\.3 s \(chain\.first_output_s\.llm\)"):
        answer(made, Told())
    made.close()


def test_a_cancelled_answer_ends_quietly_and_counts_against_nobody() -> None:
    made, (a, b) = talkers("a", "b")
    made.load(quiet)
    a.how = "hang"
    cancel = threading.Event()
    threading.Thread(target=lambda: a.stuck.wait(GONE_S) and cancel.set()).start()
    assert list(made.reply(HISTORY, "", cancel)) == []
    assert a.left.wait(GONE_S)
    assert b.asked == []
    assert made.chain.standings[0].state is State.SERVING
    made.close()


# --- members that come back ---


def test_a_broken_member_is_tried_in_the_background_and_has_its_turn_again() -> None:
    made, (a, _) = talkers("a", "b", limits=LIMITS)
    made.load(quiet)
    a.how = "raise"
    told = Told()
    answer(made, told)
    answer(made, told)
    assert made.chain.serving == "b"
    asked = len(a.asked)
    assert answer(made, told) == "I am b and say this. "
    assert len(a.asked) == asked, "no user pays for the test"
    a.time.passes(LIMITS.probe_s)
    wait_until(lambda: len(a.asked) > asked, what="it is tried")
    assert answer(made, told) == "I am b and say this. "
    a.how = ""
    wait_until(lambda: _serves(made, a))
    assert answer(made, told) == "I am a and say this. "
    assert told.all[-1] == ("a", "")
    made.close()


def _serves(made: responder.ChainResponder, engine: Double) -> bool:
    """Whether it is the one that is asked; if not, some time passes until it is tried next."""
    engine.time.passes(LIMITS.probe_s / 10)
    return made.chain.serving == engine.name


def test_a_member_that_does_not_load_is_loaded_later() -> None:
    made, (a, _) = talkers("a", "b", limits=LIMITS)
    a.load_fails = True
    made.load(quiet)
    assert [one.state for one in made.chain.standings] == [State.UNAVAILABLE, State.SERVING]
    assert answer(made, Told()) == "I am b and say this. "
    a.load_fails = False
    wait_until(lambda: _serves(made, a))
    assert answer(made, Told()) == "I am a and say this. "
    made.close()


def test_a_chain_of_which_nothing_loads_says_why() -> None:
    made, (a, b) = talkers("a", "b")
    a.load_fails = b.load_fails = True
    with pytest.raises(EngineError, match="no llm engine loads: a: it does not load; b: it does not load"):
        made.load(quiet)
    made.close()


# --- voices ---


def spoken(chunks: Sequence[Chunk]) -> list[tuple[str, str]]:
    """Each word and whose voice sounds at its middle."""
    pcm = np.concatenate([chunk.pcm for chunk in chunks])
    words = [word for chunk in chunks for word in chunk.words]
    return [(word.text, chr(pcm[(word.t0_us + word.t1_us) // 2 * 48 // 1000])) for word in words]


@pytest.mark.parametrize("how", ["raise", "stall"])
@pytest.mark.parametrize("good", range(10))
def test_every_word_is_said_once_and_in_order_whenever_a_voice_breaks(how: str, good: int) -> None:
    made, (a, b) = speakers("a", "b")
    made.load(quiet)
    a.how, a.good = how, good
    told = Told()
    chunks = list(made.speak_via(SENTENCE, "", 0, threading.Event(), told))
    said = spoken(chunks)
    assert [word for word, _ in said] == ["One", "two", "three", "four", "five", "six"]
    whole = good * CHUNK // WORD_SAMPLES
    assert [voice for _, voice in said] == ["a"] * whole + ["b"] * (6 - whole)
    assert sum(len(chunk.pcm) for chunk in chunks) == 6 * WORD_SAMPLES
    assert [engine for engine, _ in told.all] == (["a"] if good else []) + ["b"]
    assert b.asked == [" ".join(SENTENCE.split()[whole:])]
    made.close()


def test_a_voice_that_is_well_says_everything_and_all_its_samples() -> None:
    made, _ = speakers("a", "b")
    made.load(quiet)
    for from_us in (0, 2 * WORD_US):
        told = Told()
        chunks = list(made.speak_via(SENTENCE, "", from_us, threading.Event(), told))
        assert sum(len(chunk.pcm) for chunk in chunks) == (6 - from_us // WORD_US) * WORD_SAMPLES
        assert told.all == [("a", "")]
    made.close()


def test_the_first_that_speaks_the_language_and_the_one_that_has_the_voice() -> None:
    made, (a, b, c) = speakers("a", "b", "c")
    made.load(quiet)
    a.languages = ("en",)
    c.offered = [Voice("Carla", "en-US")]

    def who(text: str, voice: str = "") -> tuple[str, str]:
        told = Told()
        list(made.speak_via(text, voice, 0, threading.Event(), told))
        return told.all[0]

    assert who(SENTENCE) == ("a", "")
    assert who("你好 everybody.") == ("b", "")
    assert who(SENTENCE, "Carla") == ("c", "")
    assert who("Bonjour.", "zh-CN") == ("b", "")
    assert b.asked
    made.close()


def test_a_voice_that_times_no_words_is_let_through_and_not_repeated() -> None:
    made, (a, b) = speakers("a", "b")
    made.load(quiet)

    def wordless(text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        for _ in range(4):
            yield Chunk(np.ones(48_000, np.int16))
        raise EngineError("FAILED", "broken")

    a.speak = wordless  # type: ignore[method-assign]
    heard: list[Chunk] = []
    with pytest.raises(EngineError, match="broken"):
        heard.extend(made.speak(SENTENCE, "", 0, threading.Event()))
    assert b.asked == []
    made.close()


def test_a_voice_that_is_computed_here_is_not_left_for_being_slow() -> None:
    made, (a, _) = speakers("a", "b")
    made.load(quiet)
    a.deterministic = True
    quick = a.speak

    def slow(text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        for _ in range(4):
            a.passes()
        yield from quick(text, voice, from_us, cancel)

    a.speak = slow  # type: ignore[method-assign]
    told = Told()
    assert len(spoken(list(made.speak_via(SENTENCE, "", 0, threading.Event(), told)))) == 6
    assert told.all == [("a", "")]
    made.close()


# --- recognisers ---


@pytest.mark.parametrize("how", ["raise", "bug", "stall", "feed"])
def test_the_next_recogniser_hears_the_whole_utterance(how: str) -> None:
    made, (a, b) = listeners("a", "b")
    made.load(quiet)
    a.how = how
    utterance = made.open("en")
    for _ in range(5):
        utterance.feed(np.zeros(160, np.int16))
    found = utterance.finish(threading.Event())
    assert (found.text, found.engine) == ("b 800", "b")
    assert found.reason.startswith("a: ")
    b.how = "raise"
    again = made.open("en")
    again.feed(np.zeros(160, np.int16))
    with pytest.raises(EngineError, match=r"no asr engine could do it: a: .*; b: b is broken"):
        again.finish(threading.Event())
    made.close()
