"""Messages to frames and back: pure, strict, and the only code that encodes internal headers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import msgspec

from broker.ipc.messages import WIRE_VERSION, Message, concrete_types

HEADER_LIMIT = 1 << 20
"""Bytes; a chat history is the largest thing a header carries."""

Buffer = bytes | bytearray | memoryview


class WireError(ValueError):
    """Frames that are not a message of ours; the text says which rule they break."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] | None = None


def _union_decoder() -> msgspec.msgpack.Decoder[Any]:
    global _decoder
    if _decoder is None:
        _decoder = msgspec.msgpack.Decoder(Union[tuple(concrete_types())])  # noqa: UP007 - built at run time
    return _decoder


def nbytes(buffer: Any) -> int:
    """Byte length of a buffer: bytes, memoryview, ndarray or ``zmq.Frame``."""
    return len(buffer) if isinstance(buffer, bytes | bytearray) else memoryview(buffer).nbytes


def pack(message: Message, buffers: Sequence[Any] = ()) -> list[Any]:
    """Header and buffers as a list of frames. Buffers are not copied; they must stay unchanged once sent.

    Raises:
        WireError: the header would be refused at the other end.
    """
    message.bufs = [nbytes(b) for b in buffers]
    header = _encoder.encode(message)
    if len(header) > HEADER_LIMIT:
        raise WireError(
            f"{type(message).__name__} has a header of {len(header)} bytes; the limit is {HEADER_LIMIT}"
        )
    return [header, *buffers]


def unpack(frames: Sequence[Any]) -> tuple[Message, list[memoryview]]:
    """The message and its buffers (views, no copies).

    Raises:
        WireError: no frames, oversized header, not msgpack, unknown type, wrong field, other version, or
            buffers that are not those the header lists.
    """
    if not frames:
        raise WireError("a message needs at least a header frame")
    header = frames[0] if isinstance(frames[0], bytes) else memoryview(frames[0])
    if len(header) > HEADER_LIMIT:
        raise WireError(f"header of {len(header)} bytes; the limit is {HEADER_LIMIT}")
    try:
        message: Message = _union_decoder().decode(header)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WireError(f"undecodable header: {error}") from error
    if message.v != WIRE_VERSION:
        raise WireError(f"wire version {message.v}; this daemon speaks {WIRE_VERSION}")
    buffers = [memoryview(frame) for frame in frames[1:]]
    sizes = [b.nbytes for b in buffers]
    if sizes != message.bufs:
        raise WireError(f"{type(message).__name__} announces buffers {message.bufs} and carries {sizes}")
    return message, buffers
