"""Every message between the daemon's own processes, declared once; declaring registers it.

A message is one msgpack map (the struct below, tagged by ``t``) followed by raw buffers, whose sizes the
header lists in ``bufs``. The direction is in the section's title. Public messages (contract 2 and 3) are not
here: they are plain maps, built in ``broker/control.py`` and ``broker/publisher.py``.

Names: ``src`` is an instance ("encode.0"), ``ep`` the epoch of its incarnation, ``broker`` the epoch of the
broker that dispatched an item, ``id`` the deterministic name of an item ("<sid>/<turn>/<stage>/<index>").
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

WIRE_VERSION = 1


class Message(msgspec.Struct, kw_only=True, tag_field="t"):
    """Base of all. A type without subclasses is a concrete message; see ``concrete_types``."""

    v: int = WIRE_VERSION
    bufs: list[int] = msgspec.field(default_factory=list)
    """Byte length of each raw frame behind the header; filled by ``wire.pack``, checked by ``wire.unpack``."""


def concrete_types(base: type[Message] = Message) -> list[type[Message]]:
    """Every declared message type, in order of declaration: Python's own subclass lists are the register."""
    found: list[type[Message]] = []
    for child in base.__subclasses__():
        found += concrete_types(child) if child.__subclasses__() else [child]
    return found


class Word(NamedTuple):
    """A word or phoneme with its time in microseconds."""

    text: str
    t0_us: int
    t1_us: int


class Line(NamedTuple):
    """One entry of a conversation."""

    role: str
    content: str


class TemplateRef(NamedTuple):
    """Where a worker finds a prepared template; ``hash`` changes when its content does."""

    id: str
    path: str
    hash: str


class ArrayHead(NamedTuple):
    """Element type (numpy's name, e.g. "uint8") and shape of the array in one buffer."""

    dtype: str
    shape: list[int]


# --- stage -> broker, on ingress -------------------------------------------------------------------------


class FromStage(Message, kw_only=True):
    """Who speaks."""

    src: str
    ep: int
    broker: int = 0
    """Epoch of the broker that this answers; one of an older broker may still be in the pipe. 0: none yet."""


class Hello(FromStage, kw_only=True, tag="hello"):
    """A stage has connected, or answers a broker's greeting: who it is and which items it still holds."""

    stage: str
    pid: int
    ready: bool = False
    held: list[str] = msgspec.field(default_factory=list)


class Ready(FromStage, kw_only=True, tag="ready"):
    """Loaded and warm. ``credit`` is how much may be outstanding, in the stage's unit (frames or items)."""

    stage: str
    engine: str
    device: str
    credit: int
    load_s: float
    info: dict[str, str | int | float | bool | list[str]] = msgspec.field(default_factory=dict)


class Started(FromStage, kw_only=True, tag="started"):
    """A handler has taken this item up; a death from here to DONE counts against it."""

    id: str
    attempt: int


class Output(FromStage, kw_only=True):
    """One accepted-in-order result of an item."""

    id: str
    attempt: int
    index: int
    """0, 1, 2, ... within the attempt."""


class Done(FromStage, kw_only=True, tag="done"):
    """The item is finished; sent after its last output on the same socket."""

    id: str
    attempt: int
    busy_ms: float = 0.0


class Failed(FromStage, kw_only=True, tag="failed"):
    """The item cannot be done. ``code`` is one of the contract's error codes."""

    id: str
    attempt: int
    code: str
    message: str
    retryable: bool = False


class Cancelled(FromStage, kw_only=True, tag="cancelled"):
    """The item was given up after a CANCEL; its credit is free again."""

    id: str
    attempt: int


# --- llm ---------------------------------------------------------------------------------------------------


class Item(Message, kw_only=True):
    """One unit of work, broker -> stage on ``w.<instance>.<epoch>``."""

    id: str
    attempt: int
    broker: int
    sid: str
    turn: int


class LlmItem(Item, kw_only=True, tag="llm.item"):
    """Answer the last user line of ``history``, going on after ``prefix``."""

    history: list[Line]
    prefix: str = ""
    sentences: int = 0
    """Sentences already accepted from ``prefix``."""
    language: str = ""


class LlmDelta(Output, kw_only=True, tag="llm.delta"):
    """More text of the answer."""

    text: str


class LlmSentence(Output, kw_only=True, tag="llm.sentence"):
    """A speakable sentence is complete."""

    sentence: int
    text: str


# --- tts ---------------------------------------------------------------------------------------------------


class TtsItem(Item, kw_only=True, tag="tts.item"):
    """Speak one sentence."""

    text: str
    voice: str = ""
    from_us: int = 0


class AudioItem(Item, kw_only=True, tag="tts.audio"):
    """Bring a client's audio to 48 kHz mono s16. A pure function: any cut gives the same samples.

    Buffer 0: interleaved samples, starting with input frame ``start`` of the turn.
    """

    sample_rate: int
    channels: int
    encoding: str
    """"u8", "s16le", "s24le", "s32le" or "f32le"."""
    start: int
    out_from: int
    """First 48 kHz sample to produce, counted from the turn's start."""
    out_to: int


