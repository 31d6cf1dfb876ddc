"""One session: its turns, timeline, history, and what it publishes. State of the broker; driven by its loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from broker.ipc.messages import TemplateRef
from broker.media.segment_plan import QUANTUM_FRAMES, QUANTUM_SAMPLES
from broker.media.skip_policy import SkipPolicy
from broker.media.speech_track import SAMPLE_BYTES, faded
from broker.media.timeline import QUANTUM_US, Timeline
from broker.sessions.segment_jobs import Segment
from broker.sessions.turn import State, Turn
from broker.stream.events import Degraded, Event, Recovered
from broker.timers import Timer
from models.media.stamp import stamp

if TYPE_CHECKING:
    from broker.context import Context
    from broker.stream.publisher import Channel
    from broker.templates.idle_cache import IdleSegment
    from broker.workers.asr_stream import AsrStream

HOLD_US = 60_000
"""A place that speech is being made for is given to idle video this long before the clock reaches it."""
STALL_US = 480_000
"""In the middle of a sentence the picture rather stands for so long than that the face falls silent: idle video
and the making anew take longer.
"""
RECENT_SAMPLES = 4 * 48_000
"""Published audio that is kept for the run-in of the next encoder; more than any lead."""
HISTORY_CHARS = 64_000
"""Bound of the conversation beside the number of messages."""


class Session:
    """A client's conversation with one template.

    Args:
        channel: where its media and events go.
        template: what is shown; width and height are in ``channel.init`` already.
        loop_frames: length of the template's loop when idle video is wanted, else 0.
    """

    def __init__(
        self,
        hub: Context,
        sid: str,
        channel: Channel,
        template: TemplateRef,
        *,
        serial: int,
        mode: str,
        barge_in: bool,
        voice: str,
        language: str,
        system_prompt: str,
        quality: str,
        loop_frames: int = 0,
    ) -> None:
        self.hub = hub
        self.id = sid
        self.serial = serial
        """Number of the session in this broker's life."""
        self.channel = channel
        self.template = template
        self.mode = mode
        self.barge_in = barge_in
        self.voice = voice
        self.language = language
        self.quality = quality
        self.exact = quality == "max"
        """Features of whole passages, and nothing stands in for what lip-sync cannot make."""
        lead_ms = hub.config.timeline.idle_lead_ms if loop_frames else hub.config.timeline.lead_ms
        self.timeline = Timeline(paced=mode == "realtime", lead_us=lead_ms * 1000)
        self._loop_frames = loop_frames
        self.loops = loop_frames > 0
        """Whether idle video fills what its turns leave."""
        self.current: Turn | None = None
        self.waiting: deque[Turn] = deque()
        self.ears: AsrStream | None = None
        self.old_ears: list[AsrStream] = []
        """Streams at sample rates that the client has left, until they are heard to their end."""
        self.streams = 0
        self.feeding: Turn | None = None
        """The turn that ``process_segment`` calls go to, until its last one."""
        self.turns = 0
        self.frames = 0
        self.media_us = 0
        self.degraded_us = 0
        self.degraded: str | None = None
        self.strain = SkipPolicy()
        self.last_request = hub.now()
        self.on_idle: list[Callable[[], None]] = []
        """Called once when no turn is left."""
        self.closing = False
        self.expiry: Timer | None = None
        self._system_prompt = system_prompt
        self._history: deque[tuple[str, str]] = deque()
        self._recent: deque[bytes] = deque()
        """Published audio of the last ``RECENT_SAMPLES`` and more, piece by piece."""
        self._recent_bytes = 0
        self._timer: Timer | None = None

    # --- conversation ---

    def remember(self, role: str, text: str) -> None:
        """Add to the history, forgetting the oldest lines above its bounds."""
        self._history.append((role, text))
        while len(self._history) > self.hub.config.limits.history_messages or (
            len(self._history) > 1 and sum(len(t) for _, t in self._history) > HISTORY_CHARS
        ):
            self._history.popleft()

    def conversation(self) -> list[tuple[str, str]]:
        """What a language model is given."""
        system = [("system", self._system_prompt)] if self._system_prompt else []
        return [*system, *self._history]

    # --- turns ---

    def new_turn(self, source: str, t0: int, text: str = "") -> Turn:
        """Accept a turn; it begins when those before it are over."""
        self.turns += 1
        turn = Turn(self, self.turns, source, t0, text)
        self.waiting.append(turn)
        self.hub.touch(self)
        return turn

    @property
    def full(self) -> bool:
        """Whether no more turns may wait."""
        waiting = len(self.waiting) - (1 if self.current is None and self.waiting else 0)
        return waiting >= self.hub.config.limits.turns_waiting

    @property
    def all_ears(self) -> list[AsrStream]:
        """Every stream of this session's microphone."""
        return [*self.old_ears, *([self.ears] if self.ears else [])]

    @property
    def idle(self) -> bool:
        """Whether no turn runs or waits, and nothing that was said has yet to be heard."""
        return self.current is None and not self.waiting and not any(e.pending for e in self.all_ears)

    def turn_over(self, turn: Turn) -> None:
        """A turn has ended, however."""
        if self.current is turn:
            self.current = None
        elif turn in self.waiting:
            self.waiting.remove(turn)
        if self.feeding is turn:
            self.feeding = None
        if self.degraded and self.current is None:
            self.degraded = None
            self.event(Recovered(), turn.number)
        self.hub.touch(self)

    def interrupt(self, reason: str, turn: int | None = None, keep: Turn | None = None) -> tuple[int | None, int]:
        """Cut the current and all waiting turns (but ``keep``): contract 2's ``interrupt``.

        Returns the number of the turn that was cut (None: nothing to cut) and ``flush_from``.
        """
        now = self.hub.now()
        doomed = [t for t in (self.current, *self.waiting) if t is not None and t is not keep]
        if turn is not None and all(t.number != turn for t in doomed):
            doomed = []
        if not doomed:
            return None, self.timeline.end
        before = self.timeline.end
        flush_from = self.timeline.cut(now)
        self.channel.gen = self.timeline.gen
        self._cut_audio(before - flush_from)
        for victim in doomed:
            victim.interrupt(flush_from, reason)
        return doomed[0].number, flush_from

    def _cut_audio(self, dropped_us: int) -> None:
        samples = dropped_us * 48 // 1000
        kept = b"".join(self._recent)
        kept = faded(kept[: max(0, len(kept) - samples * SAMPLE_BYTES)])
        self._recent = deque([kept])
        self._recent_bytes = len(kept)

    def advance(self) -> None:
        """Let the turns go on; sets the timer for the next look."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self.hub.now()
        wake: int | None = None
        while True:
            if self.current is None:
                if not self.waiting or self.waiting[0].state is not State.WAITING:
                    break
                self.current = self.waiting.popleft()
                self.current.begin()
            turn = self.current
            wake = turn.advance(now)
            if self.current is turn:
                break
        if self._loop_frames:
            filled = self._fill(now)
            wake = filled if wake is None or (filled is not None and filled < wake) else wake
        if wake is not None:
            self._timer = self.hub.timers.at(wake, lambda: self.hub.touch(self))
        if self.idle and self.on_idle:
            callbacks, self.on_idle = self.on_idle, []
            for callback in callbacks:
                callback()

    def _fill(self, now: int) -> int | None:
        """Publish idle video where nothing else is shown; returns when to look again.

        With a segment in the making for the next place, that place is held until the last moment.
        """
        while True:
            pts = self.timeline.end
            turn = self.current
            held = turn is not None and turn.next_pts == pts
            if held and turn is not None and turn.midway:
                early = self.timeline.overdue(now) - STALL_US
            else:
                early = HOLD_US if held else self.timeline.lead_us
            wait = pts - early - self.timeline.clock(now)
            if self.timeline.started and wait > 0:
                return now + wait
            due = now + max(0, pts - self.timeline.clock(now))
            segment = self.hub.shelf.take(self, self._loop_frames, pts // QUANTUM_US, due)
            if segment is None:
                return None
            self._publish_idle(segment, now)
            if turn is None:
                continue
            if held:
                turn.move(self.timeline.end)
            if held or turn.next_pts == self.timeline.end:
                return now  # the turn cuts or publishes its next segment before more places are given away

    def _publish_idle(self, segment: IdleSegment, now: int) -> None:
        place = self.timeline.publish(QUANTUM_US, now, first=True)
        payload = stamp(segment.payload, *segment.marks, seq=place.seq, pts_us=place.pts)
        fields = {"turn": 0, "pts": place.pts, "dur": QUANTUM_US, "frames": QUANTUM_FRAMES, "last": False}
        self.hub.publisher.media(self.channel, place.seq, payload, **fields)
        self._keep(bytes(QUANTUM_SAMPLES * SAMPLE_BYTES))
        self.frames += QUANTUM_FRAMES
        self.media_us += QUANTUM_US

    def close(self) -> None:
        """No more looks, and nothing to say any more. Its turns and it hold each other: what is large goes now."""
        if self._timer is not None:
            self._timer.cancel()
        self._recent.clear()
        self._history.clear()

    # --- publishing ---

    def event(self, event: Event, turn: int = 0, *, pts: int | None = None) -> None:
        """Publish an event of this session; ``turn`` 0: it belongs to no turn."""
        self.hub.publisher.event(self.channel, event, turn, pts=pts)

    def tail(self, samples: int) -> bytes:
        """The last published samples, silence where there are fewer."""
        size = samples * SAMPLE_BYTES
        found = b"".join(self._recent)[-size:]
        return bytes(size - len(found)) + found

    def _keep(self, pcm: bytes) -> None:
        """Remember published audio; keeping it costs no copy."""
        self._recent.append(pcm)
        self._recent_bytes += len(pcm)
        while self._recent_bytes - len(self._recent[0]) > RECENT_SAMPLES * SAMPLE_BYTES:
            self._recent_bytes -= len(self._recent.popleft())

    def publish(self, turn: Turn, segment: Segment, pcm: bytes, now: int) -> int:
        """Give a ready segment its place and send it; returns its seq."""
        self._tell_degraded(turn, segment)
        place = self.timeline.publish(segment.dur, now, first=segment.index == 0)
        mfhd_at, video_at, audio_at = segment.marks
        payload = stamp(segment.payload, mfhd_at, video_at, audio_at, seq=place.seq, pts_us=place.pts)
        self.hub.publisher.media(
            self.channel,
            place.seq,
            payload,
            turn=turn.number,
            pts=place.pts,
            dur=segment.dur,
            frames=segment.frames,
            last=segment.last,
            degraded=segment.degraded,
        )
        self._keep(pcm)
        self.frames += segment.frames
        self.media_us += segment.dur
        if segment.degraded:
            self.degraded_us += segment.dur
        return place.seq

    def _tell_degraded(self, turn: Turn, segment: Segment) -> None:
        if segment.degraded == self.degraded:
            return
        self.degraded = segment.degraded
        degraded = segment.degraded
        event = Recovered() if degraded is None else Degraded(degraded, "lipsync", segment.reason)
        self.event(event, turn.number)

    def totals(self) -> dict[str, int]:
        """The result of ``end_session``."""
        return {
            "turns": self.turns,
            "segments": self.timeline.seq,
            "frames": self.frames,
            "media_us": self.media_us,
            "late": self.timeline.late,
            "degraded_us": self.degraded_us,
        }
