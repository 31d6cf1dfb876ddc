"""A session's surroundings for unit tests: scripted stages, a clock of the test's own, and what was published."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import zmq

from broker.ipc.messages import (
    AsrAudio,
    AudioItem,
    EncodedSegment,
    EncodeItem,
    Item,
    LipsyncCrops,
    LipsyncItem,
    LlmDelta,
    LlmItem,
    LlmSentence,
    Message,
    Output,
    TemplateRef,
    TtsChunk,
    TtsItem,
    Word,
)
from broker.journal.journal import Journal
from broker.media.throughput import Throughput
from broker.sessions.client_audio import AudioFormat
from broker.sessions.session import Session
from broker.sessions.settings import SessionSettings
from broker.stream.publisher import Publisher
from broker.templates.idle_cache import IdleLoop, IdleSegment
from broker.timers import Timers
from broker.workers.asr_streams import AsrStreams
from broker.workers.ledger import Entry, Ledger
from configs.schema import Config
from models.meter import Meter

QUANTUM = 320_000
PAYLOAD = bytes(256)
S16_48K = AudioFormat(48_000, 1, "s16le", 2)


class Wire:
    """Stands for the XPUB socket: what was published, with the time."""

    def __init__(self, hub: Floor) -> None:
        self._hub = hub
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self._frames: list[bytes] = []

    def send(self, frame: bytes, flags: int, copy: bool = True) -> None:
        self._frames.append(frame)
        if not flags & zmq.SNDMORE:
            frames, self._frames = self._frames, []
            self.sent.append((self._hub.time, msgpack.unpackb(frames[1])))


class AllIdle:
    """Every idle segment is there at once."""

    def take(self, loop: IdleLoop, sid: str, index: int, due: int) -> IdleSegment:
        return IdleSegment((4, 8, 24), PAYLOAD)


class Floor:
    """A hub whose stages are scripted: ``delay_us[stage]`` until an item's outputs come, None for never."""

    def __init__(self) -> None:
        self.time = 1_000_000
        self.config = Config()
        self.epoch = 1
        self.ledger = Ledger()
        self.meter = Meter()
        self.throughputs = {"lipsync": Throughput(), "fallback": Throughput(), "encode": Throughput()}
        self.timers = Timers()
        self.wire = Wire(self)
        self.publisher = Publisher(self.wire, "boot", None, Journal(None, "boot", self.config.ring))  # type: ignore[arg-type]
        self.idle_cache: Any = AllIdle()
        self.delay_us: dict[str, int | None] = {"llm": 5_000, "tts": 10_000, "lipsync": 40_000, "encode": 30_000}
        self.frame_us: dict[str, int] = {}
        """Of a stage that makes one item after the other, beside its delay."""
        self.frozen_until: dict[str, int] = {}
        self._queues: dict[str, list[tuple[Entry, Item]]] = {}
        self._working: set[str] = set()
        self.speech_us = 2_000_000
        self.done: list[str] = []
        self.lipsync: list[tuple[LipsyncItem, list[bytes]]] = []
        """What was asked of lip-sync."""
        self.encode: list[tuple[EncodeItem, list[bytes]]] = []
        """What was asked of encode."""
        self.lipsync_skips = False
        self._dirty: dict[str, None] = {}
        self.live: dict[str, Session] = {}
        self._started = 0
        self.asr_streams = AsrStreams(self._to_asr)
        self.asr_names: list[str] = []
        """Streams that asr got audio of."""
        for stage in self.delay_us:
            self.worker(stage)

    def worker(self, stage: str) -> None:
        self.ledger.up(f"{stage}.0", 1, stage)
        self.ledger.ready(f"{stage}.0", 1, 1000, self.time)

    def _to_asr(self, instance: str, message: Message, buffers: Sequence[Any]) -> bool:
        if isinstance(message, AsrAudio) and message.sid not in self.asr_names:
            self.asr_names.append(message.sid)
        return True

    def now(self) -> int:
        return self.time

    def cancel(self, item_ids: Sequence[str]) -> None:
        self.ledger.cancel(item_ids)

    def touch(self, session_id: str) -> None:
        self._dirty[session_id] = None

    def session(
        self,
        *,
        idle: bool = False,
        mode: str = "realtime",
        quality: str = "high",
        sid: str = "s",
        path: str = "/nowhere",
        barge_in: bool = True,
    ) -> Session:
        channel = self.publisher.open(sid, b"init", "video/mp4")
        settings = SessionSettings(
            TemplateRef("t", path, "h"),
            mode=mode,
            quality=quality,
            barge_in=barge_in,
            loop_frames=248 if idle else 0,
        )
        self._started += 1
        session = Session(self, sid, channel, settings, self.asr_streams, self.idle_cache, serial=self._started)
        self.live[sid] = session
        session.touch()
        return session

    def run(self, until_us: int) -> None:
        """Advance the clock from one happening to the next."""
        while True:
            self._settle()
            wait = self.timers.wait(self.time)
            if wait is None or self.time + wait > until_us:
                self.time = max(self.time, until_us)
                return
            self.time += wait
            self.timers.fire(self.time)

    def _settle(self) -> None:
        while True:
            dirty, self._dirty = self._dirty, {}
            for sid in dirty:
                if sid in self.live:
                    self.live[sid].advance()
            work = [*self.ledger.dispatch(self.time)]
            for worker, entry in work:
                delay = self.delay_us.get(worker.stage)
                item, buffers = entry.build(1)
                if isinstance(item, LipsyncItem):
                    self.lipsync.append((item, [*buffers]))
                if isinstance(item, EncodeItem):
                    self.encode.append((item, [bytes(buffer) for buffer in buffers]))
                if delay is not None:
                    self._queues.setdefault(worker.stage, []).append((entry, item))
                    self._work(worker.stage)
            if not dirty and not work:
                return

    def _work(self, stage: str) -> None:
        """Take up what waits: one item after the other where ``frame_us`` says so, and none that is cancelled."""
        queue = self._queues[stage]
        queue[:] = sorted((work for work in queue if not work[0].void), key=lambda work: work[0].priority)
        while queue and stage not in self._working:
            entry, item = queue.pop(0)
            assert entry.worker is not None
            src, delay = entry.worker.instance, self.delay_us[stage]
            begun = max(self.time, self.frozen_until.get(stage, 0))
            ended = begun + self.frame_us.get(stage, 0) * getattr(item, "frames", 0)
            self.timers.at(ended + (delay or 0), self._finish(src, item))
            if stage in self.frame_us:
                self._working.add(stage)
                self.timers.at(ended, lambda: self._free(stage))

    def _free(self, stage: str) -> None:
        self._working.remove(stage)
        self._work(stage)

    def _finish(self, src: str, item: Item) -> Callable[[], None]:
        def finish() -> None:
            base = {"src": src, "ep": 1, "id": item.id, "attempt": item.attempt}
            for index, (kind, fields, buffers) in enumerate(self._outputs(item)):
                message: Output = kind(**base, index=index, **fields)
                entry = self.ledger.output(message, self.time)
                if entry is not None:
                    entry.job.output(message, [memoryview(b) for b in buffers])
            entry = self.ledger.done(src, 1, item.id, item.attempt)
            if entry is not None:
                self.done.append(item.id)
                entry.job.done()
            self.touch(item.sid)

        return finish

    def _outputs(self, item: Item) -> list[tuple[type[Output], dict[str, Any], list[bytes]]]:
        if isinstance(item, LlmItem):
            return [(LlmDelta, {"text": "One. Two."}, []), (LlmSentence, {"sentence": 0, "text": "One. Two."}, [])]
        if isinstance(item, TtsItem):
            words = [Word(w, k * 400_000, k * 400_000 + 300_000) for k, w in enumerate(item.text.split())]
            pcm = struct.pack("<h", 1000) * (self.speech_us * 48 // 1000)
            return [(TtsChunk, {"at": 0, "words": words}, [pcm])]
        if isinstance(item, AudioItem):
            return [(TtsChunk, {"at": 0}, [bytes(2 * (item.out_to - item.out_from))])]
        if isinstance(item, LipsyncItem):
            fields = {"start": item.start, "frames": item.frames - item.start, "engine": "warp"}
            return [(LipsyncCrops, fields, [b"crops"])]
        assert isinstance(item, EncodeItem)
        fields = {"frames": item.frames, "mfhd_at": 4, "video_tfdt_at": 8, "audio_tfdt_at": 24}
        return [(EncodedSegment, fields, [PAYLOAD])]

    @property
    def media(self) -> list[tuple[int, dict[str, Any]]]:
        return [(at, h) for at, h in self.wire.sent if h.get("kind") == "media"]

    def events(self, name: str = "") -> list[dict[str, Any]]:
        return [h for _, h in self.wire.sent if "event" in h and (not name or h["event"] == name)]


def contiguous(media: list[tuple[int, dict[str, Any]]]) -> bool:
    headers = [h for _, h in media]
    pairs = itertools.pairwise(headers)
    return [h["seq"] for h in headers] == list(range(len(headers))) and all(
        a["pts"] + a["dur"] == b["pts"] for a, b in pairs if a["gen"] == b["gen"]
    )


def pauses(floor: Floor) -> dict[int, int]:
    """By pts: for how long a viewer's picture has stood before that segment, microseconds."""
    found: dict[int, int] = {}
    anchor: tuple[int, int] | None = None
    for at, h in floor.media:
        stood = 0 if anchor is None else at - (anchor[1] + h["pts"] - anchor[0])
        if anchor is None or stood >= 0:
            anchor = (h["pts"], at)
        if stood > 0:
            found[h["pts"]] = stood
    return found


def first_of_turn(floor: Floor, header: dict[str, Any]) -> bool:
    """Whether it is the first media of its turn."""
    return header is next(h for _, h in floor.media if h["turn"] == header["turn"])


def within_sentences(floor: Floor, turn: int = 1) -> int:
    """The longest pause from this turn on that is not beside the start of a sentence, microseconds."""
    starts = [e["data"]["pts"] for e in floor.events("sentence")]
    first = next(h["pts"] for _, h in floor.media if h["turn"] == turn)
    inside = [
        us for pts, us in pauses(floor).items()
        if pts > first and min(abs(pts - start) for start in starts) > QUANTUM // 2
    ]  # fmt: skip
    return max(inside, default=0)