class TtsChunk(Output, kw_only=True, tag="tts.chunk"):
    """Speech. Buffer 0: s16 mono 48 kHz. Times are relative to the start of the sentence (or the turn)."""

    at: int
    """48 kHz sample, from the start of the sentence, where the buffer begins."""
    words: list[Word] = msgspec.field(default_factory=list)
    phonemes: list[Word] = msgspec.field(default_factory=list)


# --- lipsync -----------------------------------------------------------------------------------------------


class LipsyncItem(Item, kw_only=True, tag="lipsync.item"):
    """One segment to animate; see ``models.api.SpeechWindow``.

    Buffer 0: s16 mono 48 kHz: 2 s of past, the segment, 80 ms of future.
    Buffers 1.. with quality "max": the passages ``passage``.. of the turn, s16 mono 48 kHz; see
    ``models.api.Passage``.
    """

    template: TemplateRef
    frame0: int
    frames: int
    start: int = 0
    phonemes: list[Word] = msgspec.field(default_factory=list)
    words: list[Word] = msgspec.field(default_factory=list)
    peak: float = 0.0
    """The loudest sample of the turn before the segment, 0 to 1."""
    speech_from_us: int = 0
    speech_to_us: int | None = None
    skip: int = 1
    quality: str = "high"
    passage: int = 0
    """Number of the passage in buffer 1."""
    deadline_ns: int = 0
    """CLOCK_MONOTONIC; 0: none."""


class LipsyncCrops(Output, kw_only=True, tag="lipsync.crops"):
    """Crops ``start``.. of the segment. Buffer 0: u8 BGR [frames, 256, 256, 3]."""

    start: int
    frames: int
    engine: str = ""
    """Who rendered them: its own alpha, where the template has one, is used for pasting."""


class TensorItem(Item, kw_only=True, tag="tensor.item"):
    """Network work of a preparation, for a process that runs ``engine``; it comes after all that will be shown.

    One buffer per head; see ``models.api.TensorSource``.
    """

    engine: str
    kind: str
    heads: list[ArrayHead]


class TensorResult(Output, kw_only=True, tag="tensor.result"):
    """The arrays that were asked for, one buffer per head."""

    heads: list[ArrayHead]


# --- encode ------------------------------------------------------------------------------------------------


class EncodeItem(Item, kw_only=True, tag="encode.item"):
    """One segment to paste, encode and box.

    Buffer 0: s16 mono 48 kHz: 4 AAC frames before the segment, the segment, 2 AAC frames after it.
    Buffers 1..: crops in order, each u8 BGR [n, 256, 256, 3]; none: the template's own pixels.
    """

    template: TemplateRef
    frame0: int
    frames: int
    quality: str = "high"
    engine: str = ""
    """Whose crops these are; "" for the template's own alpha."""


class EncodedSegment(Output, kw_only=True, tag="encode.segment"):
    """Buffer 0: ``moof`` + ``mdat`` whose sequence number and decode times are zero and stand at these offsets."""

    frames: int
    mfhd_at: int
    """Offset of the 32-bit sequence number."""
    video_tfdt_at: int
    """Offset of the 64-bit decode time, timescale 25."""
    audio_tfdt_at: int
    """Offset of the 64-bit decode time, timescale 48000."""


class InitItem(Item, kw_only=True, tag="encode.init"):
    """Make ``ftyp`` + ``moov`` for these settings."""

    width: int
    height: int
    quality: str = "high"


class InitSegment(Output, kw_only=True, tag="encode.initsegment"):
    """Buffer 0: ``ftyp`` + ``moov``. ``mime`` e.g. 'video/mp4; codecs="avc1.42c01e,mp4a.40.2"'."""

    mime: str


# --- prepare -----------------------------------------------------------------------------------------------


class PrepareItem(Item, kw_only=True, tag="prepare.item"):
    """Make a template. ``kind``: "builtin" or "source". Buffer 0 (optional): the source's bytes.

    ``in_use``: a session shows the template of this id; it may be confirmed, not replaced.
    """

    template_id: str
    kind: str
    path: str = ""
    bbox_shift: int = 0
    force: bool = False
    in_use: bool = False


class PrepareProgress(Output, kw_only=True, tag="prepare.progress"):
    """How far a preparation is."""

    phase: str
    done: int
    total: int


class PrepareAsk(Output, kw_only=True, tag="prepare.ask"):
    """The preparation needs network work and waits for a ``TensorAnswer``. One buffer per head."""

    number: int
    """Counts the asks of this attempt, from 0."""
    engine: str
    kind: str
    heads: list[ArrayHead]


class TemplateReady(Output, kw_only=True, tag="prepare.ready"):
    """The template's folder is in place."""

    template: TemplateRef
    kind: str
    frames: int
    width: int
    height: int
    nbytes: int
    engines: list[str]
    cached: bool
    seconds: float


# --- asr: streams, not items ---------------------------------------------------------------------------------


