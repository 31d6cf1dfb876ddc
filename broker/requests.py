"""Control requests (contract 2): decoding, argument types, the closed set of error codes. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgpack
import msgspec

T = TypeVar("T", bound="Arguments")
PROTOCOL = 1
ID_PATTERN = "^[A-Za-z0-9_-]{1,64}$"

Id = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
Count = Annotated[int, msgspec.Meta(ge=0)]

CODES = frozenset(
    [
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "UNAUTHENTICATED",
        "TOO_LARGE",
        "BUSY",
        "NOT_READY",
        "UNSUPPORTED",
        "FAILED",
        "INTERNAL",
    ]
)


class ControlError(Exception):
    """An answer that is not ok."""

    def __init__(self, code: str, message: str, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code if code in CODES else "FAILED"
        self.message = message
        self.retry_after_ms = retry_after_ms

    def body(self) -> dict[str, Any]:
        """The reply's ``error``."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retry_after_ms is not None:
            error["retry_after_ms"] = self.retry_after_ms
        return error


class Arguments(msgspec.Struct, kw_only=True):
    """Base of every operation's arguments; unknown extra keys are ignored."""


class Nothing(Arguments):
    """No arguments."""


class PreprocessTemplate(Arguments):
    """``preprocess_template``."""

    template_id: Id
    image: bytes | None = None
    video: bytes | None = None
    path: str | None = None
    bbox_shift: int = 0
    force: bool = False


class DeleteTemplate(Arguments):
    """``delete_template``."""

    template_id: Id


class StartSession(Arguments):
    """``start_session``."""

    template_id: Id = "default"
    session_id: Id | None = None
    mode: Literal["realtime", "offline"] = "realtime"
    idle: Literal["none", "loop"] = "none"
    barge_in: bool = True
    voice: str | None = None
    language: str | None = None
    system_prompt: str | None = None
    quality: Literal["high", "lossless", "fast"] = "high"
    fps: int | float = 25


class ProcessSegment(Arguments):
    """``process_segment``."""

    session_id: Id
    audio: bytes
    format: Literal["s16le"] | None = None
    sample_rate: int | None = None
    last: bool = False
    wait: bool = False


class Text(Arguments):
    """``say`` and ``chat``."""

    session_id: Id
    text: str


class Audio(Arguments):
    """``audio``."""

    session_id: Id
    pcm: bytes
    sample_rate: Annotated[int, msgspec.Meta(ge=8000, le=48000)] = 16000
    end: bool = False


class Interrupt(Arguments):
    """``interrupt``."""

    session_id: Id
    turn: int | None = None


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

    timeout_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 30.0


def decode(body: bytes) -> dict[str, Any]:
    """The request's map.

    Raises:
        ControlError: INVALID_ARGUMENT when it is not one msgpack map, has no version, id or operation;
            UNSUPPORTED for another version.
    """
    try:
        request = msgpack.unpackb(body)
    except Exception as error:  # msgpack raises a dozen kinds for hostile bytes
        raise ControlError("INVALID_ARGUMENT", f"not one msgpack map: {error or type(error).__name__}") from error
    if not isinstance(request, dict):
        raise ControlError("INVALID_ARGUMENT", f"a request is a msgpack map, not {type(request).__name__}")
    return request


def envelope(request: dict[str, Any]) -> tuple[int | str | None, str]:
    """Id and operation of a decoded request.

    Raises:
        ControlError: as ``decode``.
    """
    request_id = request.get("id")
    if isinstance(request_id, bool) or not isinstance(request_id, int | str):
        raise ControlError("INVALID_ARGUMENT", "'id' must be an int or a str that the reply repeats")
    version = request.get("v")
    if version is None:
        raise ControlError("INVALID_ARGUMENT", f"'v' is missing; this daemon speaks version {PROTOCOL}")
    if version != PROTOCOL or isinstance(version, bool):
        raise ControlError("UNSUPPORTED", f"version {version!r}; this daemon speaks version {PROTOCOL}")
    op = request.get("op")
    if not isinstance(op, str):
        raise ControlError("INVALID_ARGUMENT", "'op' must be a str that names an operation")
    return request_id, op


def arguments(request: dict[str, Any], kind: type[T]) -> T:
    """The operation's arguments, checked.

    Raises:
        ControlError: INVALID_ARGUMENT naming the argument and what it must be.
    """
    try:
        return msgspec.convert(request, kind)
    except msgspec.ValidationError as error:
        raise ControlError(
            "INVALID_ARGUMENT", str(error).replace("`$.", "`").replace("Object missing", "missing")
        ) from error


def peek_id(body: bytes) -> int | str | None:
    """The id of a request that is too large to be decoded, without unpacking its payload."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(body) + 1)
    unpacker.feed(body)
    try:
        for _ in range(unpacker.read_map_header()):
            if unpacker.unpack() == "id":
                found = unpacker.unpack()
                return found if isinstance(found, int | str) and not isinstance(found, bool) else None
            unpacker.skip()
    except Exception:  # not even a map; the answer carries no id then
        return None
    return None
