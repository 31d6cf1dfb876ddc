"""A Pipecat pipeline whose bot has a face; here it reads a WAV file (16 bits, mono) and writes a film.

    pip install '.[pipecat]'                            # into an environment of its own
    musecast up                                         # the daemon that makes the face
    python docs/examples/pipecat_bot.py hello.wav face.mp4

In a bot, `MusecastVideoService` stands between its text-to-speech and `transport.output()`:

    Pipeline([transport.input(), stt, user, llm, tts, MusecastVideoService(), transport.output(), assistant])

with `video_out_enabled=True, video_out_is_live=True, video_out_width=512, video_out_height=512,
video_out_framerate=25, audio_out_sample_rate=48000` in the transport's parameters.
"""

from __future__ import annotations

import asyncio
import sys
import wave
from fractions import Fraction
from typing import Any

import av
import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    OutputImageRawFrame,
    SpeechOutputAudioRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from clients.adapters.pipecat import MusecastVideoService

FPS, RATE = 25, 48_000


class Film(FrameProcessor):
    """Writes what it is shown, as a transport shows it to somebody."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = av.open(path, "w")
        self._video: Any = None
        self._audio = self._file.add_stream("aac", rate=RATE, layout="mono")
        self._frames = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """One picture, its sound, or the end."""
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputImageRawFrame):
            self._picture(frame)
        elif isinstance(frame, SpeechOutputAudioRawFrame):
            self._sound(frame.audio)
        elif isinstance(frame, EndFrame):
            self._end()
        await self.push_frame(frame, direction)

    def _picture(self, frame: OutputImageRawFrame) -> None:
        width, height = frame.size
        if self._video is None:
            self._video = self._file.add_stream("libx264", rate=FPS, width=width, height=height, pix_fmt="yuv420p")
        pixels = np.frombuffer(frame.image, np.uint8).reshape(height, width, 3)
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = self._frames, Fraction(1, FPS)
        self._file.mux(self._video.encode(picture))

    def _sound(self, audio: bytes) -> None:
        sound = av.AudioFrame.from_ndarray(np.frombuffer(audio, np.int16)[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, self._frames * (RATE // FPS), Fraction(1, RATE)
        self._frames += 1
        self._file.mux(self._audio.encode(sound))

    def _end(self) -> None:
        for stream in filter(None, (self._video, self._audio)):
            self._file.mux(stream.encode(None))
        self._file.close()


async def main(speech: str, film: str) -> None:
    """Read, show, write."""
    worker = PipelineWorker(Pipeline([MusecastVideoService(), Film(film)]))
    frames: list[Frame] = [TTSStartedFrame()]
    with wave.open(speech) as file:
        while pcm := file.readframes(file.getframerate() // 10):
            frames.append(TTSAudioRawFrame(pcm, file.getframerate(), 1))
    await worker.queue_frames([*frames, TTSStoppedFrame(), EndFrame()])
    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
