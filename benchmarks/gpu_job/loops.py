"""One stream as fast as it goes: ours beside upstream's loop, all of them in every round.

Two of the four numbers: ``generation``, blended frames on the host; ``delivered``, access units at a subscriber.
"""

from __future__ import annotations

import queue
import statistics
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.gpu_job.figures import figures
from benchmarks.gpu_job.line import Arrival, Line
from benchmarks.gpu_job.rounds import Rounds
from benchmarks.gpu_job.speaker import Speaker
from benchmarks.gpu_job.upstream import BATCH, Upstream
from configs.grid import QUANTUM_FRAMES
from models.api import FRAME_SAMPLES, FUTURE_US, PAST_US, SAMPLE_RATE, Crops, FrameJob, SpeechWindow
from models.media.paste import paster, planes
from models.musetalk.engine import MuseTalkLipSync
from models.templates.store import Template

ROUNDS = 3
DRAIN_S = 20.0
OURS, OURS_PUB = "ours", "ours to SUB"


@dataclass
class Taken:
    """One measurement: frames and seconds, ms between frames, CPU ms per frame of each process, batch fill."""

    frames: int
    seconds: float
    between_ms: list[float] = field(default_factory=list)
    cpu_ms_per_frame: dict[str, float] = field(default_factory=dict)
    batch_fill: float | None = None

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds


