"""One turn: from accepted words or audio to published segments. Owned by its session, driven by ``advance``."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import Line
from broker.media.capacity import Load, Owed
from broker.media.pace import OFFLINE
from broker.media.passages import complete, needed_from
from broker.media.segment_plan import (
    QUANTUM_FRAMES,
    QUANTUM_SAMPLES,
    RAMP,
    joint_after,
    opens,
    quanta_ready,
    segment_quanta,
)
from broker.media.speech_track import SpeechTrack, to_samples, to_us
from broker.media.time_map import TimeMap
from broker.media.timeline import QUANTUM_US
from broker.sessions.marks import Marks
from broker.sessions.pacing import Pacing
from broker.sessions.reply import LlmJob, heard_text
from broker.sessions.segment_jobs import (
    FUTURE,
    PAST,
    POST_ROLL,
    PRE_ROLL,
    EncodeJob,
    LipsyncJob,
    Segment,
    Stage,
    frames_owed,
)
from broker.sessions.voices import AudioFormat, ClientAudio, SpokenText
from broker.stream.events import (
    Event,
    ReplyDelta,
    SentencePlaced,
    SpeechEnded,
    SpeechStarted,
    TurnEnded,
    TurnFailed,
    TurnInterrupted,
    TurnStarted,
)
from broker.workers.ledger import Job
from models.api import PASSAGE_US
from models.text.sentences import sentences

if TYPE_CHECKING:
    from broker.sessions.session import Session

SPEECH_AHEAD_US = 10_000_000
LIPSYNC_AHEAD_US = 3_000_000
ENCODE_AHEAD_US = 2_000_000
"""How far beyond the clock each stage may work for a session (design 4)."""
ENCODE_TIME_US = 180_000
"""Kept back for encoding: crops that come later than this before their time are not waited for."""
OFFLINE_US = 3_600_000_000
SEQS_KEPT = 4096
"""Far more segments than one call's audio makes; a turn of a client's own audio may go on for days."""
CARRIED_MAX_MS = 399
"""Below 320 ms + look-ahead by construction; the converter's own few ms of delay are not carried audio."""
KINDS = ("lipsync", "fallback", "encode")
NO_LIPSYNC = "no process of the chosen lip-sync engine is ready"
MOVES_MAX = 3
"""At most 2^3 quanta are left to idle video before a segment that was late."""
LEAST_CROPS_US = 400_000
"""Crops of audio that itself comes late (a live feed, a slow language model) may take this long before they count
as close to their deadline.
"""
STARVING_US = 600_000
"""With less media than this ahead of the clock, what audio there is is cut without waiting for more."""


class State(Enum):
    """A turn's life."""

    LISTENING = "listening"
    WAITING = "waiting"
    RUNNING = "running"
    OVER = "over"


