"""What a client asked for with ``start_session``; ``update_session`` puts another one in its place."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from broker.ipc.messages import TemplateRef


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How a session looks, sounds and behaves."""

    template: TemplateRef
    mode: str = "realtime"
    """ "realtime" or "offline" (no clock: as fast as the stages can)."""
    voice: str = ""
    language: str = ""
    quality: str = "high"
    barge_in: bool = True
    system_prompt: str = ""
    loop_frames: int = 0
    """Length of the template's loop when idle video is wanted, else 0."""
    idle_timeout_s: float = 600.0
    """Without a request for so long it expires."""
    ends_at: int | None = None
    """Monotonic microseconds when it expires, whatever happens; None: never."""
    cut_margin_ms: int = 40
    """A cut lies at least so far ahead of the clock."""
    record: bool = False
    """Whether the gateway keeps a film of it."""
    owner: str = ""
    """The client that started it: its key, else its connection."""

    def pack(self) -> bytes:
        """For a broker that goes on with the session."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def unpack(cls, packed: bytes) -> SessionSettings:
        """Raises ``msgspec.MsgspecError``."""
        return msgspec.msgpack.decode(packed, type=cls)

    @property
    def paced(self) -> bool:
        """Whether media is published by a clock."""
        return self.mode == "realtime"

    @property
    def exact(self) -> bool:
        """Features of whole passages, and nothing stands in for what lip-sync cannot make."""
        return self.quality == "max"

    @property
    def loops(self) -> bool:
        """Whether idle video fills what the turns leave; without a clock there is nothing to fill."""
        return self.paced and self.loop_frames > 0
