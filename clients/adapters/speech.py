"""Which turns of the daemon a framework's pieces of speech have become, and when each of them is over. Pure.

A framework sends one piece of speech after another (LiveKit: a segment; Pipecat: what lies between two TTS
frames) and waits for the end of each, exactly once. Usually a piece is one turn. It is several where the daemon
was restarted in its middle, and none where the daemon was away.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Piece:
    """What the framework says from one end to the next."""

    turns: set[int] = field(default_factory=set)
    """That are under way: accepted and not yet shown to their end."""
    closed: bool = False
    """The framework has said that this was all."""
    cut: bool = False
    """The framework has interrupted it, and expects no end of it any more."""
    refused: bool = False
    """Some of it was not taken."""


class Speech:
    """The pieces that are under way, in order."""

    def __init__(self) -> None:
        self.open: Piece | None = None
        """More of it follows."""
        self.newest = 0
        """The newest turn of the daemon's session that is known."""
        self._pieces: deque[Piece] = deque()
        self._terminal = 0
        self._losses = 0

    @property
    def busy(self) -> bool:
        """Whether an end is still to be told."""
        return bool(self._pieces)

    def piece(self) -> Piece:
        """That the next sound belongs to."""
        if self.open is None:
            self.open = Piece()
            self._pieces.append(self.open)
        return self.open

    def accepted(self, piece: Piece, turn: int) -> None:
        """The daemon has taken sound of it, as this turn."""
        self.newest = max(self.newest, turn)
        if turn > self._terminal and not piece.cut:
            piece.turns.add(turn)

    def close(self) -> None:
        """That was all of the open piece."""
        if self.open is not None:
            self.open.closed = True
            self.open = None

    def terminal(self, turn: int) -> None:
        """The daemon has told the end of a turn, which is yet to be shown."""
        self._terminal = max(self._terminal, turn)

    def lost(self) -> int:
        """No end will be told of what is under way; instead of it stands a turn with this number, below 0."""
        self._losses += 1
        self._terminal = self.newest
        for piece in self._pieces:
            if piece.turns:
                piece.turns = {-self._losses}
        return -self._losses

    def shown(self, turn: int) -> None:
        """All of a turn has been shown."""
        for piece in self._pieces:
            piece.turns.discard(turn)

    def over(self) -> bool:
        """Whether the oldest piece is over; told once."""
        if not self._pieces or not self._pieces[0].closed or self._pieces[0].turns:
            return False
        self._pieces.popleft()
        return True

    def cut(self) -> None:
        """All of it was interrupted."""
        for piece in self._pieces:
            piece.cut = True
        self._pieces.clear()
        self.open = None

    def another_session(self) -> None:
        """Numbers begin anew."""
        self.newest = self._terminal = 0