class Turn:
    """One turn of a session.

    Args:
        source: "say", "chat", "audio" (spoken question) or "segment" (the client's own audio).
        t0: monotonic microseconds that ``timings_ms`` counts from.
    """

    def __init__(self, session: Session, number: int, source: str, t0: int, text: str = "") -> None:
        self.session = session
        self.hub = session.hub
        self.number = number
        self.name = f"{session.id}/{session.serial}.{number}"
        """Prefix of its items' ids; a session id may be used again, its serial is not."""
        self.source = source
        self.text = text
        self.state = State.LISTENING if source == "audio" else State.WAITING
        self.track = SpeechTrack()
        self.voice: SpokenText | ClientAudio = SpokenText(self, self.track)
        self.published = 0
        """Quanta published."""
        self.flush_to = 0
        """Quanta of a client's own audio that its calls have completed: cut without waiting for more."""
        self.seqs: deque[tuple[int, int]] = deque(maxlen=SEQS_KEPT)
        """(seq, end in quanta) of published segments, for ``process_segment`` replies."""
        self.calls = 0
        """``process_segment`` calls so far."""
        self.when_published: list[tuple[int, Callable[[], None]]] = []
        """Called once that many quanta are published, or the turn is over."""
        self.failure: ControlError | None = None
        """Why the turn failed, if it did."""
        self._marks = Marks(t0)
        self._segments: list[Segment] = []
        self._planned = 0
        self._count = 0
        self._announced = 0
        """Sentences whose event is out."""
        self._axis: TimeMap | None = None
        payer = session.id if session.timeline.paced else OFFLINE
        self._pacing = Pacing(self.hub.ledger, self.hub.paces, payer)
        self._moves = 0
        self._moved = -1
        """Sample that was last given another place: there is a pause before it already."""
        self._reply: list[str] = []

    def audio(self, audio_format: AudioFormat) -> ClientAudio:
        """Make this a turn of the client's own audio."""
        self.voice = voice = ClientAudio(self, self.track, audio_format)
        return voice

    def complete_calls(self) -> int:
        """Cut all whole quanta that the client's calls so far determine; returns the ms carried over."""
        voice = self.voice
        assert isinstance(voice, ClientAudio)
        done = self.flush_to * QUANTUM_SAMPLES
        ready = self._usable(voice.ready, ended=voice.closed)
        self.flush_to += quanta_ready(ready, done, FUTURE, ended=voice.closed)
        if voice.closed:
            return 0
        total = voice.frames * 48_000 // voice.format.sample_rate
        carried = (total - self.flush_to * QUANTUM_SAMPLES) // 48
        return carried if self.session.exact else min(CARRIED_MAX_MS, carried)

    def _usable(self, known: int, *, ended: bool) -> int:
        """How many of the samples that are known segments may be made from: whole passages with quality "max"."""
        return complete(known) if self.session.exact and not ended else known

    # --- called by jobs ---

    def submit(self, stage: str, index: int, job: Job, *, at: int, cost: int = 1) -> str:
        """Put an item into the ledger; ``at`` is the sample of the turn it is needed for."""
        item_id = f"{self.name}/{stage}/{index}"
        pts = self._pts(at)
        self.hub.ledger.submit(item_id, stage, job, priority=self.deadline(pts), cost=cost)
        return item_id

    def _pts(self, sample: int) -> int:
        """Where a sample of the turn is (or would be) shown."""
        return self._axis.pts(sample) if self._axis else self.session.timeline.end + to_us(sample)

    def deadline(self, pts: int) -> int:
        """Monotonic microseconds when the clock reaches ``pts``. Offline work has none: it comes after all that
        has, in its own order.
        """
        now = self.hub.now()
        if not self.session.timeline.paced:
            return now + OFFLINE_US + pts
        return now + max(0, pts - self.session.timeline.clock(now))

    def count_from(self, t0: int) -> None:
        """Let ``timings_ms`` count from here: where the question has ended, which is known only afterwards."""
        self._marks.t0 = t0

    def mark(self, name: str) -> None:
        """Note the first time something happened."""
        self._marks.first(name, self.hub.now())

    def mark_at(self, name: str, at: int) -> None:
        """Note when something happened."""
        self._marks.first(name, at)

    def said(self, text: str) -> None:
        """More of the reply's text."""
        self._reply.append(text)
        self.session.event(ReplyDelta(text), self.number)

    def speak(self, sentence: str) -> None:
        """One more sentence to be spoken."""
        assert isinstance(self.voice, SpokenText)
        self.voice.add(sentence)

    def close_text(self) -> None:
        """No more sentences."""
        self.voice.close()

    def without_lipsync(self, segment: Segment, code: ErrorCode, message: str) -> None:
        """The crops cannot be had: the fallback engine makes them, or the template's own pixels are shown.
        Quality "max" takes neither: the turn fails.
        """
        if segment.stage is not Stage.LIPSYNC:
            return
        if self.session.exact:
            self.fail(code, f"lip-sync failed: {message}; quality 'max' shows no stand-in, quality 'high' does")
            return
        reason = f"{code}: {message}"
        if segment.via == "lipsync" and self.hub.ledger.serving("fallback"):
            self._fall_back(segment, reason)
            return
        self._show_template(segment, reason)

    def _show_template(self, segment: Segment, reason: str) -> None:
        self._pacing.unmade(segment, self.hub.now())
        segment.stage = Stage.CROPS
        segment.crops = []
        segment.degraded = "audio_only"
        segment.reason = reason

    def _fall_back(self, segment: Segment, reason: str) -> None:
        self._pacing.unmade(segment, self.hub.now())
        segment.via = segment.degraded = "fallback"
        segment.reason = reason
        self._animate(segment)

    def fail(self, code: ErrorCode, message: str) -> None:
        """End as ``turn.failed``; what is published stays."""
        self.failure = ControlError(code, message)
        self._finish(TurnFailed(code, message), self._heard())

    # --- called by the session ---

    def begin(self) -> None:
        """The turn is the current one from now on."""
        self.state = State.RUNNING
        self.session.event(TurnStarted(self.source), self.number)
        if self.source == "say":
            self.said(self.text)
            for sentence in sentences(self.text):
                self.speak(sentence)
            self.close_text()
        elif self.source in ("chat", "audio"):
            self.session.remember("user", self.text)
            history = [Line(*line) for line in self.session.conversation()]
            self.submit("llm", 0, LlmJob(self, history), at=0)

    def advance(self, now: int) -> int | None:
        """Do all that can be done now; returns when to look again (monotonic us), None to wait for events."""
        clock = self.session.timeline.clock(now)
        ahead = SPEECH_AHEAD_US + (PASSAGE_US if self.session.exact else 0)
        self.voice.pump(self._planned + to_samples(max(0, clock + ahead - self._pts(self._planned))))
        wakes = [self._plan(now, clock), self._render(now, clock), self._publish(now)]
        if self.state is State.RUNNING and self._complete():
            self._finish(TurnEnded(self._marks.timings()), "".join(self._reply))
            return None
        return min((w for w in wakes if w is not None), default=None)

    def _complete(self) -> bool:
        return self.track.ended and not self._segments and self._planned >= self.track.end

    def load(self, now: int) -> Load:
        """What the turn still asks of lip-sync and encode."""
        owed = [
            Owed(self.deadline(s.pts) - now, *frames_owed(s)) for s in self._segments if s.stage is not Stage.READY
        ]
        known = max(0, self.track.end - self._planned)
        return Load(owed, known * QUANTUM_FRAMES // QUANTUM_SAMPLES)

    def interrupt(self, flush_from: int, reason: str, message: str | UnsetType = UNSET) -> None:
        """End as ``turn.interrupted``: nothing of this turn is published any more."""
        heard = self._heard(flush_from) if self.state is State.RUNNING else ""
        self._finish(TurnInterrupted(flush_from, reason, message), heard)

    def _heard(self, until_pts: int | None = None) -> str:
        if self._axis is None or isinstance(self.voice, ClientAudio):
            return ""
        pts = self.session.timeline.end if until_pts is None else until_pts
        until = to_us(self._axis.shown_by(pts))
        words, _ = self.track.spans(0, max(0, until))
        return heard_text(self.voice.sentences, words, until)

    def _finish(self, event: Event, heard: str) -> None:
        if self.state is State.OVER:
            return
        began, self.state = self.state is State.RUNNING, State.OVER
        self.hub.cancel(self.hub.ledger.named(f"{self.name}/"))
        self._forget_segments()
        if began and heard:
            self.session.remember("assistant", heard)
        self.session.event(event, self.number)
        self._tell_published()
        self.session.turn_over(self)
        # The turn, its voice and its jobs hold each other until the garbage collector comes by: seldom.
        self.track.release()
        self.voice.release()

    def _tell_published(self) -> None:
        due = [w for w in self.when_published if self.state is State.OVER or self.published >= w[0]]
        self.when_published = [w for w in self.when_published if w not in due]
        for _, answer in due:
            answer()

    # --- segments ---

    def _plan(self, now: int, clock: int) -> int | None:
        """Cut speech into segments up to the lip-sync work-ahead."""
        timeline = self.session.timeline
        while True:
            known = self._usable(self.track.end, ended=self.track.ended)
            ready = quanta_ready(known, self._planned, FUTURE, ended=self.track.ended)
            if not ready:
                return None
            if self._axis is None:
                self._axis = TimeMap(timeline.end)
            elif self._axis.pts(self._planned) < timeline.end:
                self._axis.move(self._planned, timeline.end)  # idle video has filled a wait
            pts = self._placed(clock)
            if pts >= clock + LIPSYNC_AHEAD_US:
                return now + pts - clock - LIPSYNC_AHEAD_US + 1
            left = pts - clock
            flush = (
                self.track.ended
                or self._planned // QUANTUM_SAMPLES + ready <= self.flush_to
                or (timeline.paced and self._count > 0 and left < STARVING_US)
            )
            quanta = segment_quanta(self._count, ready, self._longest, flush=flush)
            joint = joint_after(self._starts, self._planned) if self._pacing.slow else None
            if joint is not None:
                quanta = min(quanta, joint - self._planned // QUANTUM_SAMPLES)
            if not quanta:
                return now + left - STARVING_US + 1 if timeline.paced and self._count else None
            self._cut(quanta, pts)

    def _placed(self, clock: int) -> int:
        """Where what is cut next is shown. Between idle video a sentence for which lip-sync is too slow begins
        later: its pose follows its place, so that it cannot just be held back.
        """
        assert self._axis is not None
        pts = self._axis.pts(self._planned)
        if self.session.loops and opens(self._starts, self._planned):
            later = self._pacing.delay(self._planned, self._uncut, self._longest, ahead=pts - clock)
            if later:
                pts += later * QUANTUM_US
                self._axis.move(self._planned, pts)
        return pts

    @property
    def _starts(self) -> list[int]:
        """Samples of the turn where its sentences begin, as far as they are known."""
        return [s.start for s in self.voice.sentences if s.start is not None]

    @property
    def _uncut(self) -> int:
        """Quanta of the sentence at hand that are known and not cut yet."""
        end = joint_after(self._starts, self._planned) or quanta_ready(self.track.end, 0, 0, ended=True)
        return end - self._planned // QUANTUM_SAMPLES

    @property
    def _longest(self) -> int:
        return self._pacing.longest(self.hub.config.timeline.max_segment_ms * 1000 // QUANTUM_US)

    def _held(self, segment: Segment, now: int) -> int:
        """How much longer a sentence is held back so that it need not pause in its middle."""
        timeline = self.session.timeline
        if not segment.opens or not timeline.paced or self.session.loops:
            return 0
        ahead = segment.pts - timeline.clock(now)
        rest = 0 if opens(self._starts, self._planned) else self._uncut
        return self._pacing.hold(self._segments, rest, self._longest, ahead=ahead, now=now)

    def _cut(self, quanta: int, pts: int) -> None:
        segment = Segment(
            self._count, self._planned, quanta, pts, opens=opens([*self._starts, self._moved], self._planned)
        )
        if not self._segments:
            self._pacing.leads(segment, self.hub.now())
        self._segments.append(segment)
        self._planned += segment.samples
        self._count += 1
        if self._orphaned:
            segment.via = segment.degraded = "fallback"
            segment.reason = NO_LIPSYNC
        elif self.hub.lipsync_skips and self.session.timeline.paced:
            wanted, strained = self.hub.config.timeline.skip_frames, self.session.strain.skip
            segment.skip = max(wanted, strained)
            if strained > wanted:
                segment.degraded = "skip"
                segment.reason = f"lip-sync comes close to its deadlines; it draws one frame in {strained}"
        self._animate(segment)

    def _animate(self, segment: Segment) -> None:
        segment.stage = Stage.LIPSYNC
        segment.crops, segment.crop_frames = [], 0
        segment.asked_at = self.hub.now()
        self._pacing.asked(segment, segment.via, segment.asked_at)
        segment.item = self.submit(
            segment.via, segment.index, LipsyncJob(self, segment), at=segment.first, cost=segment.frames
        )

    def animated(self, segment: Segment) -> None:
        """The crops are there: how close was it? The first segments of a turn are always wanted at once."""
        if self.session.timeline.paced and segment.index >= len(RAMP):
            now = self.hub.now()
            used = now - segment.asked_at
            time = used + self._due(segment) - now
            self.session.strain.observe(used, max(time, LEAST_CROPS_US), segment.skip)

    def _due(self, segment: Segment) -> int:
        """When its crops have to be there, by the clock as it runs now: it stands until a turn's first segment
        is out, and is anchored anew after each late one.
        """
        return self.deadline(segment.pts) - ENCODE_TIME_US

    def made(self, stage: str, frames: int) -> None:
        """A stage has made so many frames of this turn."""
        self._pacing.made(stage, frames, self.hub.now())

    def _forget_segments(self) -> None:
        now = self.hub.now()
        for segment in self._segments:
            self._pacing.unmade(segment, now)
        self._segments.clear()

    @property
    def _orphaned(self) -> bool:
        """Whether the fallback engine takes over. Quality "max" waits for the chosen engine to come back."""
        ledger = self.hub.ledger
        return not self.session.exact and not ledger.serving("lipsync") and ledger.serving("fallback")

    def _abandon(self, segment: Segment) -> None:
        """Void the item that makes this segment's crops."""
        self.hub.cancel([f"{self.name}/{segment.via}/{segment.index}"])

    def _render(self, now: int, clock: int) -> int | None:
        """Give up on late crops, send complete ones to encode."""
        wake: int | None = None
        orphaned = self._orphaned
        for segment in self._segments:
            left = segment.pts - clock
            if segment.stage is Stage.LIPSYNC and segment.via == "lipsync" and orphaned:
                self._abandon(segment)
                self._fall_back(segment, NO_LIPSYNC)
            if segment.stage is Stage.LIPSYNC and self.session.timeline.paced:
                due = self._pacing.given_up_at(segment, self._due(segment))
                if due <= now:
                    self._abandon(segment)
                    self.session.strain.observe(1, 0)
                    self._show_template(segment, self._pacing.give_up(segment, now))
                else:
                    wake = due if wake is None else min(wake, due)
            if segment.stage is Stage.CROPS:
                if left < ENCODE_AHEAD_US:
                    segment.stage = Stage.ENCODE
                    self._pacing.asked(segment, "encode", now)
                    self.submit("encode", segment.index, EncodeJob(self, segment), at=segment.first)
                else:
                    due = now + left - ENCODE_AHEAD_US + 1
                    wake = due if wake is None else min(wake, due)
        return wake

    @property
    def midway(self) -> bool:
        """Whether a sentence has begun, goes on with the next segment, and lip-sync is there to make it."""
        going = self.published > 0 and bool(self._segments) and not self._segments[0].opens
        return going and self.hub.ledger.serving(self._segments[0].via)

    @property
    def next_pts(self) -> int | None:
        """Where the next segment in the making belongs; None when there is none."""
        return self._segments[0].pts if self._segments else None

    def move(self, pts: int) -> None:
        """Idle video has taken the place of the next segment: make the waiting ones anew for ``pts`` on.

        Their pose changes with their place. Each move of a turn leaves twice the time of the one before, or what
        the stages are measured to need, so that they catch up instead of starting over for ever.
        """
        assert self._axis is not None
        self.hub.cancel([f"{self.name}/{kind}/{s.index}" for s in self._segments for kind in KINDS])
        self._planned = self._segments[0].first
        self._forget_segments()
        self._moved = self._planned
        ahead = pts - self.session.timeline.clock(self.hub.now())
        room = self._pacing.room(self._planned, self._uncut, self._longest, ahead=ahead)
        self._axis.move(self._planned, pts + max((1 << min(self._moves, MOVES_MAX)) - 1, room) * QUANTUM_US)
        self._moves += 1

    def encoder_pcm(self, segment: Segment) -> bytes:
        """Samples from 4 AAC frames before the segment to 2 after it."""
        joined = self._axis is not None and self._axis.begins(segment.first)
        lead_in = self.session.tail(PRE_ROLL) if joined else b""
        first = segment.first if lead_in else segment.first - PRE_ROLL
        return lead_in + self.track.window(first, segment.first + segment.samples + POST_ROLL)

    def _publish(self, now: int) -> int | None:
        """Publish what is ready and due, in order."""
        while self._segments and self._segments[0].stage is Stage.READY:
            segment = self._segments[0]
            if segment.pts > self.session.timeline.end:
                return None  # idle video has yet to fill the place before it
            wait = self.session.timeline.wait(segment.pts, now) or self._held(segment, now)
            if wait:
                return now + wait
            self._segments.pop(0)
            if self._segments:
                self._pacing.leads(self._segments[0], now)
            end = segment.first + segment.samples
            segment.last = self.track.ended and not self._segments and end >= self.track.end
            self._announce(segment)
            self.mark("first_segment")
            self.published += segment.quanta
            seq = self.session.publish(self, segment, self.track.window(segment.first, end), now)
            self.seqs.append((seq, self.published))
            self._tell_published()
            self.track.trim(min(end - PAST, needed_from(end)) if self.session.exact else end - PAST)
            if segment.last:
                self.mark("last_segment")
                pts = segment.pts + to_us(self.track.end - segment.first)
                self.session.event(SpeechEnded(), self.number, pts=pts)
        return None

    def _announce(self, segment: Segment) -> None:
        """Events that belong before a segment."""
        sentences = self.voice.sentences
        while self._announced < len(sentences):
            sentence = sentences[self._announced]
            if sentence.start is None or sentence.start >= segment.first + segment.samples:
                break
            self._announced += 1
            dur = to_us(sentence.length) if sentence.done else None
            placed = SentencePlaced(sentence.index, sentence.text, self._pts(sentence.start), dur)
            self.session.event(placed, self.number)
        if segment.first == 0:
            self.session.event(SpeechStarted(), self.number, pts=segment.pts)
