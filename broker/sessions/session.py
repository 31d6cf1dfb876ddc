"""One session: its settings, output, history, microphone and queue of turns. Driven by the broker's loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.context import Context
from broker.errors import ErrorCode
from broker.ipc.messages import Line
from broker.journal.state import State
from broker.media.lead import Lead
from broker.media.patience import YIELD_US, Patience
from broker.media.skip_policy import SkipPolicy
from broker.sessions.client_audio import AudioFormat
from broker.sessions.history import History
from broker.sessions.open_text import OpenText
from broker.sessions.output import Output
from broker.sessions.settings import SessionSettings
from broker.sessions.turn import Identity, Turn, TurnState
from broker.sessions.utterances import Utterances
from broker.stream.events import TurnFailed
from broker.stream.publisher import Channel
from broker.templates.idle_cache import IdleCache, IdleLoop
from broker.timers import Timer
from broker.workers.asr_streams import AsrStreams
from configs.grid import QUANTUM_US

HOLD_US = 60_000
"""A place that speech is being made for is given to idle video this long before the clock reaches it."""
STALL_US = 480_000
"""In the middle of a sentence the picture rather stands for so long than that the face falls silent: idle video
and the making anew take longer.
"""
NEXT_CALL_S = 2.0
"""A turn of ``process_segment`` calls ends when none has come for this long after the last reply."""
LOST = "the broker was restarted while this turn was under way; the session goes on: ask again"


@dataclass(frozen=True, slots=True)
class Call:
    """One accepted ``process_segment`` call: its segments end in the quanta (begin, end] of its turn."""

    turn: Turn
    number: int
    begin: int
    end: int
    last: bool
    carried_ms: int
    """Of its audio, what the next call's segments are made of."""