class OurLoop:
    """The engine's faces pasted into whole frames, the paste in a thread of its own as upstream's blend is.

    Args:
        engine: loaded.
        template: of the size in question.
        pcm: s16 48 kHz, long enough for a window of the engine's largest batch.
    """

    def __init__(self, engine: MuseTalkLipSync, template: Template, pcm: np.ndarray) -> None:
        self._engine, self._template = engine, template
        frames = max(QUANTUM_FRAMES, *engine.buckets)
        length = (PAST_US + FUTURE_US) * SAMPLE_RATE // 1_000_000 + frames * FRAME_SAMPLES
        window = SpeechWindow(template, 0, frames, 0, pcm[:length], [], [], 0.5, -4_000_000, None)
        self._jobs = engine.plan(window)
        self._planes = [planes(np.array(template.i420[k])) for k in range(template.frames)]
        """What is shown, one per pose: refreshed where the paste touches, as the encoder's own picture is."""

    def play(self, frames: int) -> tuple[int, float, list[float]]:
        """As many whole batches as give ``frames``: frames, seconds, and when each was done (monotonic)."""
        waiting: queue.Queue[np.ndarray | None] = queue.Queue()
        stamps: list[float] = []
        thread = threading.Thread(target=self._paste, args=(waiting, stamps), name="paste")
        begin = time.monotonic()
        thread.start()
        try:
            for _ in range(max(1, frames // len(self._jobs))):
                waiting.put(self._engine.render(fresh(self._jobs)))
        finally:
            waiting.put(None)
            thread.join()
        return len(stamps), time.monotonic() - begin, stamps

    def _paste(self, waiting: queue.Queue[np.ndarray | None], stamps: list[float]) -> None:
        template, paste = self._template, paster(self._template, "musetalk", Crops.MASKED).paste
        while (crops := waiting.get()) is not None:
            for job, crop in zip(self._jobs, crops, strict=True):
                out = self._planes[job.pose]
                for target, source in zip(out, planes(template.i420[job.pose]), strict=True):
                    np.copyto(target, source)
                paste(out, template.roi[job.pose], template.boxes[job.pose], crop, job.pose)
                stamps.append(time.monotonic())


def fresh(jobs: list[FrameJob]) -> list[FrameJob]:
    """The same jobs with their faces to be generated again."""
    for job in jobs:
        for face in job.data.faces:
            face.crop, face.done = None, False
    return jobs


class Loops:
    """Every system at every size of picture, in turn within each round.

    Args:
        engine: loaded, ours.
        templates: name of the picture to template.
        line: where delivered frames go.
        upstream: its loop, or None.
        clock: of the device under load.
        pcm: speech.
    """

    def __init__(
        self, engine: MuseTalkLipSync, templates: dict[str, Template], line: Line, upstream: Upstream | None,
        clock: Callable[[], float | None], pcm: np.ndarray,
    ) -> None:  # fmt: skip
        self._engine, self._templates, self._line, self._upstream = engine, templates, line, upstream
        self._ours = {name: OurLoop(engine, template, pcm) for name, template in templates.items()}
        self.rounds = Rounds(clock)
        self._all: dict[Hashable, list[Taken]] = {}
        self._stream = 0

    @property
    def systems(self) -> dict[str, Callable[[str, int], Taken]]:
        """Name to how one measurement of it is taken, in the order of a round."""
        found: dict[str, Callable[[str, int], Taken]] = {OURS: self._our_frames}
        if self._upstream is not None:
            found |= {"U0": self._u0, "U1": self._u1}
        found[OURS_PUB] = self._our_units
        if self._upstream is not None:
            found["U2"] = self._u2
        return found

    def run(self, until: float) -> list[dict[str, Any]]:
        """Play the rounds until the time (monotonic) is up; a row per system and size."""
        keys = [(system, name) for name in self._templates for system in self.systems]
        rates = {key: self.systems[key[0]](key[1], BATCH).rate for key in keys}  # warms up and tells how long
        left = until - time.monotonic()
        span = max(left, 0.1) / ROUNDS

        def turn(index: int) -> dict[Hashable, list[float]]:
            found: dict[Hashable, list[float]] = {}
            end = until - (ROUNDS - 1 - index) * span
            for place, key in enumerate(keys):
                seconds = (end - time.monotonic()) / (len(keys) - place)
                if seconds <= 0 and index:
                    break
                frames = max(1, int(rates[key] * seconds * 0.8) // BATCH) * BATCH
                taken = self.systems[key[0]](key[1], frames)
                self._all.setdefault((index, key), []).append(taken)
                found[key] = [taken.rate]
            return found

        self.rounds.play(ROUNDS, turn)
        return self.rounds.rows(self._row)

    def _row(self, key: tuple[str, str], _: list[float], counting: bool) -> dict[str, Any]:
        counted = [index for index, one in enumerate(self.rounds.played) if one.counts is counting]
        taken = [one for index in counted for one in self._all.get((index, key), [])]
        rates = [one.rate for one in taken]
        names = {name for one in taken for name in one.cpu_ms_per_frame}
        fills = [one.batch_fill for one in taken if one.batch_fill is not None]
        return {
            "number": "delivered" if key[0] in (OURS_PUB, "U2") else "generation",
            "system": key[0], "picture": key[1],
            "frames_per_s": round(statistics.median(rates), 1),
            "frames_per_s_spread": [round(min(rates), 1), round(max(rates), 1)],
            "frames": sum(one.frames for one in taken),
            "between_frames": figures([ms for one in taken for ms in one.between_ms]),
            "cpu_ms_per_frame": {
                name: round(statistics.median([one.cpu_ms_per_frame.get(name, 0.0) for one in taken]), 3)
                for name in sorted(names)
            },
            "batch_fill": round(statistics.median(fills), 3) if fills else None,
        }  # fmt: skip

    def ratios(self) -> list[dict[str, Any]]:
        """Ours over upstream, round by round."""
        pairs = ((OURS, "U0"), (OURS, "U1"), (OURS_PUB, "U2"))
        found = []
        for ours, theirs in pairs:
            for name in self._templates:
                ratio = self.rounds.ratio((ours, name), (theirs, name))
                if ratio:
                    found.append({"what": f"frames/s, {ours} / {theirs}", "picture": name, **ratio})
        return found

    def _our_frames(self, name: str, frames: int) -> Taken:
        generated, padded = self._counts()
        cpu = time.process_time()
        made, seconds, stamps = self._ours[name].play(frames)
        own = (time.process_time() - cpu) * 1000 / made
        generated, padded = (b - a for a, b in zip((generated, padded), self._counts(), strict=True))
        return Taken(made, seconds, between(stamps), {"generator": own}, generated / (generated + padded))

    def _counts(self) -> tuple[int, int]:
        generator = self._engine._generator
        assert generator is not None
        return generator.generated, generator.padded

    def _u0(self, name: str, frames: int) -> Taken:
        return self._theirs(name, frames, save=False)

    def _u1(self, name: str, frames: int) -> Taken:
        return self._theirs(name, frames, save=True)

    def _theirs(self, name: str, frames: int, *, save: bool) -> Taken:
        assert self._upstream is not None
        cpu = time.process_time()
        played = self._upstream.play(name, frames, save=save)
        own = (time.process_time() - cpu) * 1000 / played.frames
        return Taken(played.frames, played.seconds, between(played.stamps), {"generator": own}, 1.0)

    def _u2(self, name: str, frames: int) -> Taken:
        assert self._upstream is not None
        upstream, stream = self._upstream, self._next_stream()

        def sink(number: int, picture: np.ndarray) -> None:
            self._line.picture(stream, number, picture)

        def produce() -> int:
            return upstream.play(name, frames, sink=sink).frames // QUANTUM_FRAMES

        return self._delivered(stream, produce, 1.0)

    def _our_units(self, name: str, frames: int) -> Taken:
        template, stream = self._templates[name], self._next_stream()

        def send(stream: int, number: int, crops: np.ndarray) -> None:
            self._line.segment(stream, QUANTUM_FRAMES * number, template, QUANTUM_FRAMES * number, crops)

        speaker = Speaker(self._engine, template, send)
        ahead = 2 * -(-max(self._engine.buckets) // QUANTUM_FRAMES)

        def produce() -> int:
            quanta = max(2, frames // QUANTUM_FRAMES)
            added = 0
            while added < quanta or speaker.busy:
                while added < quanta and speaker.waiting < ahead:
                    speaker.add(stream, added)
                    added += 1
                speaker.step()
            return quanta

        generated, padded = self._counts()
        taken = self._delivered(stream, produce, None)
        generated, padded = (b - a for a, b in zip((generated, padded), self._counts(), strict=True))
        taken.batch_fill = generated / (generated + padded)
        return taken

    def _next_stream(self) -> int:
        self._stream += 1
        return self._stream

    def _delivered(self, stream: int, produce: Callable[[], int], fill: float | None) -> Taken:
        """Frames that a subscriber had, over the time from the beginning until it had the last one."""
        cpu = self._line.cpu_s()
        begin = time.monotonic()
        segments = produce()

        def enough(found: list[Arrival]) -> bool:
            return sum(one.stream == stream for one in found) >= segments

        found = [one for one in self._line.arrivals(enough, time.monotonic() + DRAIN_S) if one.stream == stream]
        if not found:
            raise RuntimeError("nothing was delivered")
        frames = sum(one.frames for one in found)
        spent = {name: (after - cpu[name]) * 1000 / frames for name, after in self._line.cpu_s().items()}
        stamps = [one.at for one in found]
        return Taken(frames, max(stamps) - begin, between(stamps, QUANTUM_FRAMES), spent, fill)


def between(stamps: list[float], frames: int = 1) -> list[float]:
    """Milliseconds per frame between one stamp and the next, of ``frames`` frames each."""
    return [float(ms) for ms in np.diff(np.sort(stamps)) * 1000 / frames]
