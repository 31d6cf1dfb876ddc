"""The stages: one table of what each is, for whoever starts, runs, watches or places them. Imports no stage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageKind:
    """What is fixed about a stage; what can be set of it is ``schema.Stages``."""

    factory: str
    """``module:Class``, imported only in the process that runs it."""
    engines: str = ""
    """The kind of engine that it loads, a key of ``engines``; "": none."""
    on_demand: bool = False
    """Started when the broker asks; the daemon is ready without it, and it may end when idle."""
    stands_in_for: str = ""
    """The stage whose items it takes over. That one may then be given up: it costs quality, not the daemon."""
    whole_items: bool = False
    """Only the end of an item lets a turn go on, not each of its outputs."""
    every_gpu: bool = False
    """``devices: auto`` starts a process for each GPU; the other stages take the first."""
    one_thread: str = ""
    """Why ``concurrency`` has to be 1; "": it need not be."""

    @property
    def required(self) -> bool:
        """Whether the daemon needs it to be ready."""
        return not self.on_demand and not self.stands_in_for


STAGES: dict[str, StageKind] = {
    "encode": StageKind("stages.encode:EncodeStage", whole_items=True),
    "lipsync": StageKind("stages.lipsync:LipsyncStage", "lipsync", whole_items=True, every_gpu=True),
    "fallback": StageKind("stages.lipsync:FallbackStage", "lipsync", stands_in_for="lipsync", whole_items=True),
    "tts": StageKind("stages.tts:TtsStage", "tts"),
    "llm": StageKind("stages.llm:LlmStage", "llm"),
    "asr": StageKind("stages.asr:AsrStage", "asr", one_thread="hearing holds all its streams in one thread"),
    "prepare": StageKind("stages.prepare:PrepareStage", on_demand=True),
}
"""By name, in the order of start: downstream first."""

REQUIRED = tuple(name for name, kind in STAGES.items() if kind.required)
OPTIONAL = frozenset(STAGES) - frozenset(REQUIRED)
"""Stages whose loss never ends the daemon."""
ON_DEMAND = frozenset(name for name, kind in STAGES.items() if kind.on_demand)
GATEWAY = "gateway"
"""The process of HTTP and WebSocket: no stage, and no worker of the broker."""
STAND_INS = {kind.stands_in_for: name for name, kind in STAGES.items() if kind.stands_in_for}
"""Stage -> what stands in for it."""
