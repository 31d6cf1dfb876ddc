"""What every synthesizer promises; new engines join the list below."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.schema import Config, EdgeTts, Tts
from models.api import SAMPLE_RATE, Chunk, EngineError, Synthesizer
from models.registry import create
from models.tts import edge
from models.tts.language import script_language
from tests.engines.servers.edge import edge_server
from tests.support.doubles import CancelAfter, quiet
from tests.support.processes import resident

ENGINES = ["espeak", "hibari", "edge_tts"]
ENGLISH_ONLY = ["hibari"]
REPEATING = ["espeak", "hibari"]
"""Say a text the same each time, go on from anywhere, and give phonemes; the other's work is its server's."""
TEXTS = {
    "english": "Hello, world. It costs 3.50 dollars, and Mr. Smith is happy!",
    "chinese": "你好，世界。我是一个会说话的头像，很高兴认识你！",
    "mixed": "你好，我是 musecast。",
}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Synthesizer]:
    with ExitStack() as stack:
        config = Config()
        if request.param == "edge_tts":
            config = Config(edge_tts=EdgeTts(endpoint=stack.enter_context(edge_server()).url))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(edge, "FIRST_S", 60.0)  # its server speaks in this process, too
            patch.setattr(edge, "NEXT_S", 60.0)
        made: Synthesizer = create("tts", request.param, config)
        made.load(quiet)
        yield made
        made.close()


def readable(*engines: str) -> pytest.MarkDecorator:
    """Every text that one of these engines can read."""
    pairs = [
        pytest.param(engine, text, id=f"{engine}-{name}")
        for engine in engines
        for name, text in TEXTS.items()
        if name == "english" or engine not in ENGLISH_ONLY
    ]
    return pytest.mark.parametrize(("engine", "text"), pairs, indirect=["engine"])


def engines(*names: str) -> pytest.MarkDecorator:
    """These alone."""
    return pytest.mark.parametrize("engine", names, indirect=True)


def test_what_the_tests_below_ask_of_whom_is_what_engines_say_of_themselves(engine: Synthesizer) -> None:
    assert engine.deterministic is (engine.name in REPEATING)
    for name, text in TEXTS.items():
        assert engine.speaks(script_language(text)) is (name == "english" or engine.name not in ENGLISH_ONLY)
    phonemes = [one for chunk in speak(engine, TEXTS["english"]) for one in chunk.phonemes]
    assert bool(phonemes) is (engine.name in REPEATING)


def speak(engine: Synthesizer, text: str, voice: str = "", from_us: int = 0) -> list[Chunk]:
    return list(engine.speak(text, voice, from_us, threading.Event()))


def pcm(chunks: list[Chunk]) -> NDArray[np.int16]:
    return np.concatenate([chunk.pcm for chunk in chunks]) if chunks else np.zeros(0, np.int16)


def level(samples: NDArray[np.int16]) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


@readable(*ENGINES)
def test_it_speaks_at_a_natural_pace_and_level(engine: Synthesizer, text: str) -> None:
    chunks = speak(engine, text)
    samples = pcm(chunks)
    assert all(chunk.pcm.dtype == np.int16 and chunk.pcm.ndim == 1 and len(chunk.pcm) for chunk in chunks)
    seconds = len(samples) / SAMPLE_RATE
    assert 1.0 < seconds < 12.0
    assert 2000 < np.abs(samples.astype(np.int32)).max() <= 32767
    assert level(samples) > 500


@readable(*ENGINES)
def test_the_first_chunk_is_short_so_that_a_segment_can_start(engine: Synthesizer, text: str) -> None:
    chunks = speak(engine, text)
    assert len(chunks[0].pcm) <= SAMPLE_RATE // 2
    assert all(len(chunk.pcm) <= SAMPLE_RATE for chunk in chunks)


@readable(*REPEATING)
def test_the_same_text_sounds_the_same_whatever_was_said_before(engine: Synthesizer, text: str) -> None:
    first = speak(engine, text)
    for other in ["Something quite different, said in between.", "别的话。", *TEXTS.values()]:
        if engine.speaks(script_language(other)):
            speak(engine, other)
        again = speak(engine, text)
        assert np.array_equal(pcm(first), pcm(again))
        assert [chunk[1:] for chunk in first] == [chunk[1:] for chunk in again]


@readable(*REPEATING)
@pytest.mark.parametrize("from_us", [1, 20_833, 320_000, 777_777, 1_234_567, 2_000_001])
def test_going_on_from_any_time_gives_the_rest_and_nothing_twice(
    engine: Synthesizer, text: str, from_us: int
) -> None:
    full, rest = speak(engine, text), speak(engine, text, from_us=from_us)
    assert np.array_equal(pcm(rest), pcm(full)[round(from_us * 48 / 1000) :])
    for kind in ("words", "phonemes"):
        everything = [span for chunk in full for span in getattr(chunk, kind)]
        later = [span for chunk in rest for span in getattr(chunk, kind)]
        assert later == everything[len(everything) - len(later) :]
        cut = round(from_us * 48 / 1000)
        assert [span.t0_us * 48 // 1000 >= cut for span in everything].count(True) == len(later)


@engines(*REPEATING)
def test_a_fresh_process_says_it_the_same(engine: Synthesizer) -> None:
    """After a crash the next process goes on in the middle of the sentence."""
    code = (
        "import hashlib, sys, threading; from configs.schema import Config; from models.registry import create\n"
        "made = create('tts', sys.argv[1], Config()); made.load(lambda *_: None)\n"
        "chunks = made.speak(sys.argv[2], '', 500_000, threading.Event())\n"
        "print(hashlib.sha256(b''.join(chunk.pcm.tobytes() for chunk in chunks)).hexdigest()); made.close()"
    )
    text = TEXTS["chinese" if engine.speaks("zh") else "english"]
    command = [sys.executable, "-c", code, engine.name, text]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert result.stdout.strip() == hashlib.sha256(pcm(speak(engine, text, from_us=500_000)).tobytes()).hexdigest()


def test_going_on_after_the_end_gives_nothing(engine: Synthesizer) -> None:
    assert speak(engine, "Hello.", from_us=60_000_000) == []


@readable(*ENGINES)
def test_times_are_monotonic_inside_the_speech_and_in_their_chunk(engine: Synthesizer, text: str) -> None:
    chunks = speak(engine, text)
    total_us = len(pcm(chunks)) * 1000 // 48
    at = 0
    for chunk in chunks:
        for span in [*chunk.words, *chunk.phonemes]:
            assert at <= span.t0_us * 48 // 1000 < at + len(chunk.pcm)
        at += len(chunk.pcm)
    for kind in ("words", "phonemes"):
        spans = [span for chunk in chunks for span in getattr(chunk, kind)]
        assert spans or kind == "phonemes"
        assert all(0 <= span.t0_us < span.t1_us <= total_us for span in spans)
        assert all(a.t1_us <= b.t0_us for a, b in pairwise(spans))


def test_the_words_are_those_of_the_text_in_its_order(engine: Synthesizer) -> None:
    said = [span.text for chunk in speak(engine, TEXTS["english"]) for span in chunk.words]
    assert said == ["Hello", "world", "It", "costs", "3.50", "dollars", "and", "Mr", "Smith", "is", "happy"]
    if not engine.speaks("zh"):
        return
    chinese = "".join(span.text for chunk in speak(engine, TEXTS["chinese"]) for span in chunk.words)
    assert chinese == "你好世界我是一个会说话的头像很高兴认识你"
    mixed = [span.text for chunk in speak(engine, TEXTS["mixed"]) for span in chunk.words]
    assert mixed[-1] == "musecast"


@readable(*REPEATING)
def test_phonemes_fill_the_time_and_their_pauses_are_silent(engine: Synthesizer, text: str) -> None:
    chunks = speak(engine, text)
    samples = pcm(chunks)
    spans = [span for chunk in chunks for span in chunk.phonemes]
    assert spans[0].t0_us == 0
    assert all(a.t1_us == b.t0_us for a, b in pairwise(spans))
    assert abs(spans[-1].t1_us - len(samples) * 1000 / 48) < 1000
    loud = level(samples)
    pauses = [span for span in spans if span.text == "_" and span.t1_us - span.t0_us >= 100_000]
    assert len(pauses) >= 2  # the comma and the end
    for pause in pauses:
        inside = samples[pause.t0_us * 48 // 1000 + 960 : pause.t1_us * 48 // 1000 - 960]
        assert level(inside) < loud / 30, pause
    for span in spans:
        if span.text != "_" and span.t1_us - span.t0_us > 150_000:
            assert level(samples[span.t0_us * 48 // 1000 : span.t1_us * 48 // 1000]) > loud / 5, span


def test_a_sentence_ends_with_a_short_rest(engine: Synthesizer) -> None:
    for text in ("Hello.", "你好。"):
        if not engine.speaks(script_language(text)):
            continue
        samples = pcm(speak(engine, text)).astype(np.int32)
        quiet_ms = (len(samples) - np.flatnonzero(np.abs(samples) > 300)[-1]) / 48
        assert 100 < quiet_ms < 450
        assert abs(int(samples[-1])) < 10


@pytest.mark.parametrize("text", ["", "   ", "...", "！？", "\x00\x01", "“”"])
def test_what_cannot_be_spoken_is_no_audio(engine: Synthesizer, text: str) -> None:
    assert speak(engine, text) == []


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        *(pytest.param(name, "A", id=f"{name}-1 character") for name in ENGINES),
        *(pytest.param(name, "many words " * 1818, id=f"{name}-20,000 characters") for name in REPEATING),
    ],
    indirect=["engine"],
)
def test_a_text_of_any_length_begins(engine: Synthesizer, text: str) -> None:
    assert len(next(iter(engine.speak(text, "", 0, threading.Event()))).pcm) > 0


def test_emoji_alone_are_no_error(engine: Synthesizer) -> None:
    """Some read their names aloud; what is asked of them in earnest has none (``models.text.speakable``)."""
    assert len(pcm(speak(engine, "😀🎉👍🏽"))) < 10 * SAMPLE_RATE
    assert len(pcm(speak(engine, "Hello."))) > 0


@pytest.mark.parametrize("text", ["[[h@l]] brackets", "<speak>tags</speak> & so", "a\x00b", "x\ud800y", "\x01[[x"])
def test_hostile_text_is_only_text(engine: Synthesizer, text: str) -> None:
    assert len(pcm(speak(engine, text))) > 0
    before = pcm(speak(engine, TEXTS["english"]))
    speak(engine, text)
    assert np.array_equal(before, pcm(speak(engine, TEXTS["english"])))


@pytest.mark.parametrize("voice", ["nosuchvoice", "alloy", "", "x" * 500, "../../etc/passwd", "zh\x00"])
def test_a_voice_that_is_not_known_falls_back_to_the_script_of_the_text(engine: Synthesizer, voice: str) -> None:
    text = TEXTS["chinese" if engine.speaks("zh") else "english"]
    assert np.array_equal(pcm(speak(engine, text, voice)), pcm(speak(engine, text)))


@engines(*(name for name in ENGINES if name not in ENGLISH_ONLY))
def test_language_tags_and_names_that_begin_with_one_choose_the_voice(engine: Synthesizer) -> None:
    text = "musecast 2"
    english, chinese = pcm(speak(engine, text, "en-US")), pcm(speak(engine, text, "zh-CN"))
    assert not np.array_equal(english, chinese)
    assert np.array_equal(chinese, pcm(speak(engine, text, "zh-CN-XiaoxiaoNeural")))
    assert np.array_equal(english, pcm(speak(engine, text, "en-US-AriaNeural")))
    assert not np.array_equal(english, pcm(speak(engine, text, "en-GB-SoniaNeural")))


def test_a_cancelled_sentence_ends_within_50_ms_of_work(engine: Synthesizer) -> None:
    long = "This is a rather long sentence that goes on and on without a stop, " * 5
    begin = time.process_time()
    full = len(speak(engine, long))
    whole = time.process_time() - begin
    assert list(engine.speak(long, "", 0, CancelAfter(0))) == []
    for looks in (2, 5, 20):
        flag = CancelAfter(looks)
        assert len(list(engine.speak(long, "", 0, flag))) < full
        assert flag.looks < looks + 10
    flag = threading.Event()
    stream = engine.speak(long, "", 0, flag)
    next(stream)
    flag.set()
    begin = time.process_time()
    assert list(stream) == []
    assert time.process_time() - begin < max(0.25, whole / 4)
    assert len(speak(engine, long)) == full


def test_a_cancelled_sentence_leaves_no_trace_in_the_next(engine: Synthesizer) -> None:
    wanted = pcm(speak(engine, TEXTS["english"]))
    for looks in range(1, 12, 3):
        list(engine.speak("Another sentence, and it is cut off somewhere.", "", 0, CancelAfter(looks)))
        assert np.array_equal(pcm(speak(engine, TEXTS["english"])), wanted)


def test_threads_do_not_disturb_each_other(engine: Synthesizer) -> None:
    texts = {name: text for name, text in TEXTS.items() if engine.speaks(script_language(text))}
    wanted = {name: pcm(speak(engine, text)) for name, text in texts.items()}
    wrong: list[str] = []

    def run(name: str) -> None:
        for _ in range(4):
            if not np.array_equal(pcm(speak(engine, TEXTS[name])), wanted[name]):
                wrong.append(name)

    threads = [threading.Thread(target=run, args=(name,)) for name in [*texts, *texts]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
        assert not thread.is_alive()
    assert wrong == []


@engines(*REPEATING)
def test_a_long_text_begins_at_once(engine: Synthesizer) -> None:
    """By work, and measured against the whole, so that a busy machine does not matter."""
    text = "A sentence of some length, with a clause. " * 60
    begin = time.process_time()
    stream = engine.speak(text, "", 0, threading.Event())
    next(stream)
    first = time.process_time() - begin
    list(stream)
    assert first < (time.process_time() - begin) / 4


def test_an_abandoned_stream_holds_nothing(engine: Synthesizer) -> None:
    abandoned = engine.speak(TEXTS["english"], "", 0, threading.Event())
    next(abandoned)
    assert len(speak(engine, TEXTS["english"])) > 1


@engines(*REPEATING)
def test_memory_does_not_grow_with_sentences(engine: Synthesizer) -> None:
    """Half of them left in the middle."""

    def many(count: int) -> int:
        for number in range(count):
            cancel = CancelAfter(2) if number % 2 else threading.Event()
            list(engine.speak("Hello there, my friend.", "", 0, cancel))
        gc.collect()
        return resident()

    before = many(6)
    assert many(20) - before < 24 << 20


def test_faster_words_take_less_time() -> None:
    lengths = []
    for rate in (120, 220):
        made: Synthesizer = create("tts", "espeak", Config(tts=Tts(words_per_minute=rate)))
        made.load(quiet)
        lengths.append(len(pcm(speak(made, TEXTS["english"]))))
        made.close()
    assert lengths[1] < lengths[0] * 0.75


def test_an_unknown_engine_names_those_that_exist() -> None:
    with pytest.raises(EngineError, match="espeak") as caught:
        create("tts", "festival", Config())
    assert caught.value.code == "UNSUPPORTED"
