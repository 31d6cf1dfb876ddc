"""What a key of the sockets or a token of HTTP may do: one table of operations, for broker and gateway. Pure."""

from __future__ import annotations

from typing import NamedTuple

SCOPES = ("watch", "talk", "control", "operate")
"""Each has all that those before it have."""
OPERATE = SCOPES[-1]


class Need(NamedTuple):
    """What an operation needs.

    Attributes:
        scope: the least that a caller must have.
        of_session: it concerns one session, so that a token of that session can be enough.
    """

    scope: str
    of_session: bool = False


OPERATIONS = {
    **dict.fromkeys(("health", "status", "initialize"), Need("watch")),
    **dict.fromkeys(("segments", "events"), Need("watch", of_session=True)),
    **dict.fromkeys(("audio", "say", "chat", "interrupt", "played", "keep_alive"), Need("talk", of_session=True)),
    **dict.fromkeys(("start_session", "list_templates", "list_voices"), Need("control")),
    **dict.fromkeys(("update_session", "end_session", "process_segment"), Need("control", of_session=True)),
    **dict.fromkeys(
        ("preprocess_template", "delete_template", "drain", "drain_instance", "resume_instance"), Need(OPERATE)
    ),
}
"""Every operation of the protocol."""


def level(scope: str) -> int:
    """How far up a scope stands.

    Raises:
        ValueError: there is no such scope.
    """
    return SCOPES.index(scope)


def needed(op: str) -> str:
    """The scope of a key for this operation; the highest for one that is not in the table."""
    return OPERATIONS.get(op, Need(OPERATE)).scope


def needed_of_session(op: str) -> str:
    """The scope of a session's token for this operation; the highest for what concerns more than its session."""
    need = OPERATIONS.get(op, Need(OPERATE))
    return need.scope if need.of_session else OPERATE


def highest(scopes: str) -> int:
    """The level of a list such as "watch,talk".

    Raises:
        ValueError: it names none, or one that does not exist.
    """
    return max(level(one.strip()) for one in scopes.split(","))


def up_to(highest_level: int) -> tuple[str, ...]:
    """All scopes that this level has."""
    return SCOPES[: highest_level + 1]
