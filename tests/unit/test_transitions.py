"""A turn and a segment go only the ways that their tables name, and nobody but their owner sends them there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from broker.errors import ErrorCode
from broker.sessions import segment as segments
from broker.sessions import turn as turns
from broker.sessions.segment import Segment, SegmentState
from broker.sessions.turn import OVER, TurnState
from tests.support.floor import S16_48K, Floor

SESSIONS = Path(__file__).resolve().parents[2] / "broker" / "sessions"


@pytest.mark.parametrize("states", [TurnState, SegmentState])
def test_every_state_has_its_ways(states: type[TurnState] | type[SegmentState]) -> None:
    table = {TurnState: turns.TRANSITIONS, SegmentState: segments.TRANSITIONS}[states]
    assert set(table) == set(states)
    reached = {to for ways in table.values() for to in ways}
    assert set(states) - reached <= {TurnState.LISTENING}


def test_what_is_over_stays_over() -> None:
    assert all(not turns.TRANSITIONS[state] for state in OVER)
    assert not segments.TRANSITIONS[SegmentState.VOID]
    assert not segments.TRANSITIONS[SegmentState.PUBLISHED]


@pytest.mark.parametrize("state", SegmentState)
def test_a_segment_refuses_every_other_way(state: SegmentState) -> None:
    for to in set(SegmentState) - segments.TRANSITIONS[state]:
        segment = Segment(0, 0, 1, 0)
        segment._state = state
        with pytest.raises(RuntimeError, match=f"{state.value} to {to.value}"):
            segment.enter(to)
        assert segment.state is state


def test_a_turn_begins_once_and_ends_once() -> None:
    floor = Floor()
    session = floor.session()
    turn = session.new_turn("say", floor.time, "Hello.")
    assert turn.state is TurnState.WAITING
    floor.run(floor.time + 20_000)
    assert turn.state is TurnState.RUNNING
    with pytest.raises(RuntimeError, match="running to running"):
        turn.begin()
    with pytest.raises(RuntimeError, match="running to waiting"):
        turn.understood("too late")
    floor.run(floor.time + 20_000_000)
    assert turn.state is TurnState.ENDED
    turn.fail(ErrorCode.FAILED, "too late")
    turn.interrupt(0, "client")
    assert turn.state is TurnState.ENDED
    assert turn.failure is None
    assert [e["event"] for e in floor.events()][-1] == "turn.ended"


@pytest.mark.parametrize("stage", ["llm", "tts", "lipsync", "encode"])
def test_a_turn_that_is_cut_leaves_nothing_in_the_ledger(stage: str) -> None:
    floor = Floor()
    floor.delay_us[stage] = None
    session = floor.session()
    session.new_turn("chat", floor.time, "Well?")
    session.new_turn("say", floor.time, "One. Two. Three.")
    floor.run(floor.time + 1_000_000)
    assert stage in floor.ledger.backlog()
    session.interrupt("client")
    assert floor.ledger.backlog() == {}


def test_a_clients_audio_that_is_cut_leaves_nothing_in_the_ledger() -> None:
    floor = Floor()
    floor.delay_us["tts"] = None
    session = floor.session()
    session.feed(S16_48K, memoryview(bytes(2 * 480_000)), last=True)
    floor.run(floor.time + 1_000_000)
    assert "tts" in floor.ledger.backlog()
    session.interrupt("client")
    assert floor.ledger.backlog() == {}


def test_states_are_assigned_by_their_owners_alone() -> None:
    """Of segments the renderer, of a turn the turn itself."""
    found = set()
    for path in SESSIONS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("enter", "_enter"):
                found.add((path.name, node.attr))
            if isinstance(node, ast.Attribute) and node.attr == "_state" and isinstance(node.ctx, ast.Store):
                found.add((path.name, "_state"))
    assert found == {
        ("renderer.py", "enter"),
        ("segment.py", "_state"),
        ("turn.py", "_enter"),
        ("turn.py", "_state"),
    }
