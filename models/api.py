"""The seams between the daemon and its engines: no ZeroMQ, no torch, no threads of their own.

The media grid's constants (``configs.grid``) can be had from here, too.

An engine is chosen by name in the configuration and imported only in the process that runs it. Engines are
synchronous; one built on an async library runs its loop inside. Every kind has one conformance suite under
``tests/engines`` that each engine of the kind passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from configs.grid import ASR_RATE as ASR_RATE
from configs.grid import FPS as FPS
from configs.grid import FRAME_SAMPLES as FRAME_SAMPLES
from configs.grid import FRAME_US as FRAME_US
from configs.grid import FUTURE_US as FUTURE_US
from configs.grid import PASSAGE_MARGIN as PASSAGE_MARGIN
from configs.grid import PASSAGE_US as PASSAGE_US
from configs.grid import PAST_US as PAST_US
from configs.grid import SAMPLE_RATE as SAMPLE_RATE
from models.errors import EngineError as EngineError
from models.errors import EngineGoneError as EngineGoneError
from models.errors import EngineLostError as EngineLostError
from models.meter import GpuUse

if TYPE_CHECKING:
    from models.templates.store import Template

CROP = 256
"""Side of a face crop in pixels."""

Pcm = NDArray[np.int16]
Progress = Callable[[str, int, int], None]
"""``progress(phase, done, total)``; also tells the supervisor that the work is alive."""


class Cancel(Protocol):
    """A flag that the stage's I/O thread sets; engines look at it at least every 50 ms of their own loops."""

    def is_set(self) -> bool:
        """Whether the work in hand is no longer wanted."""
        ...


class Engine(Protocol):
    """What every engine has."""

    name: str

    def load(self, progress: Progress) -> None:
        """Load and warm everything; afterwards the first item is as fast as the hundredth.

        Raises:
            EngineError: the engine cannot run here, with the next step in ``hint``.
        """
        ...

    def close(self) -> None:
        """Release what ``load`` took; called once, also after a failed load."""
        ...


# --- hearing ---------------------------------------------------------------------------------------------


class Transcript(NamedTuple):
    """What was heard. ``text`` is empty when nothing was said or the engine rejects its own best guess."""

    text: str
    language: str
    confidence: float
    """0 to 1."""
    rejected: bool = False
    """There was speech, and the engine did not understand it."""
    engine: str = ""
    """Filled in by a chain: which of its engines heard it,"""
    reason: str = ""
    """and why it was not an earlier one; "" when it was its turn."""


class Pause(NamedTuple):
    """What an engine makes of an utterance whose voice pauses."""

    finished: bool
    """The sentence is complete: nothing more need be waited for."""
    transcript: Transcript | None = None
    """What ``finish`` would say if nothing but silence followed; None where that is not known yet."""


class Utterance(Protocol):
    """One utterance being heard; fed by one thread, finished once."""

    def feed(self, pcm: Pcm) -> str | None:
        """Take s16 mono 16 kHz samples; returns a new partial text, or None when it has not changed."""
        ...

    def pause(self, cancel: Cancel) -> Pause:
        """The voice pauses: whether the sentence is complete. Changes nothing; more may be fed afterwards."""
        ...

    def finish(self, cancel: Cancel) -> Transcript:
        """The final transcript of all that was fed."""
        ...


class Transcriber(Engine, Protocol):
    """Speech to text, one utterance at a time; voice activity is found outside of it."""

    def open(self, language: str) -> Utterance:
        """Begin an utterance. ``language`` is a BCP 47 tag or "" for any."""
        ...


# --- answering -------------------------------------------------------------------------------------------


class ChatMessage(NamedTuple):
    """One entry of a conversation; ``role`` is "system", "user" or "assistant"."""

    role: str
    content: str


class Responder(Engine, Protocol):
    """A language model, or what stands in for one."""

    can_continue: bool
    """Whether ``prefix`` is honoured; otherwise a reply that was cut off by a crash fails its turn."""

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        """Stream the answer to the last user message, going on after ``prefix`` (the text already accepted).

        An empty piece says that the model is at work (it thinks) and has nothing to say yet.
        """
        ...


# --- speaking --------------------------------------------------------------------------------------------


class Span(NamedTuple):
    """A word or phoneme and its time in microseconds, relative to what the container says."""

    text: str
    t0_us: int
    t1_us: int


class Chunk(NamedTuple):
    """A piece of speech. Times of ``words`` and ``phonemes`` are relative to the start of the whole text
    (not of this chunk); each entry is given once, in the chunk that contains its start.
    """

    pcm: Pcm
    words: Sequence[Span] = ()
    phonemes: Sequence[Span] = ()


class Voice(NamedTuple):
    """A voice that an engine offers."""

    name: str
    """What a session's ``voice`` or ``tts.voice`` says to have it."""
    language: str
    """BCP 47 tag."""
    gender: str = ""
    """"female", "male" or "" where nobody knows."""


