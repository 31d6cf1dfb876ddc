"""The bytes of every internal message type are pinned: processes of different age must not misread each other.

After an intended change, write the new bytes with::

    .venv/bin/python -m tests.wire.test_golden
"""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from broker.ipc import wire
from broker.ipc.messages import Message, concrete_types

GOLDEN = Path(__file__).with_name("golden.json")
BUFFERS = [b"\x00\x01\x02", b""]


def example(kind: type[Message]) -> Message:
    """An instance whose every field has a fixed value that is not its default."""
    fields = {f.name: f for f in msgspec.structs.fields(kind) if f.name not in ("v", "bufs")}
    return kind(**{name: _value(f.type, name) for name, f in fields.items()})


def _value(kind: Any, name: str) -> Any:
    """A value of the annotated type, derived from the field's name so that swapped fields are noticed."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _value(next(one for one in arguments if one is not type(None)), name)
    if origin is list:
        return [_value(arguments[0], f"{name}.0"), _value(arguments[0], f"{name}.1")]
    if origin is dict:
        return {f"{name}.key": _value(arguments[1], f"{name}.value")}
    if kind is bool:
        return True
    if kind is int:
        return sum(name.encode())
    if kind is float:
        return sum(name.encode()) / 8
    if kind is str:
        return f"<{name}>"
    if issubclass(kind, msgspec.Struct):
        return kind(**{f.name: _value(f.type, f"{name}.{f.name}") for f in msgspec.structs.fields(kind)})
    hints = typing.get_type_hints(kind)
    return kind(**{field: _value(hints[field], f"{name}.{field}") for field in kind._fields})


def _pack(kind: type[Message]) -> bytes:
    header: bytes = wire.pack(example(kind), BUFFERS)[0]
    return header


def _golden() -> dict[str, str]:
    found: dict[str, str] = json.loads(GOLDEN.read_text())
    return found


def test_every_type_has_golden_bytes() -> None:
    assert sorted(_golden()) == sorted(kind.__name__ for kind in concrete_types())


@pytest.mark.parametrize("kind", concrete_types(), ids=lambda kind: kind.__name__)
def test_bytes_have_not_changed(kind: type[Message]) -> None:
    assert _pack(kind).hex() == _golden()[kind.__name__]


@pytest.mark.parametrize("kind", concrete_types(), ids=lambda kind: kind.__name__)
def test_a_stranger_reads_them_with_plain_msgpack(kind: type[Message]) -> None:
    read = msgpack.unpackb(bytes.fromhex(_golden()[kind.__name__]))
    expected = json.loads(msgspec.json.encode(example(kind)))
    assert read == expected | {"bufs": [3, 0]}
    assert read["v"] == wire.WIRE_VERSION
    assert read["t"] == kind.__struct_config__.tag


@pytest.mark.parametrize("kind", concrete_types(), ids=lambda kind: kind.__name__)
def test_golden_bytes_are_understood(kind: type[Message]) -> None:
    message, buffers = wire.unpack([bytes.fromhex(_golden()[kind.__name__]), *BUFFERS])
    expected = example(kind)
    expected.bufs = [3, 0]
    assert message == expected
    assert [bytes(b) for b in buffers] == BUFFERS


def test_tags_are_unique() -> None:
    tags = [kind.__struct_config__.tag for kind in concrete_types()]
    assert len(set(tags)) == len(tags)


def _good() -> list[Any]:
    return [_pack(concrete_types()[0]), *BUFFERS]


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [b"\xc1", *BUFFERS],
        [msgpack.packb([1]), *BUFFERS],
        [msgpack.packb({"t": "no-such-type", "v": 1, "bufs": []})],
        [bytes(wire.HEADER_LIMIT + 1)],
        _good()[:-1],
        [*_good(), b"more"],
        [_good()[0][:-1], *BUFFERS],
    ],
    ids=["nothing", "empty", "reserved", "list", "unknown", "huge", "fewer", "more", "cut"],
)
def test_what_is_no_message_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(wire.WireError):
        wire.unpack(frames)


def test_another_wire_version_is_refused() -> None:
    header = msgpack.unpackb(_good()[0]) | {"v": wire.WIRE_VERSION + 1}
    with pytest.raises(wire.WireError, match=str(wire.WIRE_VERSION + 1)):
        wire.unpack([msgpack.packb(header), *BUFFERS])


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({kind.__name__: _pack(kind).hex() for kind in concrete_types()}, indent=1) + "\n")
