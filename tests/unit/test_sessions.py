"""A session's turns over scripted stages and a clock of the test's own: pacing, deadlines, idle video, cuts."""

from __future__ import annotations

import gc
import itertools
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
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
from broker.media.throughput import Throughput
from broker.sessions.client_audio import AudioFormat
from broker.sessions.registry import Sessions
from broker.sessions.session import Session
from broker.sessions.settings import SessionSettings
from broker.stream.publisher import Publisher
from broker.templates.idle_cache import IdleCache, IdleLoop, IdleSegment
from broker.timers import Timers
from broker.workers.asr_streams import AsrStreams
from broker.workers.ledger import Entry, Ledger
from configs.schema import Config, Timeline

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
        self.paces = {"lipsync": Throughput(), "fallback": Throughput(), "encode": Throughput()}
        self.timers = Timers()
        self.wire = Wire(self)
        self.publisher = Publisher(self.wire, "boot", self.config.ring, None)  # type: ignore[arg-type]
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


@pytest.fixture
def floor() -> Floor:
    return Floor()


def contiguous(media: list[tuple[int, dict[str, Any]]]) -> bool:
    headers = [h for _, h in media]
    pairs = itertools.pairwise(headers)
    return [h["seq"] for h in headers] == list(range(len(headers))) and all(
        a["pts"] + a["dur"] == b["pts"] for a, b in pairs if a["gen"] == b["gen"]
    )


def test_a_turn_is_published_whole_in_order_and_ends_once(floor: Floor) -> None:
    session = floor.session()
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(10_000_000)
    assert contiguous(floor.media)
    assert [h["turn"] for _, h in floor.media] == [1] * len(floor.media)
    assert [h["last"] for _, h in floor.media] == [False] * (len(floor.media) - 1) + [True]
    assert sum(h["dur"] for _, h in floor.media) == 7 * QUANTUM
    assert [e["event"] for e in floor.events()] == [
        "turn.started", "reply.delta", "sentence", "speech.started", "speech.ended", "turn.ended"
    ]  # fmt: skip
    assert floor.media[0][0] == 1_080_000
    assert {h["degraded"] for _, h in floor.media} == {None}
    assert session.output.timeline.late == 0


def test_turns_follow_each_other_without_a_gap_in_media_time(floor: Floor) -> None:
    session = floor.session()
    for text in ("One.", "Two.", "Three."):
        session.new_turn("say", floor.time, text)
    floor.run(20_000_000)
    assert contiguous(floor.media)
    assert [e["turn"] for e in floor.events("turn.ended")] == [1, 2, 3]
    assert session.output.timeline.late == 0


def test_without_lipsync_the_voice_goes_on_with_the_templates_own_pixels(floor: Floor) -> None:
    session = floor.session()
    floor.delay_us["lipsync"] = None
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(15_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {"audio_only"}
    assert sum(h["dur"] for _, h in floor.media) == 7 * QUANTUM
    assert len(floor.events("degraded")) == 1
    assert floor.media[0][0] == pytest.approx(1_010_000 + 2_500_000 + 30_000, abs=5_000)
    assert session.output.timeline.late == 0, "a segment without crops is encoded before its time, not after it"
    assert session.totals()["degraded_us"] == 7 * QUANTUM


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


@pytest.mark.parametrize("idle", [False, True])
def test_lipsync_that_is_frozen_for_a_moment_costs_a_moment_and_no_lips(floor: Floor, idle: bool) -> None:
    session = floor.session(idle=idle)
    floor.run(3_000_000)
    said = floor.time
    floor.frozen_until["lipsync"] = said + 800_000
    floor.frame_us["lipsync"] = 4_000
    floor.speech_us = 6_000_000
    session.new_turn("say", floor.time, "Hello there you two.")
    floor.run(30_000_000)
    spoken = [(at, h) for at, h in floor.media if h["turn"]]
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in spoken} == {None}
    assert spoken[0][0] < said + 1_200_000 + idle * 640_000
    assert within_sentences(floor) == 0
    assert len(floor.events("turn.ended")) == 1


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("text", ["One sentence.", "One. Two. Three. Four."])
def test_lipsync_slower_than_real_time_pauses_between_sentences(floor: Floor, idle: bool, text: str) -> None:
    session = floor.session(idle=idle)
    floor.frame_us["lipsync"] = 48_000
    floor.speech_us = 3_000_000
    for _ in range(2):
        session.new_turn("say", floor.time, text)
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {None}
    assert [e["turn"] for e in floor.events("turn.ended")] == [1, 2]
    # Between idle video a sentence is given its place before anything is measured: once in a daemon's life.
    assert within_sentences(floor) <= (500_000 if idle else 200_000)
    assert within_sentences(floor, turn=2) <= 200_000
    late = [h for at, h in floor.media if h["turn"] and h["pts"] in pauses(floor)]
    assert session.output.timeline.late == len([h for h in late if not first_of_turn(floor, h)])


