"""What a session publishes: the one writer of its seq, n, gen, clock, run-in audio and degradation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from broker.journal.state import TERMINAL, State
from broker.media.lead import Lead
from broker.media.sounds import Sounds
from broker.media.speech_track import faded
from broker.media.timeline import MediaTime, Timeline
from broker.sessions.segment import Segment
from broker.sessions.stand_ins import StandIns
from broker.stream.events import Degraded, Event, Recovered, SessionEnded
from broker.stream.publisher import Channel, Publisher
from broker.templates.idle_cache import IdleSegment
from configs.grid import QUANTUM_FRAMES, QUANTUM_SAMPLES, QUANTUM_US, SAMPLE_BYTES, SAMPLE_RATE
from models.media.stamp import stamp
from models.meter import Meter

RECENT_SAMPLES = 4 * SAMPLE_RATE
"""Published audio that is kept for the run-in of the next encoder; more than any lead."""


class Output:
    """Places segments and events of one session on its stream.

    Args:
        channel: where they go.
        paced: whether there is a clock.
        lead: how far ahead of the clock a segment may be published.
        cut_margin_us: how far ahead of the clock a cut lies at least.
        heard: tells whether a voice may interrupt at any time.
        state: where another broker has left it.
        meter: counts segments of turns, late ones, and ms that something stood in for lip-sync.
    """

    def __init__(
        self,
        publisher: Publisher,
        channel: Channel,
        *,
        paced: bool,
        lead: Lead,
        cut_margin_us: int,
        heard: Callable[[], bool] = lambda: False,
        state: State | None = None,
        meter: Meter | None = None,
    ) -> None:
        state = state or State()
        self._publisher = publisher
        self._meter = meter or Meter()
        self._channel = channel
        place = (state.seq, state.gen, state.end, state.late, state.anchor)
        self._timeline = Timeline(*place, paced=paced, lead_us=lead.us, cut_margin_us=cut_margin_us)
        self._lead = lead
        self._heard = heard
        self._events = state.n
        self._frames = state.frames
        self._media_us = state.media_us
        self._degraded_us = state.degraded_us
        self._degraded = state.degraded
        self._turns = state.turns
        self._open = dict.fromkeys(state.open)
        """Turns that have had no terminal event, in order."""
        self._closing = state.closing
        self._ended_at = state.ended_at
        self._stand_ins = StandIns()
        self.sounds = Sounds()
        """What is heard of it, and when; nothing of an offline session, which has no clock."""
        self._recent: deque[bytes] = deque()
        """Published audio of the last ``RECENT_SAMPLES`` and more, piece by piece."""
        self._recent_bytes = 0

    @property
    def timeline(self) -> MediaTime:
        """The session's media time, to be read."""
        return self._timeline

    def longest(self, most: int) -> int:
        """Quanta of the longest segment to be cut now, of ``most`` that are configured."""
        return self._lead.longest(most, heard=self._timeline.paced and self._heard())

    def finished(self, early: int) -> None:
        """A segment in the middle of a turn was finished ``early`` us before its time; see ``Lead.finished``."""
        self._lead.finished(early)
        self._timeline.lead_us = self._lead.us

    @property
    def degraded(self) -> bool:
        """Whether something stands in for what lip-sync should make."""
        return self._degraded is not None

    def event(self, event: Event, turn: int = 0, *, pts: int | None = None) -> None:
        """Publish an event; ``turn`` 0: it belongs to no turn."""
        n, self._events = self._events, self._events + 1
        if event.name in TERMINAL:
            self._open.pop(turn, None)
        self._publisher.event(self._channel, n, event, self._state(), turn, pts=pts)

    def publish(self, turn: int, segment: Segment, pcm: bytes, now: int) -> int:
        """Give a turn's segment its place and send it; returns its seq.

        Args:
            pcm: its audio, s16 mono 48 kHz.
        """
        self._tell_degraded(turn, segment)
        place = self._timeline.publish(segment.dur, now, first=segment.index == 0)
        self._count(segment.frames, segment.dur, segment.degraded)
        self._meter.count("segments")
        if place.late:
            self._meter.count("segments.late")
        if segment.degraded:
            self._meter.count(f"degraded_ms.{segment.degraded}", segment.dur // 1000)
        self._publisher.media(
            self._channel,
            place.seq,
            stamp(segment.payload, *segment.marks, seq=place.seq, pts_us=place.pts),
            self._state(),
            turn=turn,
            pts=place.pts,
            dur=segment.dur,
            frames=segment.frames,
            last=segment.last,
            degraded=segment.degraded,
        )
        self._keep(pcm)
        if self._timeline.paced:
            self.sounds.add(now + place.pts - self._timeline.clock(now), pcm)
        return place.seq

    def _count(self, frames: int, dur: int, degraded: str | None) -> None:
        self._frames += frames
        self._media_us += dur
        if degraded:
            self._degraded_us += dur

    def publish_idle(self, segment: IdleSegment, now: int) -> None:
        """Show one quantum of idle video next."""
        place = self._timeline.publish(QUANTUM_US, now, first=True)
        payload = stamp(segment.payload, *segment.marks, seq=place.seq, pts_us=place.pts)
        fields = {"turn": 0, "pts": place.pts, "dur": QUANTUM_US, "frames": QUANTUM_FRAMES, "last": False}
        self._count(QUANTUM_FRAMES, QUANTUM_US, None)
        self._publisher.media(self._channel, place.seq, payload, self._state(), **fields)
        self._keep(bytes(QUANTUM_SAMPLES * SAMPLE_BYTES))

    def cut(self, now: int) -> int:
        """Begin a new generation; returns its ``flush_from``: what is published from there on is void."""
        before = self._timeline.end
        flush_from = self._timeline.cut(now)
        self._channel.gen = self._timeline.gen
        self.sounds.cut(now + flush_from - self._timeline.clock(now))
        self._save()
        dropped = (before - flush_from) * 48 // 1000
        kept = b"".join(self._recent)
        kept = faded(kept[: max(0, len(kept) - dropped * SAMPLE_BYTES)])
        self._recent = deque([kept])
        self._recent_bytes = len(kept)
        return flush_from

    def played(self, pts: int, now: int) -> None:
        """The viewer's play head has reached ``pts``."""
        self._timeline.played(pts, now)

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

    def _tell_degraded(self, turn: int, segment: Segment) -> None:
        if segment.degraded == self._degraded:
            return
        if segment.degraded is None:
            self.recover(turn)
        else:
            self._degraded = segment.degraded
            self.event(Degraded(segment.degraded, "lipsync", segment.reason), turn)

    def served(self, turn: int, stage: str, engine: str, reason: str) -> None:
        """An item of the turn is done by this engine of a chain; see ``StandIns.served``."""
        event = self._stand_ins.served(stage, engine, reason)
        if event is not None:
            self.event(event, turn)

    def recover(self, turn: int) -> None:
        """Nothing stands in for anything any more; told once."""
        if self._degraded is not None:
            self._degraded = None
            self.event(Recovered(), turn)

    # --- what a successor goes on from ---

    def _state(self) -> State:
        """What holds once the next message is out."""
        timeline = self._timeline
        return State(
            timeline.seq,
            timeline.gen,
            timeline.end,
            timeline.late,
            timeline.anchor,
            self._events,
            self._frames,
            self._media_us,
            self._degraded_us,
            self._degraded,
            self._turns,
            (*self._open,),
            self._closing,
            self._ended_at,
        )

    def _save(self) -> None:
        self._channel.store.save(self._state())

    @property
    def turns(self) -> int:
        """Turns accepted so far."""
        return self._turns

    def accept(self) -> int:
        """One more turn is accepted, and owed a terminal event; returns its number."""
        self._turns += 1
        self._open[self._turns] = None
        self._save()
        return self._turns

    @property
    def leaving(self) -> str:
        """Why the session ends after its turns; "": it does not."""
        return self._closing

    def closing(self, reason: str) -> None:
        """The session ends after its turns."""
        self._closing = reason
        self._save()

    def end(self, reason: str, now: int) -> None:
        """Publish the last event. What was published can still be read, through the channel."""
        self._ended_at = now
        self.event(SessionEnded(reason))
        self._channel.ended = True
        self._recent.clear()
        self.sounds.clear()

    def totals(self) -> dict[str, int]:
        """What was published, as ``end_session`` says it."""
        return {
            "segments": self._timeline.seq,
            "frames": self._frames,
            "media_us": self._media_us,
            "late": self._timeline.late,
            "degraded_us": self._degraded_us,
        }
