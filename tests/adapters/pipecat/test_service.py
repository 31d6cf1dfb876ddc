"""The service in a real pipeline, by Pipecat's own ``run_test``, with a real daemon."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    OutputTransportReadyFrame,
    SpeechOutputAudioRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.tests.utils import run_test
from pipecat.workers.runner import WorkerRunner

from clients.adapters.pipecat import MusecastVideoService
from tests.adapters.voice import HZ, QUANTUM, RATE, hertz, loud, pieces, run, until
from tests.support.daemon import Daemon
from tests.support.limits import WORK_S

SPOKEN = (SpeechOutputAudioRawFrame, OutputImageRawFrame, TTSStartedFrame, TTSStoppedFrame, TTSTextFrame)


def service(daemon: Daemon) -> MusecastVideoService:
    return MusecastVideoService(endpoint=daemon.control, stream=daemon.stream)


def speech(seconds: float, context: str) -> list[Frame]:
    return [
        TTSStartedFrame(context_id=context),
        *(TTSAudioRawFrame(pcm, RATE, 1, context_id=context) for pcm in pieces(seconds)),
        TTSStoppedFrame(context_id=context),
    ]


def of(kind: type, frames: Sequence[Any]) -> list[Any]:
    return [frame for frame in frames if isinstance(frame, kind)]


class Sink(FrameProcessor):
    """Behind the service: what comes out of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        self.seen.append(frame)
        await self.push_frame(frame, direction)


async def conversation(
    daemon: Daemon, talk: Callable[[PipelineWorker, Sink], Awaitable[None]]
) -> list[Frame]:
    """A pipeline that lives as long as ``talk``; what came out."""
    sink, began = Sink(), asyncio.Event()
    worker = PipelineWorker(Pipeline([service(daemon), sink]), cancel_on_idle_timeout=False)

    @worker.event_handler("on_pipeline_started")
    async def _(*_: Any) -> None:
        began.set()

    async def talking() -> None:
        async with asyncio.timeout(WORK_S):
            await began.wait()
        await talk(worker, sink)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), talking())
    return sink.seen


def test_a_voice_gets_its_face_and_the_end_comes_behind_it(daemon: Daemon) -> None:
    async def test() -> None:
        down, _ = await run_test(
            service(daemon),
            frames_to_send=[*speech(1.0, "a"), *speech(0.3, "b")],
            start_timeout=WORK_S,
        )
        assert not of(TTSAudioRawFrame, down)  # else heard twice
        spoken = [frame for frame in down if isinstance(frame, SPOKEN)]
        assert [frame.context_id for frame in of(TTSStartedFrame, down)] == ["a", "b"]
        assert [frame.context_id for frame in of(TTSStoppedFrame, down)] == ["a", "b"]
        pictures, sounds = of(OutputImageRawFrame, spoken), of(SpeechOutputAudioRawFrame, spoken)
        loud_ones = [at for at, frame in enumerate(sounds) if loud(frame.audio)]
        assert len(pictures) == len(sounds)
        assert len(loud_ones) >= 25 + 7  # 1.3 s
        assert all(len(frame.audio) == 1920 * 2 and frame.sample_rate == 48_000 for frame in sounds)
        assert all(frame.sync_with_audio and frame.format == "RGB" for frame in pictures)
        width, height = pictures[0].size
        assert len(pictures[0].image) == width * height * 3
        media = [frame for frame in spoken if isinstance(frame, SpeechOutputAudioRawFrame | OutputImageRawFrame)]
        kinds = [type(frame) for frame in media]
        assert kinds == [OutputImageRawFrame, SpeechOutputAudioRawFrame] * len(sounds)
        assert hertz(b"".join(sounds[at].audio for at in loud_ones[2:20])) == pytest.approx(HZ, abs=8)
        # Each end stands behind the last picture of its speech: whole quanta.
        ends = [at for at, frame in enumerate(spoken) if isinstance(frame, TTSStoppedFrame)]
        before = of(SpeechOutputAudioRawFrame, spoken[: ends[0]])
        assert len(before) >= 4 * QUANTUM
        assert not any(loud(frame.audio) for frame in of(SpeechOutputAudioRawFrame, spoken[ends[1] :]))

    run(test)


def test_an_interruption_silences_the_old_words_and_not_the_next(daemon: Daemon) -> None:
    async def talk(worker: PipelineWorker, sink: Sink) -> None:
        await worker.queue_frame(OutputTransportReadyFrame())
        await until(lambda: of(OutputImageRawFrame, sink.seen), "idle pictures before the first word")
        await worker.queue_frames(speech(3.0, "old"))
        await until(lambda: any(loud(f.audio) for f in of(SpeechOutputAudioRawFrame, sink.seen)), "a voice")
        await worker.queue_frame(InterruptionFrame())
        await until(lambda: of(InterruptionFrame, sink.seen), "the interruption behind the service")
        after = sink.seen.index(of(InterruptionFrame, sink.seen)[0])
        quiet = len(of(OutputImageRawFrame, sink.seen))
        await until(lambda: len(of(OutputImageRawFrame, sink.seen)) > quiet + 2 * QUANTUM, "idle pictures")
        assert not any(loud(frame.audio) for frame in of(SpeechOutputAudioRawFrame, sink.seen[after:]))
        await worker.queue_frames(speech(0.3, "new"))
        await until(lambda: of(TTSStoppedFrame, sink.seen), "the end of the next words")

    async def test() -> None:
        seen = await conversation(daemon, talk)
        assert [frame.context_id for frame in of(TTSStoppedFrame, seen)] == ["new"]
        after = seen.index(of(InterruptionFrame, seen)[0])
        voice = [frame for frame in of(SpeechOutputAudioRawFrame, seen[after:]) if loud(frame.audio)]
        assert 7 <= len(voice) <= QUANTUM

    run(test)


def test_a_daemon_killed_in_mid_turn_ends_the_speech_once(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()

    async def talk(worker: PipelineWorker, sink: Sink) -> None:
        await worker.queue_frames(speech(4.0, "lost"))
        await until(lambda: any(loud(f.audio) for f in of(SpeechOutputAudioRawFrame, sink.seen)), "a voice")
        os.killpg(daemon.process.pid, signal.SIGKILL)
        await asyncio.to_thread(daemon.process.wait)
        await until(lambda: of(TTSStoppedFrame, sink.seen), "the end of the lost words")

    async def test() -> None:
        seen = await conversation(daemon, talk)
        assert [frame.context_id for frame in of(TTSStoppedFrame, seen)] == ["lost"]

    run(test)
