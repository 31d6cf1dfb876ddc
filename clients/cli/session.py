"""A session for the length of a ``with`` block, followed from its first event."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clients.client import Client, DaemonGoneError, NoDaemonError, RequestError, new_session_id
from clients.follower import Follower


@dataclass(frozen=True, slots=True)
class Session:
    """One's own session: what ``start_session`` answered, and everything that happens in it."""

    id: str
    client: Client
    follower: Follower
    started: dict[str, Any]

    def request(self, op: str, **arguments: Any) -> dict[str, Any]:
        """A request about this session."""
        return self.client.request(op, session_id=self.id, **arguments)


@contextlib.contextmanager
def own_session(client: Client, **arguments: Any) -> Iterator[Session]:
    """Start a session and end it with the block; what still speaks then is cut."""
    sid = new_session_id()
    follower = client.follow(sid).from_start()
    started = client.request("start_session", session_id=sid, **arguments)
    gone = False
    try:
        yield Session(sid, client, follower, started)
    except DaemonGoneError:
        gone = True
        raise
    finally:
        if not gone:
            with contextlib.suppress(RequestError, NoDaemonError):
                client.request("end_session", session_id=sid, drain=False, timeout_s=5.0)
        follower.close()
