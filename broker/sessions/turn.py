"""One turn's life and text, from accepted words or audio to its last published segment.

It is handed what it needs and does not know its session, which drives it by ``advance``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import structlog
from msgspec import UNSET, UnsetType

from broker.context import Context
from broker.errors import ControlError, ErrorCode
from broker.media.budget import speech_us
from broker.media.capacity import Load
from broker.media.patience import Patience
from broker.media.segment_plan import quanta_ready
from broker.media.skip_policy import SkipPolicy
from broker.media.speech_track import SpeechTrack, to_samples, to_us
from broker.media.time_map import TimeMap
from broker.sessions.client_audio import AudioFormat, ClientAudio
from broker.sessions.history import History
from broker.sessions.marks import Marks
from broker.sessions.open_text import OpenText
from broker.sessions.output import Output
from broker.sessions.renderer import Renderer
from broker.sessions.reply import Reply, heard_text
from broker.sessions.segment_jobs import FUTURE
from broker.sessions.settings import SessionSettings
from broker.sessions.spoken_text import SpokenText
from broker.sessions.task import Task
from broker.stream.events import Event, TurnEnded, TurnFailed, TurnInterrupted, TurnStarted
from configs.grid import PASSAGE_US, QUANTUM_SAMPLES, QUANTUM_US, SAMPLE_RATE

log = structlog.get_logger()

SPEECH_AHEAD_US = 10_000_000
"""How far beyond the clock a turn is spoken."""
ANSWER_US = 5_000_000
"""An answer is taken to be so long while nobody knows."""
TAIL_US = 400_000
"""So long before the end of a sentence is due, more text is not waited for: lip-sync and encode take less."""
SEQS_KEPT = 4096
"""Far more segments than one call's audio makes; a turn of a client's own audio may go on for days."""
CARRIED_MAX_MS = 399
"""Below 320 ms + look-ahead by construction; the converter's own few ms of delay are not carried audio."""


class TurnState(Enum):
    """A turn's life."""

    LISTENING = "listening"
    """Its words are still being spoken, or understood."""
    WAITING = "waiting"
    """For its session's turns before it."""
    RUNNING = "running"
    ENDED = "ended"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


OVER = frozenset({TurnState.ENDED, TurnState.INTERRUPTED, TurnState.FAILED})
TRANSITIONS: dict[TurnState, frozenset[TurnState]] = {
    TurnState.LISTENING: frozenset({TurnState.WAITING, TurnState.INTERRUPTED, TurnState.FAILED}),
    TurnState.WAITING: frozenset({TurnState.RUNNING, TurnState.INTERRUPTED, TurnState.FAILED}),
    TurnState.RUNNING: OVER,
    TurnState.ENDED: frozenset(),
    TurnState.INTERRUPTED: frozenset(),
    TurnState.FAILED: frozenset(),
}


class Identity(NamedTuple):
    """Which turn it is."""

    sid: str
    number: int
    name: str
    """Prefix of its items' ids; a session id may be used again, this is not."""
    source: str
    """ "say", "chat", "audio" (spoken question) or "segment" (the client's own audio)."""


