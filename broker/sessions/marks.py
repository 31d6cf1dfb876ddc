"""When a turn passed what: ``timings_ms`` of the protocol. Pure; monotonic microseconds in, milliseconds out."""

from __future__ import annotations

NAMES = (
    "vad_end",
    "asr_final",
    "llm_first_token",
    "llm_first_sentence",
    "tts_first_audio",
    "lipsync_first",
    "encode_first",
    "first_segment",
    "last_segment",
)


class Marks:
    """The moments of one turn.

    Args:
        t0: what they are counted from.
    """

    def __init__(self, t0: int) -> None:
        self.t0 = t0
        self._at: dict[str, int] = {}

    def first(self, name: str, now: int) -> None:
        """Note the first time that something happened."""
        self._at.setdefault(name, now)

    def timings(self) -> dict[str, int | None]:
        """Moments in ms since t0, None where the turn did not pass."""
        return {name: (self._at[name] - self.t0) // 1000 if name in self._at else None for name in NAMES}
