"""Reading back what was published: ``segments``, ``events``."""

from __future__ import annotations

from broker.control.admission import READ_BACK_BYTES
from broker.control.requests import Events, Segments
from broker.control.server import Operations, Request
from broker.sessions.registry import Sessions


class ReadBackHandlers:
    """What the rings of a session still hold, also a short while after its end."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @property
    def operations(self) -> Operations:
        """By name."""
        return {"segments": (Segments, self.segments), "events": (Events, self.events)}

    def segments(self, request: Request, args: Segments) -> None:
        """Media that was published."""
        channel = self._sessions.channel(args.session_id)
        kept = channel.media.read(args.from_seq, args.max, READ_BACK_BYTES)
        newest = channel.media.newest
        at_newest = newest is None or args.from_seq > newest or (bool(kept) and kept[-1].number == newest)
        request.reply(
            init=channel.init,
            segments=[[k.header, k.payload] for k in kept],
            oldest_seq=channel.media.oldest,
            newest_seq=newest,
            end=channel.ended and at_newest,
        )

    def events(self, request: Request, args: Events) -> None:
        """Events that were published."""
        channel = self._sessions.channel(args.session_id)
        kept = channel.events.read(args.from_n, args.max, READ_BACK_BYTES)
        request.reply(
            events=[k.header for k in kept], oldest_n=channel.events.oldest, newest_n=channel.events.newest
        )
