"""Every public message of the stream that is not media, its name and fields declared once.

The publisher encodes them; the fields are the keys of the message, in this order.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType

from broker.errors import ErrorCode


class Event(Struct, frozen=True):
    """Base of all events of a session (topic ``evt.``): the fields are the event's ``data``."""

    name: ClassVar[str]


class SessionStarted(Event, frozen=True):
    """The first event of a session."""

    name = "session.started"
    record: bool
    """Whether ``start_session`` asked for a recording."""


class SessionEnded(Event, frozen=True):
    """The last one."""

    name = "session.ended"
    reason: str
    """ "ended", "expired" or "shutdown"."""


class UserSpeechStarted(Event, frozen=True):
    """The user speaks; the utterance has its turn from here on."""

    name = "user.speech.started"


class UserSpeechEnded(Event, frozen=True):
    """The user has stopped."""

    name = "user.speech.ended"
    audio_ms: int


class _Transcript(Event, frozen=True):
    text: str
    confidence: float | None
    language: str


class TranscriptPartial(_Transcript, frozen=True):
    """What is understood so far; it may change."""

    name = "transcript.partial"


class TranscriptFinal(_Transcript, frozen=True):
    """What the user said."""

    name = "transcript.final"


class TurnStarted(Event, frozen=True):
    """The turn is the current one."""

    name = "turn.started"
    source: str
    """ "say", "chat", "audio" or "segment"."""
    trace: str = ""
    """Carried by every line of the log that is about the turn."""


class ReplyDelta(Event, frozen=True):
    """More of the reply's text."""

    name = "reply.delta"
    text: str


class SentencePlaced(Event, frozen=True):
    """A sentence has its place; before the first segment that contains it."""

    name = "sentence"
    index: int
    text: str
    pts: int
    dur: int | None
    """None while its end is not known."""


class SpeechStarted(Event, frozen=True):
    """The avatar's voice begins at the event's ``pts``."""

    name = "speech.started"


class SpeechEnded(Event, frozen=True):
    """The avatar's voice ends at the event's ``pts``."""

    name = "speech.ended"


class TurnEnded(Event, frozen=True):
    """Everything of the turn is published."""

    name = "turn.ended"
    timings_ms: dict[str, int | None]


class TurnInterrupted(Event, frozen=True):
    """The turn was cut."""

    name = "turn.interrupted"
    flush_from: int
    reason: str
    """ "client", "barge_in", "ended", "expired", "shutdown" or "no_speech"."""
    spoken_text: str = ""
    """What was heard of what the avatar said."""
    message: str | UnsetType = UNSET
    """With "no_speech"."""


class TurnFailed(Event, frozen=True):
    """The turn cannot go on; what is published stays."""

    name = "turn.failed"
    code: ErrorCode
    message: str


class Degraded(Event, frozen=True):
    """Lip-sync stands in with less from here on, or another engine of a chain takes over."""

    name = "degraded"
    level: str
    """ "skip", "fallback" or "audio_only"; "fallback" where an engine takes over."""
    stage: str
    reason: str
    engine: str | UnsetType = UNSET
    """Which engine of a chain took over."""


class Recovered(Event, frozen=True):
    """It does not any more."""

    name = "recovered"
    stage: str | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    """The engine of a chain whose turn it is again; both are absent where it is lip-sync."""


class TemplateProgress(Struct, frozen=True):
    """Topic ``tpl.``: how far the preparation of a template is."""

    template_id: str
    phase: str
    done: int
    total: int


class Beacon(Struct, frozen=True):
    """Topic ``sys.``, once a second: the daemon lives."""

    uptime_s: float
    sessions: int
    status: str
