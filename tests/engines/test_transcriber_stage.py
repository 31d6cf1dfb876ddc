"""The asr stage with its real detector and recogniser, driven through a feed of queues."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np
import pytest

from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSpeechConfirmed,
    AsrSpeechEnded,
    AsrSpeechStarted,
    FromStage,
    Message,
)
from configs.schema import Asr, Config, Limits, Stages
from configs.schema import Stage as StageConfig
from models.api import Cancel, Pause, Pcm, Transcriber, Transcript
from models.chain.build import limits
from models.chain.chain import Chain
from models.chain.transcriber import ChainTranscriber, probe
from models.meter import Meter
from stages.asr import AsrStage
from stages.stage import Work
from tests.support.doubles import quiet
from tests.support.hearing import RATE, names, recording, room

PIECE = 1600
DEADLINE_S = 120.0
QUESTION = "question_00_rms.flac"
TEXT = "What is musecast"
M = TypeVar("M", bound=FromStage)


class Queues:
    """A ``stages.stage.Feed`` of queues."""

    def __init__(self) -> None:
        self._in: queue.Queue[tuple[Message, list[memoryview]] | None] = queue.Queue()
        self.sent: list[FromStage] = []
        self._news = threading.Condition()
        self._stopping = False

    def put(self, message: Message, pcm: Pcm | bytes = b"") -> None:
        self._in.put((message, [memoryview(pcm if isinstance(pcm, bytes) else pcm.tobytes())]))

    def get(self, timeout_s: float | None = None, *, start: bool = True) -> Work | None:
        raise AssertionError("asr has no items")

    def messages(self, timeout_s: float | None = None) -> tuple[Message, list[memoryview]] | None:
        try:
            return self._in.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def send(self, message: FromStage, buffers: Sequence[Any] = ()) -> None:
        with self._news:
            self.sent.append(message)
            self._news.notify_all()

    def working(self, label: str) -> AbstractContextManager[None]:
        return nullcontext()

    def fail(self, error: BaseException) -> None:
        raise AssertionError("the transcription thread has ended") from error

    @property
    def stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        self._stopping = True
        self._in.put(None)

    def wait(self, found: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(found, DEADLINE_S), self.sent[-5:]

    def of(self, kind: type[M], sid: str = "s") -> list[M]:
        return [m for m in self.sent if isinstance(m, kind) and m.sid == sid]  # type: ignore[attr-defined]


class Process:
    """One incarnation of the stage, running in a thread."""

    def __init__(self, stage: AsrStage) -> None:
        self.feed = Queues()
        self._thread = threading.Thread(target=stage.run, args=(self.feed,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self.feed.stop()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()

    def play(
        self, pcm: Pcm, *, sid: str = "s", rate: int = RATE, at: int = 0, first: dict[str, Any] | None = None,
        end: bool = False, broker: int = 1,
    ) -> int:  # fmt: skip
        """Send audio in pieces; returns the position after it. ``first``: fields of the first message."""
        size = rate // 10
        for begin in range(0, len(pcm), size):
            piece = pcm[begin : begin + size]
            extra = (first if first is not None else {"reset": True}) if begin == 0 else {}
            last = begin + size >= len(pcm)
            message = AsrAudio(broker=broker, sid=sid, sample_rate=rate, at=at + begin, end=end and last, **extra)
            self.feed.put(message, piece)
        return at + len(pcm)

    def heard(self, position: int, sid: str = "s") -> None:
        """Wait until so much audio has been heard."""
        self.feed.wait(lambda: any(mark.consumed >= position for mark in self.feed.of(AsrMark, sid)))

    def finals(self, count: int = 1, sid: str = "s") -> list[AsrFinal]:
        self.feed.wait(lambda: len(self.feed.of(AsrFinal, sid)) >= count)
        return self.feed.of(AsrFinal, sid)


@pytest.fixture(scope="module")
def stage() -> Iterator[AsrStage]:
    made = AsrStage(Config(), "asr.0")
    made.setup(quiet)
    assert made.engine_chain is not None
    assert made.engine_chain.names == ["pocketsphinx"]
    yield made
    made.teardown()


@pytest.fixture
def process(stage: AsrStage) -> Iterator[Process]:
    made = Process(stage)
    yield made
    made.stop()


def test_a_question_is_heard_from_beginning_to_end(process: Process) -> None:
    speech = recording(QUESTION)
    process.play(room(1.0, speech, 1.0))
    (final,) = process.finals()
    assert (final.text, final.utterance, final.rejected, final.language) == (TEXT, 0, False, "en")
    assert 0.5 <= final.confidence <= 1
    (started,) = process.feed.of(AsrSpeechStarted)
    (ended,) = process.feed.of(AsrSpeechEnded)
    loud = RATE + np.flatnonzero(np.abs(speech) > 500)
    assert abs(started.at - loud[0]) < 0.1 * RATE
    assert abs(ended.at - loud[-1]) < 0.2 * RATE
    assert abs(ended.audio_ms - (ended.at - started.at) * 1000 / RATE) < 2
    order = [m for m in process.feed.sent if not isinstance(m, AsrMark)]
    assert order[0] is started
    assert order[-1] is final
    assert order.count(final) == order.count(ended) == 1
    partials = process.feed.of(AsrPartial)
    assert partials
    assert partials[-1].text == TEXT.lower()


def test_every_piece_is_marked_and_keep_covers_what_is_open(process: Process) -> None:
    pcm = room(1.0, recording(QUESTION), 1.0)
    process.play(pcm)
    process.finals()
    process.heard(len(pcm))
    started = process.feed.of(AsrSpeechStarted)[0].at

    def let_go() -> bool:
        """The mark that follows the final one comes from another thread than those of the pieces."""
        final = process.feed.sent.index(process.feed.of(AsrFinal)[0])
        return any(isinstance(later, AsrMark) and later.keep > started for later in process.feed.sent[final:])

    process.feed.wait(let_go)
    marks = process.feed.of(AsrMark)
    assert {mark.consumed for mark in marks} >= set(range(PIECE, len(pcm), PIECE)) | {len(pcm)}
    assert all(mark.keep <= mark.consumed for mark in marks)
    final = process.feed.sent.index(process.feed.of(AsrFinal)[0])
    before = [mark.keep for mark in marks if process.feed.sent.index(mark) < final]
    assert max(before) <= started
    assert not [mark for mark in marks if mark.consumed == len(pcm)][-1].speaking
    assert any(mark.speaking for mark in marks)


def test_a_successor_that_hears_it_again_understands_the_same(stage: AsrStage) -> None:
    pcm = room(0.7, recording(QUESTION), 1.0)
    undisturbed = Process(stage)
    undisturbed.play(pcm)
    (wanted,) = undisturbed.finals()
    wanted_end = undisturbed.feed.of(AsrSpeechEnded)[0]
    undisturbed.stop()
    for cut_s in (1.2, 1.6):
        cut = int(cut_s * RATE)
        dying = Process(stage)
        dying.play(pcm[:cut])
        dying.heard(cut)
        dying.stop()
        assert not dying.feed.of(AsrFinal)
        mark = dying.feed.of(AsrMark)[-1]
        assert mark.speaking
        successor = Process(stage)
        again = {"reset": True, "speaking": True, "utterance": 0}
        successor.play(pcm[mark.keep :], at=mark.keep, first=again)
        (final,) = successor.finals()
        successor.stop()
        assert (final.text, final.confidence, final.utterance) == (wanted.text, wanted.confidence, 0)
        (ended,) = successor.feed.of(AsrSpeechEnded)
        assert abs(ended.at - wanted_end.at) <= 512
        assert abs(ended.audio_ms - wanted_end.audio_ms) < 350
        assert successor.feed.of(AsrSpeechStarted) == []


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_sample_rates_count_in_their_own_samples(process: Process, rate: int) -> None:
    pcm = room(1.0, recording(QUESTION), 1.0)
    times = np.arange(int(len(pcm) * rate / RATE)) * RATE / rate
    process.play(np.interp(times, np.arange(len(pcm)), pcm).astype(np.int16), rate=rate)
    (final,) = process.finals()
    started = process.feed.of(AsrSpeechStarted)[0].at
    assert rate <= started <= 1.2 * rate
    if rate > 8000:  # telephone quality is heard, but not always understood
        assert final.text == TEXT


def test_the_client_ends_its_utterance_without_silence(process: Process) -> None:
    process.play(room(0.3, recording(QUESTION)), end=True)
    assert process.finals()[0].text == TEXT


def test_an_end_in_silence_is_nothing(process: Process) -> None:
    pcm = room(1.0)
    process.play(pcm, end=True)
    process.heard(len(pcm))
    assert {type(message) for message in process.feed.sent} == {AsrMark}


def test_questions_in_a_row_count_up(process: Process) -> None:
    other = recording(names("other")[0])
    pcm = room(0.5, recording(QUESTION), 1.0, other, 1.0, recording(QUESTION), 1.0)
    process.play(pcm, first={"reset": True, "utterance": 7})
    finals = process.finals(3)
    assert [final.utterance for final in finals] == [7, 8, 9]
    assert [final.text for final in finals] == [TEXT, "", TEXT]
    assert [final.rejected for final in finals] == [False, True, False]


def test_sessions_do_not_mix(process: Process) -> None:
    texts = {"a": "question_00_rms.flac", "b": "question_01_slt.flac", "c": "question_08_rms.flac"}
    sounds = {sid: room(0.3, recording(name), 1.0, seed=5) for sid, name in texts.items()}
    for begin in range(0, max(map(len, sounds.values())), PIECE):
        for sid, pcm in sounds.items():
            piece = pcm[begin : begin + PIECE]
            if len(piece):
                process.play(piece, sid=sid, at=begin, first={"reset": begin == 0})
    assert [process.finals(sid=sid)[0].text for sid in texts] == [
        TEXT, "Tell me about yourself", "Where does your voice come from",
    ]  # fmt: skip


def test_a_flood_is_held_back_and_heard_to_its_end(process: Process) -> None:
    speech = np.concatenate([recording(name) for name in names("other")[:6]])
    pcm = room(0.3, speech, 1.0)
    size = 8000
    for begin in range(0, len(pcm), size):
        message = AsrAudio(broker=1, sid="s", sample_rate=RATE, at=begin, reset=begin == 0)
        process.feed.put(message, pcm[begin : begin + size])
    process.heard(len(pcm))
    assert process.finals()


def test_a_closed_session_says_nothing_more(process: Process) -> None:
    pcm = room(0.3, recording(QUESTION))
    process.play(pcm)
    process.heard(len(pcm))
    process.feed.put(AsrClose(broker=1, sid="s"))
    process.play(room(0.3, recording(QUESTION), 1.0), sid="other")
    process.finals(sid="other")
    assert process.feed.of(AsrFinal) == []


def test_another_broker_begins_anew(process: Process) -> None:
    pcm = room(0.3, recording(QUESTION), 1.0)
    process.play(pcm[: RATE * 3 // 4])
    process.play(pcm, broker=2)
    (final,) = process.finals()
    assert (final.text, final.utterance) == (TEXT, 0)


def test_a_gap_begins_anew_and_a_repeat_is_dropped(process: Process) -> None:
    pcm = room(0.5, recording(QUESTION), 1.0)
    at = process.play(pcm[:8000])
    process.play(pcm[4800:8000], at=4800, first={})
    assert process.play(pcm[8000:], at=at, first={}) == len(pcm)
    assert process.finals()[0].text == TEXT
    far = len(pcm) + 100_000
    process.play(pcm, at=far, first={"utterance": 1})
    assert process.finals(2)[1].utterance == 1
    assert process.feed.of(AsrSpeechStarted)[1].at > far


def test_strange_audio_ends_nothing(process: Process) -> None:
    process.feed.put(AsrAudio(broker=1, sid="bad", sample_rate=1, at=0, reset=True), np.zeros(100, np.int16))
    process.feed.put(AsrAudio(broker=1, sid="odd", sample_rate=RATE, at=0, reset=True), b"\0\1\2")
    process.feed.put(AsrAudio(broker=1, sid="none", sample_rate=RATE, at=0, reset=True, end=True))
    process.heard(100, "bad")
    process.heard(1, "odd")
    process.play(room(0.3, recording(QUESTION), 1.0))
    assert process.finals()[0].text == TEXT


def test_a_language_nobody_understands_is_told_as_not_understood(process: Process) -> None:
    process.play(room(0.3, recording(QUESTION), 1.0), first={"reset": True, "language": "zh"})
    (final,) = process.finals()
    assert (final.text, final.rejected) == ("", True)


def test_the_longest_utterance_is_cut(stage: AsrStage) -> None:
    short = AsrStage(Config(asr=Asr(), limits=Limits(utterance_s=2.0)), "asr.0")
    short._detector, short._engine = stage._detector, stage._engine
    process = Process(short)
    speech = np.concatenate([recording(name)[1600:-1600] for name in names("other")[:3]])
    process.play(room(0.3, speech, 1.0))
    assert [final.utterance for final in process.finals(2)][:2] == [0, 1]
    first, second = process.feed.of(AsrSpeechEnded)[0], process.feed.of(AsrSpeechStarted)[1]
    assert first.at <= second.at
    process.stop()


def test_more_streams_than_it_can_hold_push_out_the_oldest(stage: AsrStage) -> None:
    small = AsrStage(Config(stages=Stages(asr=StageConfig(credit=1))), "asr.0")
    small._detector, small._engine = stage._detector, stage._engine
    process = Process(small)
    for sid in ("a", "b", "c"):
        process.play(room(0.2), sid=sid)
    pcm = room(0.3, recording(QUESTION), 1.0)
    process.play(pcm, sid="c", at=3200, first={"reset": False})
    assert process.finals(sid="c")[0].text == TEXT
    process.stop()


def hearing_with(stage: AsrStage, engine: Transcriber) -> AsrStage:
    """The stage with another recogniser."""
    made = AsrStage(Config(), "asr.0")
    factories = {engine.name: lambda: engine}
    chain: Chain[Transcriber] = Chain("asr", factories, limits("asr", Config()), Meter(), probe)
    chain.load(quiet)
    made._detector, made._engine = stage._detector, ChainTranscriber(chain)
    return made


class PauseEar:
    """A recogniser that knows everything at a pause, and nothing later."""

    name = "pause"

    def __init__(self, *, finished: bool) -> None:
        self.finished = finished
        self.asked = threading.Event()
        self.fed_after = threading.Event()
        """It has been asked, and what it said has been noted: the thread of words goes on."""

    def load(self, progress: Any) -> None: ...

    def close(self) -> None: ...

    def open(self, language: str) -> PauseEar:
        return self

    def feed(self, pcm: Pcm) -> None:
        if self.asked.is_set():
            self.fed_after.set()

    def pause(self, cancel: Cancel) -> Pause:
        self.asked.set()
        return Pause(self.finished, Transcript("At the pause.", "en", 0.9))

    def finish(self, cancel: Cancel) -> Transcript:
        assert cancel.is_set(), "the words are known already"
        return Transcript("", "en", 0.0)


@pytest.mark.parametrize("finished", [True, False])
def test_a_finished_sentence_ends_sooner_and_is_not_transcribed_twice(stage: AsrStage, finished: bool) -> None:
    """A finished one ends with the first audio after its pause was looked at, others after the whole silence."""
    ear = PauseEar(finished=finished)
    process = Process(hearing_with(stage, ear))
    speech = recording(QUESTION)
    spoken = speech[: np.flatnonzero(np.abs(speech) > 500)[-1]]
    at = process.play(room(0.3, spoken, 0.42, level=3.0))
    assert ear.asked.wait(DEADLINE_S)
    process.play(speech, sid="other")
    assert ear.fed_after.wait(DEADLINE_S)
    at = process.play(room(0.05), at=at, first={})
    process.heard(at)
    if not finished:
        assert not process.feed.of(AsrSpeechEnded)
        process.play(room(0.5), at=at, first={})
    (final,) = process.finals()
    assert final.text == "At the pause."
    process.stop()


def test_a_voice_is_confirmed_once_it_is_long_enough(process: Process) -> None:
    process.play(room(0.5, recording(QUESTION), 1.0))
    process.finals()
    (started,) = process.feed.of(AsrSpeechStarted)
    (sure,) = process.feed.of(AsrSpeechConfirmed)
    assert 0 < sure.at - started.at - Asr().barge_in_ms * RATE // 1000 < 0.2 * RATE
    told = AsrSpeechStarted | AsrSpeechConfirmed | AsrSpeechEnded
    order = [type(m) for m in process.feed.sent if isinstance(m, told)]
    assert order == [AsrSpeechStarted, AsrSpeechConfirmed, AsrSpeechEnded]


class SlowEar:
    """A recogniser that is at its first piece until it is told to go on, and then out of order."""

    name = "slow"

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def load(self, progress: Any) -> None: ...

    def close(self) -> None: ...

    def open(self, language: str) -> SlowEar:
        return self

    def feed(self, pcm: Pcm) -> None:
        assert self.go_on.wait(DEADLINE_S)

    def pause(self, cancel: Cancel) -> Pause:
        return Pause(finished=False)

    def finish(self, cancel: Cancel) -> Transcript:
        raise RuntimeError("out of order")


def test_a_slow_or_broken_recogniser_delays_no_ones_voice_detection(stage: AsrStage) -> None:
    ear = SlowEar()
    process = Process(hearing_with(stage, ear))
    pcm = room(0.3, recording(QUESTION), 1.0)
    process.play(pcm)
    process.play(pcm, sid="other")
    process.feed.wait(lambda: bool(process.feed.of(AsrSpeechEnded, "other")))
    assert not process.feed.of(AsrFinal)
    assert not process.feed.of(AsrFinal, "other")
    ear.go_on.set()
    for sid in ("s", "other"):
        (final,) = process.finals(sid=sid)
        assert (final.text, final.rejected) == ("", True)
    process.stop()
