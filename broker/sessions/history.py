"""What has been said in a session, for the language model. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from broker.ipc.messages import Line

CHARS_MAX = 64_000
"""Bound of all lines together, beside their number."""


class History:
    """The newest lines of a conversation.

    Args:
        messages: lines that are kept at most.
        changed: told of all lines when there is another one.
    """

    def __init__(self, messages: int, changed: Callable[[list[Line]], None] = lambda lines: None) -> None:
        self._messages = messages
        self._changed = changed
        self._lines: deque[Line] = deque()

    def restore(self, lines: Sequence[tuple[str, str]]) -> None:
        """Begin with these lines, as (role, content)."""
        self._lines = deque(Line(role, content) for role, content in lines)

    def add(self, role: str, text: str) -> None:
        """Add a line, forgetting the oldest ones above the bounds; the newest one stays, however long."""
        self._lines.append(Line(role, text))
        while len(self._lines) > self._messages or (
            len(self._lines) > 1 and sum(len(line.content) for line in self._lines) > CHARS_MAX
        ):
            self._lines.popleft()
        self._changed([*self._lines])

    def lines(self, system_prompt: str = "") -> list[Line]:
        """What a language model is given, after its instructions."""
        system = [Line("system", system_prompt)] if system_prompt else []
        return [*system, *self._lines]

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self._lines.clear()
