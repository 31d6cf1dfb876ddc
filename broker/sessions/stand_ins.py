"""Which engines of chains stand in for others, as a session's listeners are told: pure."""

from __future__ import annotations

from broker.stream.events import Degraded, Recovered


class StandIns:
    """By stage, the engine that stands in for one of those before it in its chain."""

    def __init__(self) -> None:
        self._engines: dict[str, str] = {}

    def served(self, stage: str, engine: str, reason: str) -> Degraded | Recovered | None:
        """An item is done by this engine; returns the event that tells of a change.

        Args:
            stage: "asr", "llm" or "tts".
            engine: whose item it is.
            reason: why it was not an earlier engine's; "" when it is this one's turn.
        """
        before = self._engines.get(stage)
        if reason and engine != before:
            self._engines[stage] = engine
            return Degraded("fallback", stage, reason, engine)
        if not reason and before is not None:
            del self._engines[stage]
            return Recovered(stage, engine)
        return None
