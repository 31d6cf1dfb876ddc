"""Makes a turn's speech into published segments, and owns them: their state changes here alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from broker.context import Context
from broker.errors import ErrorCode
from broker.ipc.messages import EncodedSegment, LipsyncCrops
from broker.media.capacity import Load, Owed
from broker.media.passages import complete, needed_from
from broker.media.segment_plan import POST_ROLL, PRE_ROLL, RAMP, joint_after, opens, quanta_ready, segment_quanta
from broker.media.skip_policy import SkipPolicy
from broker.media.speech_track import SpeechTrack, to_us
from broker.media.throughput import OFFLINE
from broker.media.time_map import TimeMap
from broker.sessions.early_encode import EarlyEncode
from broker.sessions.lateness import Lateness
from broker.sessions.output import Output
from broker.sessions.segment import Segment, SegmentState
from broker.sessions.segment_jobs import FUTURE, PAST, EncodeJob, LipsyncJob
from broker.sessions.settings import SessionSettings
from broker.sessions.spoken_text import Sentence
from broker.sessions.task import Task
from broker.stream.events import SentencePlaced, SpeechEnded, SpeechStarted
from configs.grid import QUANTUM_FRAMES, QUANTUM_SAMPLES, QUANTUM_US

LIPSYNC_AHEAD_US = 3_000_000
YIELDING_AHEAD_US = 640_000
"""The same while the session presses: the crops of fifty that wait for encode would be 700 MB."""
ENCODE_AHEAD_US = 2_000_000
"""How far beyond the clock each stage may work for a session."""
LEAST_WAIT_US = 40_000
ENCODE_TIME_US = 180_000
"""Kept back for encoding: crops that come later than this before their time are not waited for."""
NO_LIPSYNC = "no process of the chosen lip-sync engine is ready"
MOVES_MAX = 3
"""At most 2^3 quanta are left to idle video before a segment that was late."""
ANEW_MAX = 4
"""So often one segment is made anew for a later place; then the picture stands until it is there, or given up."""
LEAST_CROPS_US = 400_000
"""Crops of audio that itself comes late (a live feed, a slow language model) may take this long before they count
as close to their deadline.
"""
STARVING_US = 600_000
"""With less media than this ahead of the clock, what audio there is is cut without waiting for more."""


class Renderer:
    """The segments of one turn: planned, cut, animated, rendered, moved, published.

    Args:
        track: the turn's speech, as far as it is known.
        sentences: tells the turn's sentences, as far as they are known.
        time_map: where the turn's samples are shown; this is its one writer.
        skip: of the session.
        published: called with the seq of each published segment.
    """

    def __init__(
        self,
        context: Context,
        settings: SessionSettings,
        output: Output,
        task: Task,
        track: SpeechTrack,
        sentences: Callable[[], list[Sentence]],
        time_map: TimeMap,
        skip: SkipPolicy,
        published: Callable[[int], None],
    ) -> None:
        self._context = context
        self._settings = settings
        self._output = output
        self._timeline = output.timeline
        self._task = task
        self._track = track
        self._sentences = sentences
        self._map = time_map
        self._skip = skip
        self._on_published = published
        self._ahead = EarlyEncode(task, settings, self)
        self._lateness = Lateness(context.ledger, context.throughputs, task.sid if settings.paced else OFFLINE)
        self.planned = 0
        """Samples of the turn that are cut into segments."""
        self.published = 0
        """Quanta published."""
        self._segments: deque[Segment] = deque()
        """In order; published ones are gone."""
        self._count = 0
        self._flush_to = 0
        self._announced = 0
        """Sentences whose event is out."""
        self._moves = 0
        self._moved = -1
        """Sample that was last given another place: there is a pause before it already."""
        self._anew = 0
        """How often it was."""

    # --- driven by the turn ---

    def advance(self, now: int) -> int | None:
        """Do all that can be done now; returns when to look again (monotonic us), None to wait for events."""
        clock = self._timeline.clock(now)
        wakes = [self._plan(now, clock), self._render(now, clock), self._publish(now)]
        return min((w for w in wakes if w is not None), default=None)

    @property
    def complete(self) -> bool:
        """Whether all of the turn's speech is published."""
        return self._track.ended and not self._segments and self.planned >= self._track.end

    def usable(self, known: int, *, ended: bool) -> int:
        """How many of the samples that are known segments may be made from: whole passages with quality "max"."""
        return complete(known) if self._settings.exact and not ended else known

    def flush(self, quanta: int) -> None:
        """Cut so much of the turn without waiting for more."""
        self._flush_to = quanta

    def load(self, now: int) -> Load:
        """What the turn still asks of lip-sync and encode."""
        making = (s for s in self._segments if s.state is not SegmentState.READY)
        owed = [Owed(self._task.deadline(s.pts) - now, *s.owed) for s in making]
        known = max(0, self._track.end - self.planned)
        return Load(owed, known * QUANTUM_FRAMES // QUANTUM_SAMPLES)

    @property
    def midway(self) -> bool:
        """Whether a sentence has begun, goes on with the next segment, and lip-sync is there to make it."""
        going = self.published > 0 and bool(self._segments) and not self._segments[0].opens
        return going and self._context.ledger.serving(self._segments[0].via)

    @property
    def last_place(self) -> bool:
        """Whether the next segment keeps its place however late it is: lip-sync is there to make it, and would be
        made to start anew for ever.
        """
        tried = bool(self._segments) and self._segments[0].first == self._moved and self._anew >= ANEW_MAX
        return tried and self._context.ledger.serving(self._segments[0].via)

    @property
    def next_pts(self) -> int | None:
        """Where the next segment in the making belongs; None when there is none."""
        return self._segments[0].pts if self._segments else None

    def move(self, pts: int) -> None:
        """Idle video has taken the place of the next segment: make the waiting ones anew for ``pts`` on.

        Their pose changes with their place. Each move of a turn leaves twice the time of the one before, or what
        the stages are measured to need, so that they catch up instead of starting over for ever.
        """
        first = self._segments[0].first
        self._anew = self._anew + 1 if first == self._moved else 1
        self.planned = self._moved = first
        if self._anew == ANEW_MAX:
            self._lateness.starts_over()
        self.cancel()
        ahead = pts - self._timeline.clock(self._context.now())
        room = self._lateness.room(self.planned, self._uncut, self._longest, ahead=ahead)
        self._map.move(self.planned, pts + max((1 << min(self._moves, MOVES_MAX)) - 1, room) * QUANTUM_US)
        self._moves += 1

    def cancel(self) -> None:
        """What is not published is not wanted any more."""
        now = self._context.now()
        self._task.cancel(*(item for s in self._segments for item in (s.item, s.ahead)))
        for segment in self._segments:
            self._lateness.unmade(segment, now)
            segment.enter(SegmentState.VOID)
            segment.item, segment.ahead, segment.crops, segment.payload = None, None, [], None
        self._segments.clear()

    # --- plan and cut ---

    def _plan(self, now: int, clock: int) -> int | None:
        """Cut speech into segments up to the lip-sync work-ahead."""
        timeline, track = self._timeline, self._track
        while True:
            known = self.usable(track.end, ended=track.ended)
            ready = quanta_ready(known, self.planned, FUTURE, ended=track.ended)
            if not ready:
                return None
            if not self._map.placed or self._map.pts(self.planned) < timeline.end:
                self._map.move(self.planned, timeline.end)  # the turn begins, or idle video has filled a wait
            pts = self._placed(clock)
            ahead = YIELDING_AHEAD_US if self._task.yields else LIPSYNC_AHEAD_US
            if pts >= clock + ahead:
                return now + max(pts - clock - ahead, LEAST_WAIT_US)  # a clock that stands still comes no nearer
            left = pts - clock
            flush = (
                track.ended
                or self.planned // QUANTUM_SAMPLES + ready <= self._flush_to
                or (timeline.paced and self._count > 0 and left < STARVING_US)
            )
            quanta = segment_quanta(self._count, ready, self._longest, flush=flush)
            joint = joint_after(self._starts, self.planned) if self._lateness.slow else None
            if joint is not None:
                quanta = min(quanta, joint - self.planned // QUANTUM_SAMPLES)
            if not quanta:
                return now + left - STARVING_US + 1 if timeline.paced and self._count else None
            self._cut(quanta, pts)

    def _placed(self, clock: int) -> int:
        """Where what is cut next is shown. Between idle video a sentence for which lip-sync is too slow begins
        later: its pose follows its place, so that it cannot just be held back.
        """
        pts = self._map.pts(self.planned)
        if self._settings.loops and opens(self._starts, self.planned):
            later = self._lateness.delay(self.planned, self._uncut, self._longest, ahead=pts - clock)
            if later:
                pts += later * QUANTUM_US
                self._map.move(self.planned, pts)
        return pts

    @property
    def _starts(self) -> list[int]:
        """Samples of the turn where its sentences begin, as far as they are known."""
        return [s.start for s in self._sentences() if s.start is not None]

    @property
    def _uncut(self) -> int:
        """Quanta of the sentence at hand that are known and not cut yet."""
        end = joint_after(self._starts, self.planned) or quanta_ready(self._track.end, 0, 0, ended=True)
        return end - self.planned // QUANTUM_SAMPLES

    @property
    def _longest(self) -> int:
        most = self._context.config.timeline.max_segment_ms * 1000 // QUANTUM_US
        return self._lateness.longest(self._output.longest(most), yields=self._task.yields)

    def _cut(self, quanta: int, pts: int) -> None:
        begins = opens([*self._starts, self._moved], self.planned)
        segment = Segment(self._count, self.planned, quanta, pts, opens=begins)
        if not self._segments:
            self._lateness.leads(segment, self._context.now())
        self._segments.append(segment)
        self.planned += segment.samples
        self._count += 1
        if self._orphaned:
            segment.via = segment.degraded = "fallback"
            segment.reason = NO_LIPSYNC
        elif self._context.lipsync_skips and self._timeline.paced:
            wanted, needed = self._context.config.timeline.skip_frames, self._skip.skip
            segment.skip = max(wanted, needed)
            if needed > wanted:
                segment.degraded = "skip"
                segment.reason = f"lip-sync comes close to its deadlines; it draws one frame in {needed}"
        self._animate(segment)

    # --- animate ---

    def _animate(self, segment: Segment) -> None:
        segment.enter(SegmentState.ANIMATING)
        segment.crops, segment.crop_frames = [], 0
        segment.asked_at = self._context.now()
        self._lateness.asked(segment, segment.via, segment.asked_at)
        job = LipsyncJob(self._task, self._settings, self._track, segment, self)
        segment.item = self._task.submit(segment.via, segment.index, job, at=segment.first, cost=segment.frames)
        self._ahead.go_on(segment)

    def crops(self, segment: Segment, message: LipsyncCrops, pixels: memoryview) -> None:
        """Crops of the next frames."""
        segment.crops.append(pixels)
        segment.engine = message.engine
        segment.crop_frames += message.frames
        self._lateness.made(segment.via, message.frames, self._context.now())
        self._ahead.go_on(segment)

    def animated(self, segment: Segment) -> None:
        """The crops are there: how close was it? The first segments of a turn are always wanted at once."""
        segment.enter(SegmentState.ANIMATED)
        if self._timeline.paced and segment.index >= len(RAMP):
            now = self._context.now()
            used = now - segment.asked_at
            time = used + self._due(segment) - now
            self._skip.observe(used, max(time, LEAST_CROPS_US), segment.skip)

    def not_animated(self, segment: Segment, code: ErrorCode, message: str) -> None:
        """The crops cannot be had: the fallback engine makes them, or the template's own pixels are shown.
        Quality "max" takes neither: the turn fails.
        """
        if segment.state is not SegmentState.ANIMATING:
            return
        if self._settings.exact:
            reason = f"lip-sync failed: {message}; quality 'max' shows no stand-in, quality 'high' does"
            self._task.fail(code, reason)
            return
        reason = f"{code}: {message}"
        if segment.via == "lipsync" and self._context.ledger.serving("fallback"):
            self._fall_back(segment, reason)
        else:
            self._show_template(segment, reason)

    def _show_template(self, segment: Segment, reason: str) -> None:
        self._lateness.unmade(segment, self._context.now())
        segment.enter(SegmentState.ANIMATED)
        segment.crops = []
        segment.degraded = "audio_only"
        segment.reason = reason

    def _fall_back(self, segment: Segment, reason: str) -> None:
        self._lateness.unmade(segment, self._context.now())
        segment.via = segment.degraded = "fallback"
        segment.reason = reason
        self._animate(segment)

    def _due(self, segment: Segment) -> int:
        """When its crops have to be there, by the clock as it runs now: it stands until a turn's first segment
        is out, and is anchored anew after each late one.
        """
        return self._task.deadline(segment.pts) - ENCODE_TIME_US

    @property
    def _orphaned(self) -> bool:
        """Whether the fallback engine takes over. Quality "max" waits for the chosen engine to come back."""
        ledger = self._context.ledger
        return not self._settings.exact and not ledger.serving("lipsync") and ledger.serving("fallback")

    # --- render ---

    def _render(self, now: int, clock: int) -> int | None:
        """Give up on late crops, send complete ones to encode."""
        wake: int | None = None
        orphaned = self._orphaned
        for segment in self._segments:
            due: int | None = None
            if segment.state is SegmentState.ANIMATING and segment.via == "lipsync" and orphaned:
                self._task.cancel(segment.item)
                self._fall_back(segment, NO_LIPSYNC)
            if segment.state is SegmentState.ANIMATING and self._timeline.paced:
                due = self._give_up_late(segment, now)
            if segment.state is SegmentState.ANIMATED:
                due = self._encode(segment, now, segment.pts - clock)
            if due is not None:
                wake = due if wake is None else min(wake, due)
        return wake

    def _give_up_late(self, segment: Segment, now: int) -> int | None:
        """Show the template's own pixels when crops are not waited for any more; returns until when they are."""
        due = self._lateness.given_up_at(segment, self._due(segment))
        if due > now:
            return due
        self._task.cancel(segment.item)
        self._skip.observe(1, 0)
        self._show_template(segment, self._lateness.give_up(segment, now))
        return None

    def _encode(self, segment: Segment, now: int, left: int) -> int | None:
        """Send it to encode, or say when it is time to."""
        if left >= ENCODE_AHEAD_US:
            return now + left - ENCODE_AHEAD_US + 1
        segment.enter(SegmentState.ENCODING)
        self._lateness.asked(segment, "encode", now)
        job = EncodeJob(self._task, self._settings, segment, self)
        segment.item = self._task.submit("encode", segment.index, job, at=segment.first, near=segment.ahead)
        return None

    def pcm(self, segment: Segment) -> bytes:
        """Samples from 4 AAC frames before the segment to 2 after it."""
        lead_in = self._output.tail(PRE_ROLL) if self._map.begins(segment.first) else b""
        first = segment.first if lead_in else segment.first - PRE_ROLL
        return lead_in + self._track.window(first, segment.end + POST_ROLL)

    def encoded(self, segment: Segment, message: EncodedSegment, payload: memoryview) -> None:
        """The media segment, without its place."""
        segment.payload = payload
        segment.marks = (message.mfhd_at, message.video_tfdt_at, message.audio_tfdt_at)

    def ready(self, segment: Segment) -> None:
        """It can be published; its crops are not needed any more."""
        segment.enter(SegmentState.READY)
        segment.crops, segment.item, segment.ahead = [], None, None
        now = self._context.now()
        self._lateness.made("encode", segment.frames, now)
        if self._timeline.paced and segment.index >= len(RAMP):
            self._output.finished(self._task.deadline(segment.pts) - now)

    # --- publish ---

    def _publish(self, now: int) -> int | None:
        """Publish what is ready and due, in order."""
        while self._segments and self._segments[0].state is SegmentState.READY:
            segment = self._segments[0]
            if segment.pts > self._timeline.end:
                return None  # idle video has yet to fill the place before it
            wait = self._timeline.wait(segment.pts, now) or self._held(segment, now)
            if wait:
                return now + wait
            self._segments.popleft()
            self._publish_one(segment, now)
        return None

    def _publish_one(self, segment: Segment, now: int) -> None:
        track, end = self._track, segment.end
        segment.enter(SegmentState.PUBLISHED)
        if self._segments:
            self._lateness.leads(self._segments[0], now)
        segment.last = track.ended and not self._segments and end >= track.end
        self._announce(segment)
        self._task.mark("first_segment")
        self.published += segment.quanta
        seq = self._output.publish(self._task.number, segment, track.window(segment.first, end), now)
        segment.payload = None
        self._on_published(seq)
        track.trim(min(end - PAST, needed_from(end)) if self._settings.exact else end - PAST)
        if segment.last:
            self._task.mark("last_segment")
            pts = segment.pts + to_us(track.end - segment.first)
            self._output.event(SpeechEnded(), self._task.number, pts=pts)

    def _held(self, segment: Segment, now: int) -> int:
        """How much longer a sentence is held back so that it need not pause in its middle."""
        if not segment.opens or not self._timeline.paced or self._settings.loops:
            return 0
        ahead = segment.pts - self._timeline.clock(now)
        rest = 0 if opens(self._starts, self.planned) else self._uncut
        return self._lateness.hold(self._segments, rest, self._longest, ahead=ahead, now=now)

    def _announce(self, segment: Segment) -> None:
        """Events that belong before a segment."""
        sentences = self._sentences()
        while self._announced < len(sentences):
            sentence = sentences[self._announced]
            if sentence.start is None or sentence.start >= segment.end:
                break
            self._announced += 1
            dur = to_us(sentence.length) if sentence.done else None
            placed = SentencePlaced(sentence.index, sentence.text, self._map.pts(sentence.start), dur)
            self._output.event(placed, self._task.number)
        if segment.first == 0:
            self._output.event(SpeechStarted(), self._task.number, pts=segment.pts)
