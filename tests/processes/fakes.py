"""Stages with scripted tempers, run as real processes by ``python -m stages tests.processes.fakes:<class>``.

An item's text is its script: words of the form ``verb`` or ``verb=value``, carried out in order.
``FAKE_TEMPER`` in the environment holds such words for the whole process.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from broker.ipc.messages import AsrAudio, AsrMark, TtsChunk, TtsItem
from models.api import Cancel, EngineError, EngineGoneError, Pause, Pcm, Progress, Transcript
from models.asr.vad import VoiceDetector
from models.chain.build import limits
from models.chain.chain import Chain
from models.chain.transcriber import ChainTranscriber, probe
from models.meter import GpuUse
from stages.asr import AsrStage
from stages.stage import Feed, Result, Stage, Work
from stages.tensors import Asker

ASKED = np.arange(12, dtype=np.float32).reshape(3, 4)
"""What the verb ``ask`` sends and wants back."""


def pause(seconds: float) -> None:
    """Work that takes its time."""
    threading.Event().wait(seconds)


def until(path: str) -> None:
    """Work that takes until a test has made this file."""
    while not os.path.exists(path):
        pause(0.01)


def tempers() -> dict[str, str]:
    words = os.environ.get("FAKE_TEMPER", "").split()
    return {verb: value for verb, _, value in (word.partition("=") for word in words)}


class FakeStage(Stage):
    """Speaks by script."""

    name: ClassVar[str] = "tts"
    engine = "fake"

    def setup(self, progress: Progress) -> None:
        temper = tempers()
        if "grandchild" in temper:
            # In a session of its own, so that killing the process group does not reach it.
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        if "deaf" in temper:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        if "load_until" in temper:  # with something to tell of until then
            for step in itertools.takewhile(lambda _: not os.path.exists(temper["load_until"]), itertools.count()):
                progress("loading", step, step + 1)
                pause(0.05)
        if "load_hang" in temper:
            pause(600)
        if "load_crash" in temper:
            os._exit(9)
        if "load_unsupported" in temper:
            raise EngineError("UNSUPPORTED", "this engine does not run here", "choose another with engines.tts")
        if "load_gone" in temper:
            raise EngineGoneError("FAILED", "cuda:1 has fallen off the bus", "see nvidia-smi")
        if "load_failed" in temper:
            raise EngineError("FAILED", "the model is not there", "pull it")
        if "broken" in temper:
            raise RuntimeError("a defect")

    @property
    def gpu(self) -> Callable[[], GpuUse] | None:
        return read_gpu if "gpu" in tempers() else None

    def handle(self, work: Work) -> Iterator[Result]:
        item = work.item
        assert isinstance(item, TtsItem)
        for word in item.text.split():
            verb, _, value = word.partition("=")
            if verb == "emit":
                for n in range(int(value)):
                    yield chunk(n), [b"\0\0" * 8]
            elif verb == "flood":
                for n in range(int(value)):
                    yield chunk(n), [bytes(1 << 20)]
            elif verb == "sleep":
                pause(float(value))
            elif verb == "until":
                until(value)
            elif verb == "patient":  # as an engine does that looks at its flag
                while not work.cancel.is_set():
                    pause(0.01)
            elif verb == "ask":  # wrong arrays fail the item, so what comes after it proves the answer
                found = Asker(work, "fake", 60.0).tensors("any", [ASKED], lambda *_: work.progress())
                assert np.array_equal(found[0], ASKED)
            elif verb == "moving":  # until a test has made this file
                while not os.path.exists(value):
                    pause(0.05)
                    work.progress()
            elif verb == "hang":
                pause(600)
            elif verb == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            elif verb == "fail":
                raise EngineError(value, "as the script says", retryable=False)
            elif verb == "raise":
                raise ValueError("as the script says")

    def teardown(self) -> None:
        print("torn down", file=sys.stderr)


def read_gpu() -> GpuUse:
    """``gpu=<percent>``, or ``gpu=hang``: a driver that does not answer."""
    if tempers()["gpu"] == "hang":
        pause(600)
    return GpuUse(100.0, float(tempers()["gpu"]), 300.0, 1000.0)


class FakeEncode(FakeStage):
    name: ClassVar[str] = "encode"


class FakePrepare(FakeStage):
    name: ClassVar[str] = "prepare"


class UnbuiltStage(FakeStage):
    """Cannot even be constructed."""

    def __init__(self, *_: object) -> None:
        raise ImportError("no such library")


class ReturningStage(FakeStage):
    """Its handler ends although nobody asked it to."""

    def run(self, feed: Feed) -> None:
        feed.get(0.01)


class FakeEar(Stage):
    """Marks every piece of audio as heard."""

    name: ClassVar[str] = "asr"
    engine = "fake"

    def setup(self, progress: Progress) -> None:
        pass

    def run(self, feed: Feed) -> None:
        while not feed.stopping:
            received = feed.messages()
            if received is None:
                continue
            message, buffers = received if isinstance(received, tuple) else (received, [])
            if isinstance(message, AsrAudio):
                consumed = message.at + buffers[0].nbytes // 2
                feed.send(AsrMark(src="", ep=0, sid=message.sid, consumed=consumed, keep=consumed, speaking=False))


class Recogniser:
    """A ``Transcriber`` and its ``Utterance``s, whose native call does as ``FAKE_TEMPER`` says."""

    name = "fake"

    def load(self, progress: Progress) -> None: ...

    def close(self) -> None: ...

    def open(self, language: str) -> Recogniser:
        return self

    def feed(self, pcm: Pcm) -> None:
        if "ear_hang" in tempers():
            pause(600)
        if "ear_break" in tempers():
            raise SystemExit("a native library's way to give up")

    def pause(self, cancel: Cancel) -> Pause:
        return Pause(finished=False)

    def finish(self, cancel: Cancel) -> Transcript:
        return Transcript("", "", 0.0)


class RealEar(AsrStage):
    """The asr stage with its voice detector, and a recogniser with a temper."""

    def setup(self, progress: Progress) -> None:
        self._detector = VoiceDetector()
        self._detector.load(progress)
        chain: Chain[Any] = Chain("asr", {"fake": Recogniser}, limits("asr", self.config), self.meter, probe)
        self._engine = ChainTranscriber(chain)
        self._engine.load(progress)


def chunk(at: int) -> TtsChunk:
    return TtsChunk(src="", ep=0, id="", attempt=0, index=0, at=at)
