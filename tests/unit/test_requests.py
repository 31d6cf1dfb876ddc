"""Requests: checked before anything is built of them, refused with the contract's codes."""

import tracemalloc
from typing import Any

import msgpack
import pytest

from broker.control.requests import (
    ProcessSegment,
    Segments,
    StartSession,
    Text,
    arguments,
    operation,
    read_envelope,
    request_id,
)
from broker.errors import ControlError


def pack(**values: Any) -> bytes:
    return bytes(msgpack.packb(values))


def test_an_id_of_other_characters_is_told_which_there_may_be() -> None:
    with pytest.raises(ControlError) as error:
        arguments(pack(session_id="a b", text="x"), Text)
    assert error.value.message == (
        "Expected 1 to 64 letters (A to Z, a to z), digits, '-' and '_' - at `session_id`"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        pack(v=1)[:-1],
        msgpack.packb([1, 2]),
        msgpack.packb(7),
        b"\x91" * 100_000,
        b"\x81\x01\x02",
    ],
)
def test_what_is_not_one_map_is_invalid(body: bytes) -> None:
    with pytest.raises(ControlError) as error:
        read_envelope(body)
    assert error.value.code == "INVALID_ARGUMENT"
    assert error.value.message


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (pack(id=1, op="health"), "INVALID_ARGUMENT"),
        (pack(v=2, id=1, op="health"), "UNSUPPORTED"),
        (pack(v="1", id=1, op="health"), "UNSUPPORTED"),
        (pack(v=True, id=1, op="health"), "UNSUPPORTED"),
        (pack(v=1, op="health"), "INVALID_ARGUMENT"),
        (pack(v=1, id=True, op="health"), "INVALID_ARGUMENT"),
        (pack(v=1, id=[1], op="health"), "INVALID_ARGUMENT"),
        (pack(v=1, id="x" * 5000, op="health"), "INVALID_ARGUMENT"),
        (pack(v=1, id=1), "INVALID_ARGUMENT"),
        (pack(v=1, id=1, op=7), "INVALID_ARGUMENT"),
    ],
)
def test_envelopes_that_break_a_rule(body: bytes, code: str) -> None:
    with pytest.raises(ControlError) as error:
        operation(read_envelope(body))
    assert error.value.code == code


def test_the_id_is_known_even_when_the_rest_is_wrong() -> None:
    assert request_id(read_envelope(pack(id="a", v=9))) == "a"
    assert request_id(read_envelope(pack(id=None))) is None


def test_a_hostile_request_costs_no_more_than_reading_it() -> None:
    empties = b"\xdd" + (4_000_000).to_bytes(4, "big") + b"\x90" * 4_000_000
    body = b"\x84" + msgpack.packb("junk") + empties + msgpack.packb("v") + b"\x01" + msgpack.packb("id") + b"\x05"
    body += msgpack.packb("op") + msgpack.packb("health")
    tracemalloc.start()
    try:
        assert request_id(read_envelope(body)) == 5
        assert operation(read_envelope(body)) == "health"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20, "four million values must not be built"
    finally:
        tracemalloc.stop()


def test_arguments_are_typed_unknown_keys_are_ignored_and_errors_name_the_argument() -> None:
    args = arguments(pack(v=1, id=1, op="say", session_id="s", text="hi", colour="red"), Text)
    assert args.text == "hi"
    for body, kind, name in (
        (pack(session_id="s"), Text, "text"),
        (pack(session_id="a/b", text=""), Text, "session_id"),
        (pack(session_id="x" * 65, text=""), Text, "session_id"),
        (pack(session_id="s", text=b"raw"), Text, "text"),
        (pack(session_id="s", from_seq=-1), Segments, "from_seq"),
        (pack(mode="later"), StartSession, "mode"),
        (pack(system_prompt="x" * 64_001), StartSession, "system_prompt"),
    ):
        with pytest.raises(ControlError) as error:
            arguments(body, kind)
        assert error.value.code == "INVALID_ARGUMENT"
        assert name in error.value.message


@pytest.mark.parametrize(
    ("body", "kind", "values"),
    [
        (pack(mode="later"), StartSession, ["'realtime'", "'offline'"]),
        (pack(quality="at `$.x`\n"), StartSession, ["'high'", "'lossless'", "'fast'", "'max'"]),
        (pack(session_id="s", audio=b"", format="mp3"), ProcessSegment, ["'s16le'"]),
    ],
)
def test_a_value_outside_a_closed_set_is_told_the_set(body: bytes, kind: Any, values: list[str]) -> None:
    with pytest.raises(ControlError) as error:
        arguments(body, kind)
    assert [v for v in values if v not in error.value.message] == []


def test_an_id_that_is_too_long_is_told_the_limit() -> None:
    operation(read_envelope(pack(v=1, id="x" * 1000, op="health")))
    with pytest.raises(ControlError, match="1024"):
        operation(read_envelope(pack(v=1, id="x" * 1024, op="health")))