class Turn:
    """One turn of a session.

    Args:
        skip, patience: of the session.
        on_over: called once, when the turn is over.
        t0: monotonic microseconds that ``timings_ms`` counts from.
        text: what is to be said or answered; of a spoken question it comes with ``understood``.
        audio_format: of a client's own audio.
        pieces: its text comes piece by piece, to ``text``.
        interruptible: False: a voice does not cut it.
    """

    def __init__(
        self,
        identity: Identity,
        context: Context,
        settings: SessionSettings,
        output: Output,
        history: History,
        skip: SkipPolicy,
        patience: Patience,
        on_over: Callable[[Turn], None],
        *,
        t0: int,
        text: str = "",
        audio_format: AudioFormat | None = None,
        pieces: bool = False,
        interruptible: bool = True,
    ) -> None:
        self.interruptible = interruptible
        self.number = identity.number
        self.source = identity.source
        self._name = identity.name
        self.failure: ControlError | None = None
        """Why the turn failed, if it did."""
        self._state = TurnState.LISTENING if self.source == "audio" else TurnState.WAITING
        self._context = context
        self._settings = settings
        self._output = output
        self._history = history
        self._on_over = on_over
        self._text = text
        self._text_us = speech_us(text) if self.source == "say" else ANSWER_US
        """About how long it speaks."""
        self._marks = Marks(t0)
        self._track = SpeechTrack()
        self._map = TimeMap(lambda: output.timeline.end)
        task = Task(
            context,
            identity.name,
            identity.sid,
            self.number,
            output.timeline,
            self._map,
            self._marks,
            self.fail,
            patience,
            output.served,
        )
        self._audio = None if audio_format is None else ClientAudio(task, self._track, audio_format)
        self._spoken = SpokenText(task, self._track, settings.voice)
        self._speech = self._audio or self._spoken
        self._reply = Reply(task, output, self._spoken)
        self.text = OpenText(context, self._reply, lambda: context.touch(identity.sid)) if pieces else None
        """Text that comes piece by piece."""
        self._renderer = Renderer(
            context,
            settings,
            output,
            task,
            self._track,
            lambda: self._speech.sentences,
            self._map,
            skip,
            self._published,
        )
        self._flush_to = 0
        """Quanta of a client's own audio that its calls have completed."""
        self._seqs: deque[tuple[int, int]] = deque(maxlen=SEQS_KEPT)
        """(seq, end in quanta) of published segments."""
        self._waiters: list[tuple[int, Callable[[], None]]] = []

    # --- life ---

    @property
    def state(self) -> TurnState:
        """Where it stands."""
        return self._state

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self._state in OVER

    @property
    def listening(self) -> bool:
        """Whether it waits for the user's words."""
        return self._state is TurnState.LISTENING

    def _enter(self, state: TurnState) -> None:
        if state not in TRANSITIONS[self._state]:
            raise RuntimeError(f"turn {self.number}: {self._state.value} to {state.value} is no transition")
        self._state = state

    def question_ended(self, at: int) -> None:
        """The user had stopped speaking at this moment: ``timings_ms`` counts from it."""
        self._marks.t0 = at
        self.mark("vad_end")

    def understood(self, text: str) -> None:
        """These are the user's words."""
        self._enter(TurnState.WAITING)
        self._text = text

    def begin(self) -> None:
        """The turn is the current one from now on."""
        self._enter(TurnState.RUNNING)
        self._output.event(TurnStarted(self.source, self._context.publisher.trace(self._name)), self.number)
        if self.text is not None:
            self.text.begin()
        elif self.source == "say":
            self._reply.say(self._text)
        elif self.source in ("chat", "audio"):
            self._history.add("user", self._text)
            self._reply.ask(self._history.lines(self._settings.system_prompt), self._settings.language)

    def advance(self, now: int) -> int | None:
        """Do all that can be done now; returns when to look again (monotonic us), None to wait for events."""
        planned = self._renderer.planned
        ahead = SPEECH_AHEAD_US + (PASSAGE_US if self._settings.exact else 0)
        reach = self._output.timeline.clock(now) + ahead - self._map.pts(planned)
        self._speech.pump(planned + to_samples(max(0, reach)))
        pause = self._pause(now)
        wake = self._renderer.advance(now)
        if pause is not None:
            wake = pause if wake is None else min(wake, pause)
        if self._state is TurnState.RUNNING and self._renderer.complete and self._reply.broken is not None:
            self.fail(*self._reply.broken)
            return None
        if self._state is TurnState.RUNNING and self._renderer.complete:
            self._finish(TurnState.ENDED, TurnEnded(self._marks.timings()), self._reply.text)
            return None
        return wake

    def _pause(self, now: int) -> int | None:
        """Let the last sentence be heard to its end while a client has yet to send more text: its segment is
        completed with silence when that is due. Returns when to look again.
        """
        planned, end = self._renderer.planned, self._track.end
        if self.text is None or not self._settings.paced or not self._spoken.waits or end <= planned:
            return None
        left = self._map.pts(planned) - self._output.timeline.clock(now)
        if left > TAIL_US:
            return now + left - TAIL_US
        quanta = -(-(end - planned) // QUANTUM_SAMPLES)
        self._spoken.pause(planned + quanta * QUANTUM_SAMPLES + FUTURE - end)
        return None

    def interrupt(
        self, flush_from: int, reason: str, message: str | UnsetType = UNSET, *, heard_by: int | None = None
    ) -> None:
        """End as ``turn.interrupted``: nothing of this turn is published any more.

        Args:
            heard_by: until where the viewer has heard it; None: until ``flush_from``.
        """
        until = flush_from if heard_by is None else heard_by
        heard = self._heard(until) if self._state is TurnState.RUNNING else ""
        self._finish(TurnState.INTERRUPTED, TurnInterrupted(flush_from, reason, heard, message), heard)

    def fail(self, code: ErrorCode, message: str) -> None:
        """End as ``turn.failed``; what is published stays."""
        if not self.over:
            self.failure = ControlError(code, message)
            heard = self._heard(self._output.timeline.end)
            self._finish(TurnState.FAILED, TurnFailed(code, message), heard)

    def _heard(self, until_pts: int) -> str:
        if not self._map.placed or self._audio is not None:
            return ""
        until = to_us(self._map.shown_by(until_pts))
        words, _ = self._track.spans(0, max(0, until))
        return heard_text(self._spoken.sentences, words, until)

    def _finish(self, state: TurnState, event: Event, heard: str) -> None:
        if self.over:
            return
        began = self._state is TurnState.RUNNING
        self._enter(state)
        self._renderer.cancel()
        self._reply.cancel()
        if self.text is not None:
            self.text.close()
        self._speech.release()
        if began and heard.strip():
            self._history.add("assistant", heard)
        self._output.event(event, self.number)
        self._tell_operator(state)
        self._tell_published()
        self._on_over(self)
        # The turn, its speech and its jobs hold each other until the garbage collector comes by: seldom.
        self._track.release()

    def _tell_operator(self, state: TurnState) -> None:
        """A line in the log, and the figures."""
        timings = self._marks.timings()
        first_ms = timings["first_segment"]
        self._context.meter.count(f"turns.{state.value}")
        if first_ms is not None:
            self._context.meter.observe(f"first_segment.{self.source}", first_ms / 1000)
        code = None if self.failure is None else self.failure.code
        log.info(
            f"turn.{state.value}", item=self._name, source=self.source, code=code, first_segment_ms=first_ms
        )

    # --- a client's own audio ---

    @property
    def audio_format(self) -> AudioFormat | None:
        """How the client's own audio is laid out; None in a turn that has none."""
        return self._audio.format if self._audio is not None else None

    @property
    def audio_waiting(self) -> int:
        """Bytes of the client's audio that are accepted and not converted."""
        return self._audio.waiting_bytes if self._audio is not None else 0

    def feed(self, samples: memoryview, *, last: bool) -> int:
        """Take the audio of one call; returns the ms of it that are carried over to the next call's segments."""
        assert self._audio is not None
        self._audio.push(samples)
        if last:
            self._audio.close()
        return self._complete_calls(self._audio)

    def close_audio(self) -> None:
        """No more calls will come."""
        assert self._audio is not None
        self._audio.close()
        self._complete_calls(self._audio)

    def _complete_calls(self, audio: ClientAudio) -> int:
        """Cut all whole quanta that the client's calls so far determine; returns the ms carried over."""
        ready = self._renderer.usable(audio.ready, ended=audio.closed)
        self._flush_to += quanta_ready(ready, self._flush_to * QUANTUM_SAMPLES, FUTURE, ended=audio.closed)
        self._renderer.flush(self._flush_to)
        if audio.closed:
            return 0
        total = audio.frames * SAMPLE_RATE // audio.format.sample_rate
        carried = (total - self._flush_to * QUANTUM_SAMPLES) // 48
        return carried if self._settings.exact else min(CARRIED_MAX_MS, carried)

    # --- what of it is published ---

    @property
    def flush_to(self) -> int:
        """Quanta that the client's calls so far have completed."""
        return self._flush_to

    @property
    def published(self) -> int:
        """Quanta that are published."""
        return self._renderer.published

    def seqs(self, begin: int, end: int) -> list[int]:
        """The newest published segments that end in the quanta (begin, end]."""
        return [seq for seq, at in self._seqs if begin < at <= end]

    def when_published(self, quanta: int, then: Callable[[], None]) -> None:
        """Call ``then`` once so much is published or the turn is over: at once if it is."""
        self._waiters.append((quanta, then))
        self._tell_published()

    def _published(self, seq: int) -> None:
        self._seqs.append((seq, self._renderer.published))
        self._tell_published()

    def _tell_published(self) -> None:
        due = [w for w in self._waiters if self.over or self._renderer.published >= w[0]]
        self._waiters = [w for w in self._waiters if w not in due]
        for _, then in due:
            then()

    # --- what the session asks ---

    def mark(self, name: str) -> None:
        """Note the first time that something happened."""
        self._marks.first(name, self._context.now())

    def load(self, now: int) -> Load:
        """What the turn still asks of lip-sync and encode."""
        return self._renderer.load(now)

    @property
    def waiting_us(self) -> int:
        """Speech of it that is accepted and not published, as far as it is known or follows from its text."""
        known = self._track.end
        if self._audio is not None:
            known = self._audio.frames * SAMPLE_RATE // self._audio.format.sample_rate
        us = to_us(known)
        if self._audio is None and not self._track.ended:
            us = max(us, self._text_us, speech_us("-") * self.text.chars if self.text is not None else 0)
        return 0 if self.over else max(0, us - self._renderer.published * QUANTUM_US)

    @property
    def midway(self) -> bool:
        """Whether a sentence has begun, goes on with the next segment, and lip-sync is there to make it."""
        return self._renderer.midway

    @property
    def last_place(self) -> bool:
        """Whether the next segment keeps its place however late it is."""
        return self._renderer.last_place

    @property
    def next_pts(self) -> int | None:
        """Where the next segment in the making belongs; None when there is none."""
        return self._renderer.next_pts

    def move(self, pts: int) -> None:
        """Idle video has taken the place of the next segment."""
        self._renderer.move(pts)
