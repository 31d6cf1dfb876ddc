"""Standard input said while it comes, such as a language model in a pipe writes it."""

from __future__ import annotations

import codecs
import os
import select
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from clients.cli.common import CommandError
from clients.client import Client, NoDaemonError, RequestError

PIECE_BYTES = 4096
KEEP_S = 4.0
"""So often an empty piece keeps the turn open: it ends 10 s after the newest one."""
LOOK_S = 0.5
"""So often before the first words the session is kept open, which tells as well when the daemon is gone."""


class Pieces:
    """One turn whose text is standard input; a thread with a client of its own sends it on.

    Args:
        connect: makes that client.
        session_id: who says it.
    """

    def __init__(self, connect: Callable[[], Client], session_id: str) -> None:
        self._connect = connect
        self._session_id = session_id
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._send, name="pieces")
        self._turn = 0
        self.failure: RequestError | None = None
        """Why not all of it was taken."""

    def __enter__(self) -> Pieces:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        os.close(self._stopped)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._stop)

    def begin(self, client: Client) -> int:
        """Wait for the first words and say them; returns the turn.

        Raises:
            CommandError: there are none.
            RequestError, NoDaemonError: see ``Client``.
        """
        text = ""
        while not text.strip():
            if not select.select([sys.stdin.fileno()], [], [], LOOK_S)[0]:
                client.request("keep_alive", session_id=self._session_id)
                continue
            read = os.read(sys.stdin.fileno(), PIECE_BYTES)
            text += self._decode(read, final=not read)
            if not read and not text.strip():
                raise CommandError("standard input ended without a word to say")
        reply = client.request("say", session_id=self._session_id, text=text, append=True)
        self._turn = int(reply["turn"])
        self._thread.start()
        return self._turn

    def _send(self) -> None:
        try:
            with self._connect() as client:
                while self._next(client):
                    pass
        except RequestError as error:
            if error.code != "NOT_FOUND":  # the turn was cut: whoever watches it knows
                self.failure = error
        except NoDaemonError:
            pass  # the same

    def _next(self, client: Client) -> bool:
        """Send what has come; False when that was all."""
        ready = select.select([sys.stdin.fileno(), self._stop], [], [], KEEP_S)[0]
        if self._stop in ready:
            return False
        read = os.read(sys.stdin.fileno(), PIECE_BYTES) if ready else None
        text = "" if read is None else self._decode(read, final=not read)
        end = read == b""
        client.request("say", session_id=self._session_id, turn=self._turn, text=text, append=True, end=end)
        return read != b""
