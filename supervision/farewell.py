"""The end of a broker that could not end its sessions: a last one does it in its place."""

from __future__ import annotations

import os

from supervision.place import JOURNAL_NAME

LAST_WORDS = "--last-words"
"""Told to a broker that only ends the sessions that another one has left."""
ATTEMPTS = 2


class Farewell:
    """How the sessions of a daemon that stops have ended.

    Args:
        runtime_dir: where a broker leaves them.
    """

    def __init__(self, runtime_dir: str) -> None:
        self._folder = os.path.join(runtime_dir, JOURNAL_NAME)
        self._attempts = ATTEMPTS
        self.failed = False
        """The last broker did not end in order: who listens has not been told the end of every session."""

    def another(self) -> bool:
        """Whether one more broker is to be started for sessions that are left."""
        if not self._attempts or not self.failed:
            return False
        self._attempts -= 1
        return True

    def ended(self, code: int | None) -> None:
        """A broker has ended while the daemon stops; None: there was none when it began to."""
        self.failed = code != 0 and self._left()

    def _left(self) -> bool:
        try:
            return bool(os.listdir(self._folder))
        except OSError:
            return False