class Session:
    """A client's conversation with one template.

    Args:
        channel: where its media and events go.
        streams: finds an asr process for its microphone.
        idle_cache: has its idle video.
        serial: number of the session in this broker's life; an id may be used again.
        state: where another broker has left it.
    """

    def __init__(
        self,
        context: Context,
        sid: str,
        channel: Channel,
        settings: SessionSettings,
        streams: AsrStreams,
        idle_cache: IdleCache,
        *,
        serial: int,
        state: State | None = None,
    ) -> None:
        timeline, name = context.config.timeline, f"{sid}/{serial}"
        most = timeline.idle_lead_ms if settings.loops else timeline.lead_ms
        least = timeline.idle_lead_ms if settings.loops else timeline.least_lead_ms
        self.id = sid
        self.settings = settings
        """In force for turns that are accepted from now on; ``update`` is its one writer."""
        self.channel = channel
        self.output = Output(
            context.publisher,
            channel,
            paced=settings.paced,
            lead=Lead(least * 1000, most * 1000),
            cut_margin_us=settings.cut_margin_ms * 1000,
            heard=lambda: self.microphone.interrupts,
            state=state,
            meter=context.meter,
        )
        self.history = History(context.config.limits.history_messages, self._keep_lines)
        self.skip = SkipPolicy()
        self.patience = Patience()
        self.microphone = Utterances(context, lambda: self.settings, self.output, self, streams, name)
        self.current: Turn | None = None
        self.waiting: deque[Turn] = deque()
        self._context = context
        self._name = name
        self._idle_cache = idle_cache
        self._loop = IdleLoop(settings.template, settings.quality, channel.init, settings.loop_frames)
        self._lost = list(state.open) if state is not None else []
        """Turns of another broker that have had no terminal event."""
        self._feeding: Turn | None = None
        self._calls = 0
        self._on_idle: Callable[[], None] | None = None
        self._closing = False
        self._timer: Timer | None = None

    def touch(self) -> None:
        """Look at the session again before the loop sleeps."""
        self._context.touch(self.id)

    def update(self, settings: SessionSettings) -> None:
        """Go on with these: another voice, language, prompt, or rule for interruptions and idle time."""
        self.settings = settings
        self.channel.store.settings(settings.pack())

    # --- turns ---

    def new_turn(
        self,
        source: str,
        t0: int,
        text: str = "",
        audio_format: AudioFormat | None = None,
        *,
        pieces: bool = False,
        interruptible: bool = True,
    ) -> Turn:
        """Accept a turn; it begins when those before it are over. ``source`` and the rest as for ``Turn``."""
        self.fail_lost()
        number = self.output.accept()
        turn = Turn(
            Identity(self.id, number, f"{self._name}.{number}", source),
            self._context,
            self.settings,
            self.output,
            self.history,
            self.skip,
            self.patience,
            self._turn_over,
            t0=t0,
            text=text,
            audio_format=audio_format,
            pieces=pieces,
            interruptible=interruptible,
        )
        self.waiting.append(turn)
        self.touch()
        return turn

    def came(self) -> None:
        """A client asks for a turn. What one that does not wait has been given comes behind the work of others."""
        now = self._context.now()
        if self.patience.came(now):
            self._context.meter.count("clients.pressing")
            self._context.ledger.postpone(f"{self.id}/", YIELD_US)
        if self.patience.pressing(now):
            for throughput in self._context.throughputs.values():
                throughput.yields(now, self.id, self.patience.pressing_until)

    @property
    def speech_waiting(self) -> int:
        """Microseconds of speech that are accepted and not published."""
        return sum(turn.waiting_us for turn in self._alive)

    @property
    def full(self) -> bool:
        """Whether no more turns may wait."""
        waiting = len(self.waiting) - (1 if self.current is None and self.waiting else 0)
        return waiting >= self._context.config.limits.turns_waiting

    @property
    def idle(self) -> bool:
        """Whether no turn runs or waits, and nothing that was said has yet to be heard."""
        return self.current is None and not self.waiting and not self.microphone.pending

    def _turn_over(self, turn: Turn) -> None:
        if self.current is turn:
            self.current = None
        elif turn in self.waiting:
            self.waiting.remove(turn)
        if self._feeding is turn:
            self._feeding = None
        if self.current is None:
            self.output.recover(turn.number)
        self.touch()

    def interrupt(self, reason: str, turn: int | None = None, keep: Turn | None = None) -> tuple[int | None, int]:
        """Cut the current and all waiting turns (with ``keep``: those before it), as the operation ``interrupt``.
        A voice ("barge_in") leaves those that are not interruptible, and the media while one of them is shown.

        Returns the number of the turn that was cut (None: nothing to cut) and ``flush_from``.
        """
        doomed = [t for t in self._alive if keep is None or t.number < keep.number]
        if turn is not None and all(t.number != turn for t in doomed):
            doomed = []
        if reason == "barge_in":
            doomed = [t for t in doomed if t.interruptible]
        if not doomed:
            return None, self.output.timeline.end
        now = self._context.now()
        goes_on = self.current is not None and self.current not in doomed
        flush_from = self.output.timeline.end if goes_on else self.output.cut(now)
        heard_by = self.output.timeline.heard_by(flush_from, now)
        for victim in doomed:
            victim.interrupt(flush_from, reason, heard_by=heard_by)
        return doomed[0].number, flush_from

    def open_text(self, number: int) -> OpenText | None:
        """The text of a turn that takes more of it."""
        found = next((t.text for t in self._alive if t.number == number), None)
        return found if found is not None and found.open else None

    def ahead(self, turn: Turn) -> bool:
        """Whether an earlier turn is being answered or waits to be."""
        return any(other.number < turn.number for other in self._alive)

    @property
    def _alive(self) -> list[Turn]:
        return [t for t in (self.current, *self.waiting) if t is not None]

    # --- what another broker has left ---

    def fail_lost(self) -> None:
        """Tell of the turns that were under way when another broker ended, in order."""
        lost, self._lost = self._lost, []
        for turn in lost:
            self.output.event(TurnFailed(ErrorCode.FAILED, LOST), turn)
        if lost:
            self.output.recover(lost[-1])

    def _keep_lines(self, lines: list[Line]) -> None:
        self.channel.store.lines([(line.role, line.content) for line in lines])

    # --- a client's own audio ---

    @property
    def feeding(self) -> Turn | None:
        """The turn that ``process_segment`` calls go to, until its last one."""
        return self._feeding

    @property
    def audio_waiting(self) -> int:
        """Bytes of the client's own audio that have yet to be converted."""
        return sum(t.audio_waiting for t in (self.current, *self.waiting) if t is not None)

    def feed(self, audio_format: AudioFormat, samples: memoryview, *, last: bool) -> Call:
        """Take the audio of a call; the first one, and the first after a last one, begins a turn."""
        turn = self._feeding
        if turn is None:
            turn = self.new_turn("segment", self._context.now(), audio_format=audio_format)
        self._feeding = None if last else turn
        begin = turn.flush_to
        carried_ms = turn.feed(samples, last=last)
        self._calls += 1
        self.touch()
        return Call(turn, self._calls, begin, turn.flush_to, last, carried_ms)

    def await_next(self, call: Call) -> None:
        """The client has its answer: the turn ends unless it calls again in a while."""
        if call.last:
            return

        def close() -> None:
            if self._feeding is call.turn and self._calls == call.number:
                self._feeding = None
                call.turn.close_audio()
                self.touch()

        self._context.timers.at(self._context.now() + int(NEXT_CALL_S * 1_000_000), close)

    # --- the loop ---

    def advance(self) -> None:
        """Let the turns go on; sets the timer for the next look."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._context.now()
        wake: int | None = None
        while True:
            if self.current is None:
                if not self.waiting or self.waiting[0].state is not TurnState.WAITING:
                    break
                self.current = self.waiting.popleft()
                self.current.begin()
            turn = self.current
            wake = turn.advance(now)
            if self.current is turn:
                break
        if self.settings.loops:
            filled = self._fill(now)
            wake = filled if wake is None or (filled is not None and filled < wake) else wake
        if wake is not None:
            self._timer = self._context.timers.at(wake, self.touch)
        if self.idle and self._on_idle is not None:
            then, self._on_idle = self._on_idle, None
            then()

    def _fill(self, now: int) -> int | None:
        """Publish idle video where nothing else is shown; returns when to look again.

        With a segment in the making for the next place, that place is held until the last moment.
        """
        timeline = self.output.timeline
        while True:
            pts = timeline.end
            turn = self.current
            held = turn is not None and turn.next_pts == pts
            if held and turn is not None and turn.last_place:
                return None
            if held and turn is not None and turn.midway:
                early = timeline.overdue(now) - STALL_US
            else:
                early = HOLD_US if held else timeline.lead_us
            wait = pts - early - timeline.clock(now)
            if timeline.started and wait > 0:
                return now + wait
            due = now + max(0, pts - timeline.clock(now))
            segment = self._idle_cache.take(self._loop, self.id, pts // QUANTUM_US, due)
            if segment is None:
                return None
            self.output.publish_idle(segment, now)
            if turn is None:
                continue
            if held:
                turn.move(timeline.end)
            if held or turn.next_pts == timeline.end:
                return now  # the turn cuts or publishes its next segment before more places are given away

    # --- the end ---

    @property
    def closing(self) -> bool:
        """Whether it takes no more input."""
        return self._closing

    def begin_closing(self, reason: str) -> None:
        """Take no more input: an open utterance and open texts end here."""
        if not self._closing:
            self.output.closing(reason)
        self._closing = True
        self.microphone.hang_up()
        for turn in self._alive:
            if turn.text is not None and turn.text.open:
                turn.text.add("", end=True)
        self.touch()

    def when_idle(self, then: Callable[[], None]) -> None:
        """Call ``then`` once no turn is left; of several the first."""
        self._on_idle = self._on_idle or then

    def close(self, reason: str) -> None:
        """Say the last word and look no more. Its turns and it hold each other: what is large goes now."""
        if self._timer is not None:
            self._timer.cancel()
        self.microphone.close()
        self.fail_lost()
        self.output.end(reason, self._context.now())
        self.history.clear()

    def totals(self) -> dict[str, int]:
        """The result of ``end_session``."""
        return {"turns": self.output.turns, **self.output.totals()}