class AsrAudio(Message, kw_only=True, tag="asr.audio"):
    """More microphone audio of a session. Buffer 0: s16 mono. Sticky: one session, one instance.

    ``reset`` begins the stream anew at ``at`` (first audio of the session, or replay after a death); with
    ``speaking`` the utterance ``utterance`` is already open and begins at ``at``.
    """

    broker: int
    sid: str
    sample_rate: int
    at: int
    """Stream position of the buffer's first sample, counted at ``sample_rate`` since the session's start."""
    reset: bool = False
    utterance: int = 0
    """Number that the next utterance gets (or, with ``speaking``, the open one has)."""
    speaking: bool = False
    end: bool = False
    """The client says the utterance ends here."""
    language: str = ""


class AsrClose(Message, kw_only=True, tag="asr.close"):
    """Forget a session's stream."""

    broker: int
    sid: str


class AsrMark(FromStage, kw_only=True, tag="asr.mark"):
    """Audio before ``consumed`` has been heard; audio before ``keep`` will never be needed again."""

    sid: str
    consumed: int
    keep: int
    speaking: bool


class AsrSpeechStarted(FromStage, kw_only=True, tag="asr.started"):
    """A voice begins at stream position ``at``."""

    sid: str
    utterance: int
    at: int


class AsrSpeechEnded(FromStage, kw_only=True, tag="asr.ended"):
    """The voice has ended; ``at`` is its last voiced sample."""

    sid: str
    utterance: int
    at: int
    audio_ms: int


class AsrPartial(FromStage, kw_only=True, tag="asr.partial"):
    """What the utterance seems to say so far."""

    sid: str
    utterance: int
    text: str
    language: str


class AsrFinal(FromStage, kw_only=True, tag="asr.final"):
    """What the utterance says. Empty text: nothing was said, or (``rejected``) it was not understood."""

    sid: str
    utterance: int
    text: str
    confidence: float
    language: str
    rejected: bool = False


# --- broker -> stage, on c.<instance>.<epoch> ---------------------------------------------------------------


class Greeting(Message, kw_only=True, tag="greeting"):
    """A broker has bound this worker's sockets; items of other broker epochs are void. Answered by Hello."""

    broker: int


class Cancel(Message, kw_only=True, tag="cancel"):
    """Stop work on these items, or on all of a session's streams."""

    items: list[str] = msgspec.field(default_factory=list)


class TensorAnswer(Message, kw_only=True, tag="tensor.answer"):
    """To the worker that asked: the arrays, one buffer per head, or (``code`` is not empty) why there are none."""

    broker: int
    id: str
    attempt: int
    number: int
    code: str = ""
    message: str = ""
    heads: list[ArrayHead] = msgspec.field(default_factory=list)


# --- supervisor <-> broker -----------------------------------------------------------------------------------


class Up(Message, kw_only=True, tag="up"):
    """Supervisor: this incarnation is about to be spawned (or lives on after a broker restart): bind for it."""

    instance: str
    epoch: int
    stage: str


class Down(Message, kw_only=True, tag="down"):
    """Supervisor: this incarnation is dead and reaped. Drain what it sent, fence it, answer Fenced."""

    instance: str
    epoch: int
    reason: str
    commanded: bool = False
    in_hand: list[str] = msgspec.field(default_factory=list)
    """Items in progress at the death, by the worker's own record (a last ``Started`` may not have left it)."""


class Fenced(Message, kw_only=True, tag="fenced"):
    """Broker: nothing of this incarnation will be accepted any more; its successor may start."""

    instance: str
    epoch: int


class Demand(Message, kw_only=True, tag="demand"):
    """Broker: a stage that runs on demand has work."""

    stage: str


class StageRow(msgspec.Struct, kw_only=True, omit_defaults=False):
    """One line of the public ``status`` (contract 2)."""

    stage: str
    instance: str
    epoch: int
    pid: int | None
    state: str
    engine: str | None = None
    device: str | None = None
    busy_ms: int = 0
    restarts: int = 0
    rss_mb: float | None = None
    gpu_mem_mb: float | None = None
    gpu_util: float | None = None
    reason: str | None = None
    required: bool = True
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    """Totals since the process started and averages over the recent past, by name (docs/protocol.md)."""


class Report(Message, kw_only=True, tag="report"):
    """Supervisor: the state of every process; at each change and once a second."""

    supervisor_pid: int
    rows: list[StageRow]


class Beat(FromStage, kw_only=True, tag="beat"):
    """Any child -> supervisor, once a second and at each change of state."""

    stage: str
    pid: int
    state: str
    """starting, loading, idle, busy or draining."""
    phase: str = ""
    """While loading: what; a change counts as progress."""
    engine: str | None = None
    device: str | None = None
    item: str = ""
    """The oldest item in hand."""
    busy_ms: int = 0
    """Since the last progress on that item."""
    gpu_mem_mb: float | None = None
    gpu_util: float | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    error: str = ""
    """Why loading failed, with the next step."""