def test_a_hopelessly_slow_lipsync_is_waited_for_once(floor: Floor) -> None:
    session = floor.session()
    floor.frame_us["lipsync"] = 2_000_000
    floor.speech_us = 6_000_000
    session.new_turn("say", floor.time, "Hello.")
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {"audio_only"}
    assert floor.media[0][0] < 5_000_000
    assert floor.media[-1][0] < 12_000_000


def test_lipsync_that_dies_is_waited_for_until_it_is_back(floor: Floor) -> None:
    session = floor.session()
    floor.speech_us = 6_000_000
    session.new_turn("say", floor.time, "Hello.")
    floor.run(1_200_000)
    floor.delay_us["lipsync"] = None
    floor.run(2_000_000)
    floor.ledger.down("lipsync.0", 1, commanded=False, now=floor.time)
    session.touch()
    floor.run(4_000_000)
    floor.delay_us["lipsync"] = 40_000
    floor.worker("lipsync")
    session.touch()
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert {h["degraded"] for _, h in floor.media} == {None}
    assert len(floor.events("turn.ended")) == 1


def test_the_fallback_engine_takes_over_when_no_lipsync_process_is_ready_and_hands_back(floor: Floor) -> None:
    session = floor.session()
    floor.worker("fallback")
    floor.delay_us["fallback"] = 40_000
    floor.speech_us = 6_000_000
    floor.delay_us["lipsync"] = None
    session.new_turn("say", floor.time, "Hello.")
    floor.run(1_500_000)
    assert not floor.media
    floor.ledger.down("lipsync.0", 1, commanded=False)
    session.touch()
    floor.run(3_000_000)
    assert {h["degraded"] for _, h in floor.media} == {"fallback"}
    floor.worker("lipsync")
    floor.delay_us["lipsync"] = 40_000
    floor.run(20_000_000)
    assert contiguous(floor.media)
    assert floor.media[-1][1]["degraded"] is None
    assert [e["event"] for e in floor.events() if e["event"] in ("degraded", "recovered")] == [
        "degraded",
        "recovered",
    ]
    assert sum(h["dur"] for _, h in floor.media) == 19 * QUANTUM


