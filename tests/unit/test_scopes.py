"""Who may do what: one table of operations for the keys of the sockets and the tokens of HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from broker.access.keyring import Keyring
from broker.control.admission import Admission
from broker.control.daemon import DaemonHandlers
from broker.control.microphone import MicrophoneHandlers
from broker.control.readback import ReadBackHandlers
from broker.control.sessions import SessionHandlers
from broker.control.templates import TemplateHandlers
from broker.control.turns import TurnHandlers
from broker.errors import ControlError
from configs import keys, scopes
from configs.schema import Config

HANDLERS = (
    DaemonHandlers, MicrophoneHandlers, ReadBackHandlers, SessionHandlers, TemplateHandlers, TurnHandlers,
)  # fmt: skip
BY_SCOPE = {
    "watch": {"health", "status", "initialize", "segments", "events"},
    "talk": {"audio", "say", "chat", "interrupt", "played", "keep_alive"},
    "control": {
        "start_session", "update_session", "end_session", "process_segment", "list_templates", "list_voices",
    },
    "operate": {"preprocess_template", "delete_template", "drain", "drain_instance", "resume_instance"},
}  # fmt: skip


def operations() -> set[str]:
    """All that the broker knows."""
    return {op for kind in HANDLERS for op in cast(Any, object.__new__(kind)).operations}


def test_each_operation_of_the_broker_stands_in_the_table_and_no_other_does() -> None:
    assert operations() == set(scopes.OPERATIONS)


def test_the_table_is_that_of_the_protocol() -> None:
    assert {scope: {op for op in scopes.OPERATIONS if scopes.needed(op) == scope} for scope in scopes.SCOPES} == (
        BY_SCOPE
    )
    assert scopes.needed("dance") == "operate"


def test_a_token_of_a_session_reaches_nothing_beyond_its_session() -> None:
    of_session = {op for op, need in scopes.OPERATIONS.items() if need.of_session}
    assert of_session == BY_SCOPE["talk"] | {
        "segments", "events", "update_session", "end_session", "process_segment",
    }  # fmt: skip
    for op in operations() | {"dance"}:
        assert scopes.needed_of_session(op) == (scopes.needed(op) if op in of_session else "operate")


@pytest.mark.parametrize("scope", scopes.SCOPES)
def test_a_key_may_what_its_scope_and_those_before_it_may(tmp_path: Path, scope: str) -> None:
    made = keys.make(tmp_path / "clients", "anna", scope=scopes.level(scope))
    ring = Keyring("own", str(tmp_path / "clients"))
    admission = Admission(Config(), cast(Any, None), cast(Any, None), ring)
    allowed = {op for one in scopes.up_to(scopes.level(scope)) for op in BY_SCOPE[one]}
    for op in operations():
        admission.operation("own", op)
        if op in allowed:
            admission.operation(made.public, op)
            continue
        with pytest.raises(ControlError) as caught:
            admission.operation(made.public, op)
        needed = scopes.needed(op)
        assert caught.value.code == "UNAUTHENTICATED"
        assert f"needs the scope {needed}, and the key 'anna' has watch" in caught.value.message
        assert f"`musecast keys new NAME --scope {needed}`" in caught.value.message


@pytest.mark.parametrize("key", [None, "somebody's"])
def test_a_key_that_is_not_listed_any_more_may_nothing(tmp_path: Path, key: str | None) -> None:
    admission = Admission(Config(), cast(Any, None), cast(Any, None), Keyring("own", str(tmp_path)))
    with pytest.raises(ControlError, match="musecast keys new NAME"):
        admission.operation(key, "health")


def test_without_keys_everybody_may_everything() -> None:
    admission = Admission(Config(), cast(Any, None), cast(Any, None))
    for op in operations():
        admission.operation(None, op)
