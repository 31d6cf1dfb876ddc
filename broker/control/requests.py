"""Control requests: decoding, argument types, the closed set of error codes. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from broker.errors import ControlError, ErrorCode

T = TypeVar("T", bound="Arguments")
PROTOCOL = 1
EXAMPLE = '{"v": 1, "id": 1, "op": "health"}'
ENVELOPE_BYTES = 1024
"""Longest 'id', 'op' or 'v', encoded."""
_UNFIT = object()
ID_PATTERN = r"\A[A-Za-z0-9_-]{1,64}\Z"
ID_WORDS = "1 to 64 letters (A to Z, a to z), digits, '-' and '_'"

Id = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
Name = Annotated[str, msgspec.Meta(max_length=128)]
Prompt = Annotated[str, msgspec.Meta(max_length=64_000)]
FilePath = Annotated[str, msgspec.Meta(max_length=4096)]
DrainTime = Annotated[float, msgspec.Meta(ge=0, le=3600)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Arguments(msgspec.Struct, kw_only=True):
    """Base of every operation's arguments; unknown extra keys are ignored."""


class Nothing(Arguments):
    """No arguments."""


class PreprocessTemplate(Arguments):
    """``preprocess_template``."""

    template_id: Id
    image: bytes | None = None
    video: bytes | None = None
    path: FilePath | None = None
    bbox_shift: int = 0
    crop: Literal["", "face"] = ""
    force: bool = False
    keep: bool = False
    if_absent: bool = False


class DeleteTemplate(Arguments):
    """``delete_template``."""

    template_id: Id


class ListVoices(Arguments):
    """``list_voices``."""

    language: Name | None = None


IdleTimeout = Annotated[float, msgspec.Meta(ge=10, le=86_400)]


class StartSession(Arguments):
    """``start_session``."""

    template_id: Id = "default"
    session_id: Id | None = None
    mode: Literal["realtime", "offline"] | None = None
    """None: what ``timeline.mode`` says, but "realtime" where idle motion is asked for, which needs a clock."""
    idle: Literal["none", "loop"] = "none"
    barge_in: bool = True
    voice: Name | None = None
    language: Name | None = None
    system_prompt: Prompt | None = None
    quality: Literal["high", "lossless", "fast", "max"] = "high"
    fps: int | float = 25
    greeting: str | None = None
    idle_timeout_s: IdleTimeout | None = None
    max_duration_s: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 0.0
    record: bool = False
    cut_margin_ms: Annotated[int, msgspec.Meta(ge=40, le=600)] = 40


class UpdateSession(Arguments):
    """``update_session``."""

    session_id: Id
    voice: Name | None = None
    language: Name | None = None
    system_prompt: Prompt | None = None
    barge_in: bool | None = None
    idle_timeout_s: IdleTimeout | None = None


class KeepAlive(Arguments):
    """``keep_alive``."""

    session_id: Id


class ProcessSegment(Arguments):
    """``process_segment``."""

    session_id: Id
    audio: bytes
    format: Literal["s16le"] | None = None
    sample_rate: int | None = None
    last: bool = False
    wait: bool = False


class Text(Arguments):
    """``chat``, and what ``say`` has as well."""

    session_id: Id
    text: str


class Say(Text):
    """``say``."""

    append: bool = False
    turn: int | None = None
    end: bool | None = None
    interruptible: bool = True

    @property
    def last(self) -> bool:
        """Whether no more text of the turn follows."""
        return not self.append if self.end is None else self.end


class Audio(Arguments):
    """``audio``."""

    session_id: Id
    pcm: bytes
    sample_rate: Annotated[int, msgspec.Meta(ge=8000, le=48000)] = 16000
    end: bool = False
    echo_cancelled: bool = False


class Interrupt(Arguments):
    """``interrupt``."""

    session_id: Id
    turn: int | None = None


class Played(Arguments):
    """``played``."""

    session_id: Id
    pts: Count


class Segments(Arguments):
    """``segments``."""

    session_id: Id
    from_seq: Count
    max: Annotated[int, msgspec.Meta(ge=1)] = 16