def test_interrupt_cuts_at_the_formula_ends_all_turns_and_keeps_what_was_heard(floor: Floor) -> None:
    session = floor.session()
    floor.speech_us = 5_000_000
    session.new_turn("say", floor.time, "Hello there you two.")
    session.new_turn("say", floor.time, "Never said.")
    floor.run(1_700_000)
    clock = session.output.timeline.clock(floor.time)
    turn, flush_from = session.interrupt("client")
    assert (turn, flush_from) == (1, -(-(clock + 40_000) // QUANTUM) * QUANTUM)
    floor.run(5_000_000)
    assert [e["turn"] for e in floor.events("turn.interrupted")] == [1, 2]
    assert session.history.lines() == [("assistant", "Hello there")]
    assert not floor.events("turn.ended")
    session.new_turn("say", floor.time, "Again.")
    floor.run(9_000_000)
    again = [h for _, h in floor.media if h["gen"] == 1]
    assert again[0]["pts"] == flush_from
    assert session.interrupt("client") == (None, session.output.timeline.end)
    assert session.output.timeline.gen == 1


def test_idle_video_fills_every_wait_and_speech_is_never_late(floor: Floor) -> None:
    session = floor.session(idle=True)
    floor.run(3_000_000)
    assert contiguous(floor.media)
    assert {h["turn"] for _, h in floor.media} == {0}
    assert all(at >= 1_000_000 + h["pts"] - 640_000 for at, h in floor.media)
    session.new_turn("say", floor.time, "Hello there.")
    floor.run(9_000_000)
    assert contiguous(floor.media)
    assert [h["turn"] for _, h in floor.media].count(1) >= 4
    assert floor.media[-1][1]["turn"] == 0
    assert session.output.timeline.late == 0
    assert session.output.timeline.clock(floor.time) == floor.time - 1_000_000


def test_speech_that_misses_its_place_is_made_anew_for_a_later_one(floor: Floor) -> None:
    session = floor.session(idle=True)
    floor.delay_us["lipsync"] = 900_000
    floor.run(2_000_000)
    session.new_turn("say", floor.time, "Hello there.")
    floor.run(12_000_000)
    spoken = [h for _, h in floor.media if h["turn"] == 1]
    assert contiguous(floor.media)
    assert sum(h["dur"] for h in spoken) == 7 * QUANTUM
    assert session.output.timeline.late == 0
    (sentence,) = floor.events("sentence")
    assert sentence["data"]["pts"] == spoken[0]["pts"]
    assert len(floor.events("turn.ended")) == 1


def test_a_templates_loop_is_there_before_its_first_session(floor: Floor, tmp_path: Path) -> None:
    floor.idle_cache = idle_cache = IdleCache(floor)
    template = TemplateRef("t", str(tmp_path), "h")
    idle_cache.prepare(template, 248, b"init")
    floor.run(floor.time + 5_000_000)
    assert not floor.done, "nothing before the daemon is ready"
    idle_cache.open()
    while len(floor.done) < 31:
        assert floor.ledger.backlog()["encode"]["items"] == 1, "one at a time, so that live work never waits long"
        floor.run(floor.time + 10_000)
    made = [*tmp_path.glob("idle/*/*.m4s")]
    assert len(made) == 31
    made[7].unlink()
    idle_cache.prepare(template, 248, b"init")
    floor.run(floor.time + 5_000_000)
    assert len(floor.done) == 32, "only what is missing"
    said = floor.time
    floor.session(idle=True, path=str(tmp_path))
    floor.run(floor.time + 1_000_000)
    assert floor.media[0][0] == said
    assert len(floor.done) == 32


def test_a_live_voice_is_shown_late_with_its_lips(floor: Floor) -> None:
    """It has no lead: each segment is late when it is asked for, and its lips have 0.4 s all the same."""
    session = floor.session()
    floor.delay_us["lipsync"] = 390_000
    for _ in range(20):
        call = session.feed(S16_48K, memoryview(bytes(2 * 12_000)), last=False)
        floor.run(floor.time + 250_000)
    session.await_next(call)
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 16 * QUANTUM
    assert {h["degraded"] for _, h in floor.media} == {None}


def test_a_slow_language_model_pauses_the_speech_not_the_video(floor: Floor) -> None:
    session = floor.session(idle=True)
    floor.delay_us["llm"] = 3_000_000
    session.new_turn("chat", floor.time, "Well?")
    floor.run(12_000_000)
    assert contiguous(floor.media)
    assert floor.media[0][1]["turn"] == 0
    assert session.output.timeline.late == 0
    assert session.history.lines() == [("user", "Well?"), ("assistant", "One. Two.")]


def test_offline_sessions_do_not_wait_for_a_clock(floor: Floor) -> None:
    session = floor.session(mode="offline")
    floor.speech_us = 20_000_000
    session.new_turn("say", floor.time, "Long.")
    floor.run(9_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 63 * QUANTUM
    assert floor.media[-1][0] < 4_000_000


def test_without_a_clock_there_is_no_idle_video(floor: Floor) -> None:
    session = floor.session(mode="offline", idle=True)
    assert not session.settings.loops
    floor.run(9_000_000)
    assert not floor.media


@pytest.mark.parametrize(
    ("mode", "skips", "wanted"), [("realtime", True, 2), ("realtime", False, 1), ("offline", True, 1)]
)
def test_skipping_by_configuration_is_for_live_sessions_and_engines_that_can(
    floor: Floor, mode: str, skips: bool, wanted: int
) -> None:
    floor.config = msgspec.structs.replace(floor.config, timeline=Timeline(skip_frames=2))
    floor.lipsync_skips = skips
    session = floor.session(mode=mode)
    session.new_turn("say", floor.time, "Short.")
    floor.run(9_000_000)
    assert {item.skip for item, _ in floor.lipsync} == {wanted}
    assert {h["degraded"] for _, h in floor.media} == {None}


def test_lipsync_that_barely_keeps_up_skips_frames_until_it_is_easy_again(floor: Floor) -> None:
    session = floor.session()
    floor.lipsync_skips = True
    floor.speech_us = 60_000_000
    floor.delay_us["lipsync"] = 2_500_000
    session.new_turn("say", floor.time, "Long.")
    floor.run(20_000_000)
    assert "skip" in {h["degraded"] for _, h in floor.media}
    floor.delay_us["lipsync"] = 40_000
    floor.run(90_000_000)
    assert contiguous(floor.media)
    assert floor.media[-1][1]["degraded"] is None
    assert len(floor.events("turn.ended")) == 1


def test_a_turn_that_lipsync_could_not_serve_is_refused_after_every_step_of_skipping(floor: Floor) -> None:
    registry = Sessions(floor, floor.asr_streams, floor.idle_cache)
    floor.lipsync_skips = True
    floor.frame_us["lipsync"] = 10_000
    speakers = [floor.session(sid=f"speaker{k}") for k in range(8)]
    newcomer, offline = floor.session(sid="newcomer"), floor.session(sid="offline", mode="offline")
    registry.live = {s.id: s for s in (*speakers, newcomer, offline)}
    floor.speech_us = 12_000_000
    assert registry.busy_for(newcomer) is None
    for speaker in speakers:
        speaker.new_turn("say", floor.time, "One.")
    floor.run(2_000_000)
    assert registry.busy_for(newcomer) is None, "every fourth frame comes before a refusal"
    while (wait_ms := registry.busy_for(newcomer)) is None:
        assert floor.time < 60_000_000
        floor.run(floor.time + 100_000)
    assert any(s.skip.exhausted for s in speakers)
    assert registry.busy_for(offline) is None
    assert registry.busy_for(speakers[0]) is None, "a turn behind its own session's is served when that is over"
    floor.run(floor.time + wait_ms * 1000)
    assert registry.busy_for(newcomer) is None, "the time that was told is the time that it takes"
    assert "audio_only" not in {h["degraded"] for _, h in floor.media}


PASSAGE_BYTES, MARGIN_BYTES = 2 * 30 * 48_000, 2 * 48


def test_quality_max_hears_whole_passages_before_it_shows_them(floor: Floor) -> None:
    session = floor.session(mode="offline", quality="max")
    floor.speech_us = 7_000_000
    floor.delay_us["tts"] = 1_000_000
    session.new_turn("say", floor.time, "One. Two. Three. Four. Five. Six. Seven. Eight. Nine.")
    floor.run(60_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 197 * QUANTUM
    assert [e["event"] for e in floor.events()][-1] == "turn.ended"
    sound = struct.pack("<h", 1000) * (63 * 48_000)
    silence = bytes(MARGIN_BYTES)
    whole = silence + sound + silence
    for item, (_, *passages) in floor.lipsync:
        first = -item.speech_from_us * 48 // 1000
        last = min(first + item.frames * 1920 + 3840, 63 * 48_000) - 1
        assert [item.passage, item.passage + len(passages) - 1] == [
            max(0, first - 3840) // 1_440_000, last // 1_440_000
        ]  # fmt: skip
        for k, pcm in enumerate(passages):
            at = (item.passage + k) * PASSAGE_BYTES
            assert pcm == whole[at : at + PASSAGE_BYTES + 2 * MARGIN_BYTES]
    assert {len(buffers) for _, buffers in floor.lipsync} == {2, 3}


def test_quality_max_takes_no_stand_in(floor: Floor) -> None:
    session = floor.session(mode="offline", quality="max")
    floor.worker("fallback")
    floor.delay_us["fallback"] = 40_000
    floor.delay_us["lipsync"] = None
    floor.ledger.down("lipsync.0", 1, commanded=False)
    session.new_turn("say", floor.time, "Hello.")
    floor.run(60_000_000)
    assert not floor.media, "it waits for the chosen engine to come back"
    (entry,) = floor.ledger.give_up("lipsync")[:1]
    entry.job.failed("FAILED", "no lipsync process is left")
    assert [e["data"]["code"] for e in floor.events("turn.failed")] == ["FAILED"]
    assert "stand-in" in floor.events("turn.failed")[0]["data"]["message"]
    floor.run(90_000_000)
    assert not floor.media
    assert session.idle


@pytest.mark.slow
def test_a_long_recording_of_quality_max_keeps_two_passages(floor: Floor) -> None:
    session = floor.session(mode="offline", quality="max")
    floor.speech_us = 20_000_000
    turn = session.new_turn("say", floor.time, " ".join(f"Number {k}." for k in range(15)))
    most = 0
    while session.current or session.waiting:
        assert floor.time < 600_000_000
        floor.run(floor.time + 100_000)
        most = max(most, len(turn._track.window(0, turn._track.end).lstrip(bytes(1))))
    assert sum(h["dur"] for _, h in floor.media) == 938 * QUANTUM
    # Speech is kept by whole pieces, of 20 s here: the oldest one may be needed for its end alone.
    assert most <= 2 * (30 + 40 + 3 * 20 + 20) * 48_000, "what is known ahead, and the passages in use"


@pytest.mark.parametrize("until_us", [100_000_000, 900_000], ids=["ended", "cut"])
def test_what_is_over_holds_no_speech_and_no_media(floor: Floor, until_us: int) -> None:
    """Whether or not the garbage collector has come by: a turn, its voice and its jobs hold each other."""

    def live() -> None:
        session = floor.session()
        session.new_turn("say", floor.time, "Hello there you two.")
        session.new_turn("chat", floor.time, "And you?")
        if until_us < 1_000_000:  # a client's own audio that waits is cut, too
            session.feed(S16_48K, memoryview(bytes(1_000_000)), last=False)
        floor.run(floor.time + until_us)
        session.interrupt("ended")
        session.close("ended")
        floor.publisher.media(session.channel, 99, bytes(1_000_000))
        floor.publisher.close(session.channel)
        floor.done.clear()
        floor.lipsync.clear()
        floor.wire.sent.clear()
        floor.live.clear()
        floor.run(floor.time + 60_000_000)

    live()
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            live()
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert most - before > 1_000_000, "a session's speech and media while it lives"
    assert (after - before) / 5 < 60_000