class Synthesizer(Engine, Protocol):
    """Text to speech."""

    deterministic: bool
    """Whether the same text and voice give the same samples, so that ``from_us`` may be any time."""

    def speaks(self, language: str) -> bool:
        """Whether it can read a text in this language (a BCP 47 tag). After ``load``; a chain asks it."""
        ...

    def voices(self) -> Sequence[Voice]:
        """What it offers; empty where it cannot tell. After ``load``; a chain asks for a voice by its name."""
        ...

    def speak(self, text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        """Speak ``text``, leaving out the first ``from_us`` microseconds.

        Args:
            text: one sentence, any language the engine knows.
            voice: an engine's voice name, a language tag, or "" for the voice that suits the text.
            from_us: where an earlier attempt's accepted audio ended; 0 at first.
            cancel: looked at between chunks.
        """
        ...


# --- lip-sync --------------------------------------------------------------------------------------------


class Passage(NamedTuple):
    """30 s of a turn's audio, counted from its start: what features of the whole speech are made of.

    Only the turn's last passage is shorter.
    """

    number: int
    pcm: Pcm
    """s16 48 kHz: the passage with ``PASSAGE_MARGIN`` more samples to either side, zeros outside the turn."""


@dataclass(frozen=True, slots=True)
class SpeechWindow:
    """One lip-sync item: all that an engine may look at. Its output is a pure function of this.

    ``pcm`` covers ``PAST_US`` before the segment, the segment, and ``FUTURE_US`` after it; what lies outside
    the turn is zeros. All times are microseconds relative to the segment's start (so the past is negative).
    """

    template: Template
    frame0: int
    """Absolute number of the first frame on the media timeline; its pose is ``loop[frame0 % L]``."""
    frames: int
    start: int
    """Frames of this segment that are already accepted; output begins with this one."""
    pcm: Pcm
    phonemes: Sequence[Span]
    words: Sequence[Span]
    peak: float
    """The turn's loudest sample before the segment, 0 to 1."""
    speech_from_us: int
    """Where the turn's audio begins; <= 0."""
    speech_to_us: int | None
    """Where the turn's audio ends when that lies inside the window, else None."""
    skip: int = 1
    """2 or 4: make every other or every fourth frame, and the segment's last one; interpolate the rest."""
    passages: Sequence[Passage] = ()
    """With quality "max": all that the features of these frames reach, in order. Engines without features of
    whole speech need not look at them."""
    exact: bool = False
    """Fail instead of showing the template's own pixels where a frame could not be made."""


@dataclass(slots=True)
class FrameJob:
    """One frame to be rendered. ``data`` belongs to the engine; ``tag`` to whoever scheduled it."""

    template: Template
    pose: int
    data: Any
    tag: Any = field(default=None)


class Crops(Enum):
    """What the crops of an engine are, which decides how they are pasted; ``models.registry`` says it of each."""

    WHOLE = "whole"
    """Every pixel is the engine's: the template's alpha decides how much of it is shown."""
    MOVED = "moved"
    """The template's own pixels (``media.paste.own_crop``), some of them moved: only those are pasted."""
    MASKED = "masked"
    """Drawn anew where the engine's ``mask.npy`` of the template is not 0, the template's own elsewhere. How much
    is shown is the mask's matter alone; a crop that is the template's own throughout shows nothing."""


class LipSync(Engine, Protocol):
    """Audio to face crops."""

    buckets: Sequence[int]
    """Batch sizes that ``render`` accepts, ascending; each is warm after ``load``."""
    reentrant: bool
    """Whether several threads may call ``plan`` and ``render`` at the same time (``stages.*.concurrency``)."""
    skips: bool
    """Whether ``SpeechWindow.skip`` is honoured."""

    @property
    def figures(self) -> Mapping[str, float]:
        """What was counted and timed since ``load``, for ``status``; from any thread."""
        ...

    @property
    def device_name(self) -> str:
        """Where it runs, as ``status`` names it. After ``load``."""
        ...

    @property
    def gpu(self) -> Callable[[], GpuUse] | None:
        """How to read the GPU that is in use, None without one. After ``load``."""
        ...

    def plan(self, window: SpeechWindow) -> list[FrameJob]:
        """The frames ``start``.. of the window, in order."""
        ...

    def render(self, jobs: Sequence[FrameJob]) -> NDArray[np.uint8]:
        """Render jobs of any sessions together: u8 BGR ``[n, 256, 256, 3]``, the box of each pose resized."""
        ...


# --- templates -------------------------------------------------------------------------------------------


class Preparer(Protocol):
    """What an engine needs to have computed per template."""

    @property
    def engine(self) -> str:
        """Whose files it writes; part of the template's content hash."""
        ...

    @property
    def version(self) -> str:
        """Part of the template's content hash: a request for the same source makes it anew under another version.

        Where older files can no longer be read, ``store.MANIFEST_VERSION`` rises too: sessions look at that.
        """
        ...

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Write this engine's files for ``template`` into the folder ``out``."""
        ...


class TensorSource(Protocol):
    """The network work of a preparation: the networks themselves, or the way to the process that holds them.

    An answer is a pure function of the ask, so one that was lost with its process is simply asked again.
    """

    def tensors(self, kind: str, arrays: Sequence[NDArray[Any]], progress: Progress) -> list[NDArray[Any]]:
        """Do one small batch of work.

        Args:
            kind: what to do; the engine's preparer knows its kinds.
            arrays: its input, C-contiguous.
            progress: called while it goes on or is waited for.

        Raises:
            EngineError: it cannot be done; that costs this ask and nothing else.
        """
        ...


@runtime_checkable
class FrameByFrame(Protocol):
    """A ``LipSync`` engine whose frames gain nothing from each other in a batch."""

    piece: int
    """Frames of a batch, one of ``buckets``, where somebody waits for the first of them."""


@runtime_checkable
class TensorEngine(TensorSource, Protocol):
    """A ``LipSync`` engine that does the network work of its own preparer, between its batches."""

    def rest(self) -> None:
        """Release what ``tensors`` has loaded; the next ask loads it again."""
        ...
