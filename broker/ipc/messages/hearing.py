"""asr: streams, not items. ``sid`` names a stream, "<sid>/<serial>.<count>": a session may have several."""

from __future__ import annotations

from broker.ipc.messages.base import FromStage, Message


class AsrAudio(Message, kw_only=True, tag="asr.audio"):
    """More microphone audio of a stream. Buffer 0: s16 mono. Sticky: one stream, one instance.

    ``reset`` begins the stream anew at ``at`` (first audio of the stream, or replay after a death); with
    ``speaking`` the utterance ``utterance`` is already open and begins at ``at``.
    """

    broker: int
    sid: str
    sample_rate: int
    at: int
    """Stream position of the buffer's first sample, counted at ``sample_rate`` since the stream's start."""
    reset: bool = False
    utterance: int = 0
    """Number that the next utterance gets (or, with ``speaking``, the open one has)."""
    speaking: bool = False
    end: bool = False
    """The client says the utterance ends here."""
    language: str = ""
    time: int = 0
    """When the client sent the buffer's last sample, monotonic microseconds; 0: nobody knows."""


class AsrSound(Message, kw_only=True, tag="asr.sound"):
    """What viewers of the session hear. Buffer 0: s16 mono 48 kHz; empty: what was told after ``at`` is void.

    Comes before the audio in which a microphone may hear it.
    """

    broker: int
    sid: str
    at: int
    """When a viewer without any delay hears its first sample: monotonic microseconds."""


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


class AsrSpeechConfirmed(FromStage, kw_only=True, tag="asr.confirmed"):
    """The voice of an open utterance, up to position ``at``, is long enough to interrupt with."""

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
    backchannel: bool = False
    """It is what a listener says ("uh-huh"): words that ask for nothing."""
    engine: str = ""
    """Of a chain, the engine that heard it,"""
    reason: str = ""
    """and why it was not an earlier one; "" when it was its turn."""
