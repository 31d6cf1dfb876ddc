"""The public stream: topics, headers, init for joiners, rings.

``seq`` and ``n`` are handed in, and the state that holds with them: ``sessions.output`` decides them. All of it is
written to the journal before it is sent.

Runs in the broker's loop; the one writer of the XPUB socket. PUB/SUB is at most once: what a slow subscriber
loses stays in the ring for ``segments`` and ``events``.
"""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass
from typing import Any

import msgspec
import zmq

from broker.ipc.faults import Faults
from broker.ipc.sockets import send_now
from broker.journal.journal import Found, Journal, Store
from broker.journal.ring import Ring
from broker.journal.state import State
from broker.stream.events import Beacon, Event, TemplateProgress
from broker.stream.joiners import Joiners
from configs.trace import trace_of
from models.meter import Meter

PUBLIC_VERSION = 1
INIT_PERIOD_S = 1.0
"""A session's ``init`` goes to all subscribers at most so often, but for one that media must not overtake."""
JOURNALED, PUBLISHED = "journaled", "published"
"""Fault points: written and not sent; sent."""
_encode = msgspec.msgpack.Encoder().encode


@dataclass(slots=True, eq=False)
class Channel:
    """What is kept of one session's output; outlives the session by ``ring.keep_s``."""

    sid: str
    init: bytes
    mime: str
    store: Store
    gen: int = 0
    ended: bool = False
    init_sent: float = 0.0
    """Monotonic seconds; when all subscribers were last sent the ``init``."""
    init_owed: bool = False
    """Someone joined since: ``init`` goes out before the next media."""

    @property
    def media(self) -> Ring:
        """Published segments."""
        return self.store.media

    @property
    def events(self) -> Ring:
        """Published events."""
        return self.store.events


