"""What every message has, and what a stage says of any item."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

WIRE_VERSION = 1


class Message(msgspec.Struct, kw_only=True, tag_field="t"):
    """Base of all. A type without subclasses is a concrete message; see ``concrete_types``."""

    v: int = WIRE_VERSION
    bufs: list[int] = msgspec.field(default_factory=list)
    """Byte length of each raw frame behind the header; filled by ``wire.pack``, checked by ``wire.unpack``."""


def concrete_types(base: type[Message] = Message) -> list[type[Message]]:
    """Every declared message type, in order of declaration: Python's own subclass lists are the register."""
    found: list[type[Message]] = []
    for child in base.__subclasses__():
        found += concrete_types(child) if child.__subclasses__() else [child]
    return found


class Word(NamedTuple):
    """A word or phoneme with its time in microseconds."""

    text: str
    t0_us: int
    t1_us: int


class Line(NamedTuple):
    """One entry of a conversation."""

    role: str
    content: str


class TemplateRef(NamedTuple):
    """Where a worker finds a prepared template; ``hash`` changes when its content does."""

    id: str
    path: str
    hash: str


class ArrayHead(NamedTuple):
    """Element type (numpy's name, e.g. "uint8") and shape of the array in one buffer."""

    dtype: str
    shape: list[int]


# --- stage -> broker, on ingress -------------------------------------------------------------------------


class FromStage(Message, kw_only=True):
    """Who speaks."""

    src: str
    ep: int
    broker: int = 0
    """Epoch of the broker that this answers; one of an older broker may still be in the pipe. 0: none yet."""


class Hello(FromStage, kw_only=True, tag="hello"):
    """A stage has connected, or answers a broker's greeting: who it is and which items it still holds."""

    stage: str
    pid: int
    ready: bool = False
    held: list[str] = msgspec.field(default_factory=list)


class Ready(FromStage, kw_only=True, tag="ready"):
    """Loaded and warm. ``credit`` is how much may be outstanding, in the stage's unit (frames or items)."""

    stage: str
    engine: str
    device: str
    credit: int
    load_s: float
    info: dict[str, str | int | float | bool | list[str]] = msgspec.field(default_factory=dict)


class Started(FromStage, kw_only=True, tag="started"):
    """A handler has taken this item up; a death from here to DONE counts against it."""

    id: str
    attempt: int


class Output(FromStage, kw_only=True):
    """One accepted-in-order result of an item."""

    id: str
    attempt: int
    index: int
    """0, 1, 2, ... within the attempt."""


class Done(FromStage, kw_only=True, tag="done"):
    """The item is finished; sent after its last output on the same socket."""

    id: str
    attempt: int
    busy_ms: float = 0.0


class Failed(FromStage, kw_only=True, tag="failed"):
    """The item cannot be done. ``code`` is one of the contract's error codes."""

    id: str
    attempt: int
    code: str
    message: str
    retryable: bool = False


class Cancelled(FromStage, kw_only=True, tag="cancelled"):
    """The item was given up after a CANCEL; its credit is free again."""

    id: str
    attempt: int


class Item(Message, kw_only=True):
    """One unit of work, broker -> stage on ``w.<instance>.<epoch>``.

    ``id``, ``attempt`` and ``broker`` are stamped by the ledger when the item is handed out.
    """

    id: str = ""
    attempt: int = 0
    broker: int = 0
    sid: str = ""
    """Empty, with turn 0: for no session."""
    turn: int = 0
