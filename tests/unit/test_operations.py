"""The operations: those of the protocol's table, each with a handler, a scope and its arguments told."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from broker.control.daemon import DaemonHandlers
from broker.control.microphone import MicrophoneHandlers
from broker.control.readback import ReadBackHandlers
from broker.control.requests import Arguments
from broker.control.sessions import SessionHandlers
from broker.control.templates import TemplateHandlers
from broker.control.turns import TurnHandlers
from configs.scopes import OPERATIONS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text("utf-8")
HANDLERS = (DaemonHandlers, MicrophoneHandlers, ReadBackHandlers, SessionHandlers, TemplateHandlers, TurnHandlers)
HANDLED: dict[str, type[Arguments]] = {
    op: arguments for kind in HANDLERS for op, (arguments, _) in kind.__new__(kind).operations.items()
}


def rows() -> dict[str, str]:
    """Operation to its row in the protocol's table."""
    table = re.search(r"\| op \| arguments .*?\|---\|---\|---\|\n(.*?)\n\n", PAGE, re.DOTALL)
    assert table is not None
    return {line.split("`")[1]: line for line in table[1].splitlines()}


def test_each_has_a_row_a_handler_and_a_scope() -> None:
    assert sorted(rows()) == sorted(HANDLED) == sorted(OPERATIONS)


@pytest.mark.parametrize("op", HANDLED)
def test_the_protocol_tells_every_argument(op: str) -> None:
    told = rows()[op].split("|")[2]
    for field in msgspec.structs.fields(HANDLED[op]):
        assert re.search(rf"`{field.encode_name}[`:]", told), field.encode_name