class Publisher:
    """Writes the stream.

    Args:
        faults: points for the tests.
        meter: times ``journal``, one message's writes.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        boot: str,
        joiners: Joiners,
        journal: Journal,
        faults: Faults | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._socket = socket
        self._joiners = joiners
        self._boot = boot
        self._journal = journal
        self._passing = (faults or Faults("", "", 0, {})).passing
        self._meter = meter or Meter()
        self._channels: dict[str, Channel] = {}

    def open(self, sid: str, init: bytes, mime: str, settings: bytes = b"") -> Channel:
        """Begin a session's output: rings, and ``init`` for those who subscribed early.

        Args:
            settings: what a successor is told of the session.
        """
        channel = self._channels[sid] = Channel(sid, init, mime, self._journal.open(sid, init, mime, settings))
        self._send_init(channel)
        return channel

    def adopt(self, found: Found) -> Channel:
        """Go on with the output of a session that another broker has served; ``init`` goes to who joins again."""
        cold, state = found.cold, found.state
        channel = Channel(cold.sid, cold.init, cold.mime, found.store, state.gen, state.ended_at is not None)
        self._channels[cold.sid] = channel
        return channel

    def close(self, channel: Channel) -> None:
        """Forget a session's output, and let its memory go whoever still holds the channel."""
        self._channels.pop(channel.sid, None)
        self._journal.close(channel.store)

    def find(self, sid: str) -> Channel | None:
        """The output of a session that lives or has ended a short while ago."""
        return self._channels.get(sid)

    def trace(self, turn: str) -> str:
        """The trace id of a turn, by its name: the one that log lines about it carry."""
        return trace_of(self._boot, turn) or ""

    # --- media ---

    def _media_header(self, channel: Channel, kind: str, payload: bytes, **fields: Any) -> bytes:
        header: dict[str, Any] = {"v": PUBLIC_VERSION, "boot": self._boot, "sid": channel.sid, "kind": kind}
        header |= {"gen": channel.gen, "turn": 0, "seq": None, "pts": 0, "dur": 0, "frames": 0}
        header |= fields
        header |= {"mime": channel.mime, "crc32": zlib.crc32(payload)}
        header.setdefault("degraded", None)
        header["sent_ns"] = time.time_ns()
        return _encode(header)

    def _send_init(self, channel: Channel) -> None:
        """To every subscriber of the session."""
        channel.init_sent, channel.init_owed = time.monotonic(), False
        self._write_init(channel)

    def _write_init(self, channel: Channel) -> None:
        header = self._media_header(channel, "init", channel.init, last=False)
        send_now(self._socket, [f"seg.{channel.sid}.".encode(), header, channel.init])

    def media(self, channel: Channel, seq: int, payload: bytes, state: State, **fields: Any) -> None:
        """Publish one media segment and keep it; ``state`` is the session's that holds with it."""
        if channel.init_owed:
            self._send_init(channel)
        header = self._media_header(channel, "media", payload, seq=seq, **fields)
        with self._meter.timed("journal"):
            channel.store.keep(channel.store.media, seq, header, payload)
            channel.store.save(state)
        self._passing(JOURNALED, channel.sid)
        send_now(self._socket, [f"seg.{channel.sid}.".encode(), header, payload], copy=False)
        self._passing(PUBLISHED, channel.sid)

    # --- events ---

    def event(
        self, channel: Channel, n: int, event: Event, state: State, turn: int = 0, *, pts: int | None = None
    ) -> None:
        """Publish the session's event number ``n`` and keep it, with the session's state that holds with it.

        Args:
            turn: 0: it belongs to none.
        """
        header: dict[str, Any] = {"v": PUBLIC_VERSION, "boot": self._boot, "sid": channel.sid, "n": n}
        header |= {"event": event.name, "turn": turn}
        if pts is not None:
            header["pts"] = pts
        header["data"] = event
        packed = _encode(header)
        with self._meter.timed("journal"):
            channel.store.keep(channel.store.events, n, packed, b"")
            channel.store.save(state)
        self._passing(JOURNALED, channel.sid)
        send_now(self._socket, [f"evt.{channel.sid}.".encode(), packed, b""])
        self._passing(PUBLISHED, channel.sid)

    def template(self, progress: TemplateProgress) -> None:
        """Tell of a preparation."""
        self._to_all(f"tpl.{progress.template_id}.", progress)

    def beacon(self, beacon: Beacon) -> None:
        """Once a second is right."""
        self._to_all("sys.", beacon)

    def _to_all(self, topic: str, message: TemplateProgress | Beacon) -> None:
        header = {"v": PUBLIC_VERSION, "boot": self._boot, **msgspec.structs.asdict(message)}
        send_now(self._socket, [topic.encode(), _encode(header), b""])

    # --- subscribers ---

    def joined(self, topic: bytes) -> None:
        """Someone has subscribed to ``topic``: nobody sees media before the ``init``.

        A joiner of one session gets it alone. libzmq singles out one message only, so who joins several
        sessions has theirs sent to all, now or, within ``INIT_PERIOD_S`` of the last time, before the next media.
        """
        covered = self._covered(topic)
        if len(covered) == 1 and self._joiners.can_single_out:
            with self._joiners.only_the_last():
                self._write_init(covered[0])
            return
        now = time.monotonic()
        for channel in covered:
            if now - channel.init_sent >= INIT_PERIOD_S:
                self._send_init(channel)
            else:
                channel.init_owed = True

    def _covered(self, topic: bytes) -> list[Channel]:
        """Sessions whose media begins with ``topic``."""
        if topic.startswith(b"seg.") and topic.endswith(b".") and topic != b"seg.":
            channel = self._channels.get(topic[4:-1].decode(errors="replace"))
            return [channel] if channel is not None and not channel.ended else []
        live = (c for c in self._channels.values() if not c.ended)
        return [c for c in live if f"seg.{c.sid}.".encode().startswith(topic)]

    def pay_inits(self) -> None:
        """Send the ``init`` to joiners that no media has come for; once a second is right."""
        now = time.monotonic()
        for channel in self._channels.values():
            if channel.init_owed and now - channel.init_sent >= INIT_PERIOD_S:
                self._send_init(channel)
