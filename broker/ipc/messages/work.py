"""Items of the stages, and what comes out of them."""

from __future__ import annotations

import msgspec

from broker.ipc.messages.base import ArrayHead, Item, Line, Output, TemplateRef, Word

# --- llm and tts ---------------------------------------------------------------------------------------------


class Serving(Output, kw_only=True, tag="serving"):
    """Of a chain of engines this one does the item from here on."""

    engine: str
    reason: str
    """Why it was not an earlier one of the chain; "" when it is its turn."""


# --- llm ---------------------------------------------------------------------------------------------------


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
    live: bool = False
    """Somebody waits: what saves time may cost bytes."""
    ahead: bool = False
    """Only begin: nothing is put out. The crops are those of frames ``start``.., as far as they are there; what
    comes of them is kept for the item that goes on, or has them all. That one gives the same bytes in a process
    that knows nothing of them."""
    start: int = 0
    """With ``ahead``: frames whose crops an earlier item had."""


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
    """Make a template. Buffer 0 (optional): the source's bytes.

    ``kind``: "builtin", "source", or "kept": made anew from the source that is kept beside it.
    ``in_use``: a session shows the template of this id; it may be confirmed, not replaced.
    ``room``: bytes that the cache has for it, None: no limit; ``no_room``: what to tell when they do not suffice.
    """

    template_id: str
    kind: str
    path: str = ""
    bbox_shift: int = 0
    crop: str = ""
    force: bool = False
    in_use: bool = False
    keep: bool = False
    if_absent: bool = False
    room: int | None = None
    no_room: str = ""


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
    bbox_shift: dict[str, int | list[int]] | None = None
    """``asked``, ``used`` and ``range``, where an engine of the template looks at it."""
    replaced: bool = False
    """The id held another source's template."""
    same_as: str = ""
    """Id of another template, whose files this one shares."""