class Events(Arguments):
    """``events``."""

    session_id: Id
    from_n: Count
    max: Annotated[int, msgspec.Meta(ge=1)] = 256


class EndSession(Arguments):
    """``end_session``."""

    session_id: Id
    drain: bool = True


class Drain(Arguments):
    """``drain``."""

    timeout_s: DrainTime = 30.0


class Instance(Arguments):
    """``drain_instance`` and ``resume_instance``."""

    instance: Name
    timeout_s: DrainTime = 30.0


class Envelope(msgspec.Struct):
    """What every request has. Raw: nothing is built of a value before its size is known."""

    v: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    op: msgspec.Raw = msgspec.Raw()


def read_envelope(body: bytes | memoryview) -> Envelope:
    """The request's outer map; its other values are skipped, however large they are.

    Raises:
        ControlError: INVALID_ARGUMENT when it is not one msgpack map with str keys.
    """
    try:
        return msgspec.msgpack.decode(body, type=Envelope)
    except Exception as error:  # hostile bytes: malformed, truncated, nested without end
        reason = str(error) or type(error).__name__
        raise ControlError(
            ErrorCode.INVALID_ARGUMENT, f"not one msgpack map with str keys, such as {EXAMPLE}: {reason}"
        ) from error


def _small(raw: msgspec.Raw) -> Any:
    """The value of a short scalar, else a placeholder that fits no rule."""
    data = bytes(raw)
    if len(data) > ENVELOPE_BYTES:
        return _UNFIT
    try:
        return msgspec.msgpack.decode(data) if data else None
    except Exception:  # e.g. a str that is no UTF-8
        return _UNFIT


def request_id(envelope: Envelope) -> int | str | None:
    """The id that the reply repeats; None when there is none that can be."""
    found = _small(envelope.id)
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


def operation(envelope: Envelope) -> str:
    """Which operation is asked for.

    Raises:
        ControlError: INVALID_ARGUMENT without id, version or operation; UNSUPPORTED for another version.
    """
    version = _small(envelope.v)
    if version is None:
        raise ControlError(
            ErrorCode.INVALID_ARGUMENT, f"'v' is missing: send {PROTOCOL}, the version of this daemon"
        )
    if version != PROTOCOL or isinstance(version, bool):
        raise ControlError(
            ErrorCode.UNSUPPORTED, f"another version in 'v': send {PROTOCOL}, the version of this daemon"
        )
    if request_id(envelope) is None:
        raise ControlError(
            ErrorCode.INVALID_ARGUMENT,
            f"'id' must be an int, or a str of less than {ENVELOPE_BYTES} bytes, that the reply repeats",
        )
    op = _small(envelope.op)
    if not isinstance(op, str):
        raise ControlError(
            ErrorCode.INVALID_ARGUMENT, "'op' must be a str that names an operation, such as 'health'"
        )
    return op


def _choices(kind: type[Arguments], error: str) -> str:
    """What an argument with a closed set of values may be, when that was the mistake; else nothing."""
    found = re.search(r"^Invalid enum value .* at `\$\.(\w+)`$", error, re.DOTALL)
    if found is None:
        return ""
    hint = get_type_hints(kind)[found[1]]
    literals = [hint, *get_args(hint)]  # the argument may also be optional
    values = next(get_args(one) for one in literals if get_origin(one) is Literal)
    return ": use " + " or ".join(repr(value) for value in values)


def arguments(body: bytes | memoryview, kind: type[T]) -> T:
    """The operation's arguments, checked; unknown keys are skipped.

    Raises:
        ControlError: INVALID_ARGUMENT naming the argument and what it must be.
    """
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$.", "`").replace("Object missing", "missing") + _choices(kind, str(error))
        text = text.replace(f"`str` matching regex {ID_PATTERN!r}", ID_WORDS)
        raise ControlError(ErrorCode.INVALID_ARGUMENT, text) from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ControlError(ErrorCode.INVALID_ARGUMENT, f"undecodable argument: {reason}") from error
