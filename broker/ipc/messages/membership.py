"""Supervisor and broker: who lives, and how everyone is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from broker.ipc.messages.base import FromStage, Message


class Up(Message, kw_only=True, tag="up"):
    """Supervisor: this incarnation is about to be spawned (or lives on after a broker restart): bind for it."""

    instance: str
    epoch: int
    stage: str


class Down(Message, kw_only=True, tag="down"):
    """Supervisor: this incarnation is dead and reaped. Drain what it sent, fence it, answer Fenced."""

    instance: str
    epoch: int
    reason: str
    commanded: bool = False
    in_hand: list[str] = msgspec.field(default_factory=list)
    """Items in progress at the death, by the worker's own record (a last ``Started`` may not have left it)."""


class Fenced(Message, kw_only=True, tag="fenced"):
    """Broker: nothing of this incarnation will be accepted any more; its successor may start."""

    instance: str
    epoch: int


class Rest(Message, kw_only=True, tag="rest"):
    """Broker: this instance holds nothing any more. End its process; none takes its place before ``Resume``."""

    instance: str


class Resume(Message, kw_only=True, tag="resume"):
    """Broker: this instance is wanted again."""

    instance: str


class Demand(Message, kw_only=True, tag="demand"):
    """Broker: a stage that runs on demand has work."""

    stage: str


class HistogramRow(msgspec.Struct, kw_only=True):
    """Durations since the process started, by the buckets of ``models.meter.BUCKETS_S``."""

    sum_s: float
    counts: list[int]


class ChainRow(msgspec.Struct, kw_only=True):
    """One engine of a stage's chain; ``state`` is serving, standby, broken or unavailable."""

    engine: str
    state: str


class StageRow(msgspec.Struct, kw_only=True, omit_defaults=False):
    """One line of the public ``status``."""

    stage: str
    instance: str
    epoch: int
    pid: int | None
    state: str
    engine: str | None = None
    device: str | None = None
    busy_ms: int = 0
    restarts: int = 0
    rss_mb: float | None = None
    gpu_mem_mb: float | None = None
    gpu_util: float | None = None
    reason: str | None = None
    required: bool = True
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    """Totals since the process started and averages over the recent past, by name (docs/protocol.md)."""
    histograms: dict[str, HistogramRow] = msgspec.field(default_factory=dict)
    chain: list[ChainRow] = msgspec.field(default_factory=list)
    """Of asr, llm and tts."""
    address: str | None = None
    """Of the gateway: where it listens."""


class Report(Message, kw_only=True, tag="report"):
    """Supervisor: the state of every process; at each change and once a second."""

    supervisor_pid: int
    rows: list[StageRow]
    warnings: list[str] = msgspec.field(default_factory=list)
    """What the daemon was started without, and the next step."""


def histogram_rows(found: Mapping[str, tuple[float, list[int]]]) -> dict[str, HistogramRow]:
    """A meter's histograms as they travel."""
    return {name: HistogramRow(sum_s=sum_s, counts=counts) for name, (sum_s, counts) in found.items()}


class Beat(FromStage, kw_only=True, tag="beat"):
    """Any child -> supervisor, once a second and at each change of state."""

    stage: str
    pid: int
    state: str
    """starting, loading, idle, busy or draining."""
    phase: str = ""
    """While loading: what; a change counts as progress."""
    engine: str | None = None
    device: str | None = None
    item: str = ""
    """The oldest item in hand."""
    busy_ms: int = 0
    """Since the last progress on that item."""
    gpu_mem_mb: float | None = None
    gpu_util: float | None = None
    metrics: dict[str, float] = msgspec.field(default_factory=dict)
    histograms: dict[str, HistogramRow] = msgspec.field(default_factory=dict)
    chain: list[ChainRow] = msgspec.field(default_factory=list)
    address: str = ""
    """Of the gateway: where it listens."""
    error: str = ""
    """Why loading failed, with the next step."""
    note: str = ""
    """Of the broker: what keeps the daemon from serving although its processes are ready."""
