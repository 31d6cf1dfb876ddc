"""``/metrics``: the daemon's ``status`` for Prometheus, one look at it per scrape. See docs/metrics.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from clients.gateway.auth import Who
from clients.gateway.errors import ApiError
from clients.gateway.families import COUNTERS, GAUGES, HISTOGRAMS, PHASE
from clients.gateway.gateway import Here
from models.meter import BUCKETS_S, Meter

router = APIRouter(tags=["daemon"])
Metric = GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily
Row = Mapping[str, Any]
STATES = ("starting", "loading", "idle", "busy", "draining", "backoff", "fatal")


@router.get("/metrics", operation_id="metrics", response_class=Response)
async def metrics(here: Here, who: Who) -> Response:
    """Figures for Prometheus, in its text format. `musecast_up` is 0 while no daemon answers."""
    who.check("operate")
    status: dict[str, Any] | None
    try:
        status = await here.control.request("status")
    except ApiError:
        status = None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Status(status, of_gateway(here.meter)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def of_gateway(meter: Meter) -> Row:
    """What the gateway knows itself, as a row of ``status``: its last beat is older."""
    histograms = {name: {"sum_s": one.sum_s, "counts": one.counts} for name, one in meter.histograms().items()}
    return {"stage": "gateway", "instance": "gateway", "metrics": meter.figures(), "histograms": histograms}


class Status(Collector):
    """One answer to ``status``, and this process's own row."""

    def __init__(self, status: dict[str, Any] | None, own: Row) -> None:
        self._status = status
        self._own = own

    def collect(self) -> Iterator[Metric]:
        """Every family, each whether it has samples or not; no label is a session's id."""
        status = self._status or {"sessions": [], "queues": {}, "stages": [], "journal": {}}
        up = float(self._status is not None)
        yield GaugeMetricFamily("musecast_up", "Whether the daemon answers.", value=up)
        yield GaugeMetricFamily("musecast_sessions", "Sessions.", value=len(status["sessions"]))
        yield from _journal(status.get("journal", {}))
        yield from _queues(status["queues"])
        yield from _processes(status["stages"])
        rows = [*(row for row in status["stages"] if row["stage"] != "gateway"), self._own]
        yield from _counters(rows)
        yield from _histograms(rows)
        yield from _gauges(rows)
        yield _figures(rows)


def _journal(report: Row) -> Iterator[Metric]:
    yield GaugeMetricFamily("musecast_journal_bytes", "Taken by the journal.", value=report.get("bytes", 0))
    lost = len(report.get("would_be_lost", ()))
    yield GaugeMetricFamily("musecast_journal_unprotected_sessions", "Lost if the broker died.", value=lost)


def _queues(queues: Mapping[str, Row]) -> Iterator[Metric]:
    items = GaugeMetricFamily("musecast_queue_items", "Items that wait for a stage.", labels=["stage"])
    media = GaugeMetricFamily("musecast_queue_media_seconds", "Media that waits for a stage.", labels=["stage"])
    for stage, one in queues.items():
        items.add_metric([stage], one["items"])
        media.add_metric([stage], one["media_ms"] / 1000)
    yield items
    yield media


def _processes(rows: list[dict[str, Any]]) -> Iterator[Metric]:
    labels = ["stage", "instance"]
    state = GaugeMetricFamily("musecast_process_state", "1 for the state it is in.", labels=[*labels, "state"])
    restarts = CounterMetricFamily("musecast_process_restarts", "Unexpected ends.", labels=labels)
    memory = GaugeMetricFamily("musecast_process_resident_bytes", "Resident memory.", labels=labels)
    gpu = GaugeMetricFamily("musecast_process_gpu_bytes", "GPU memory that it holds.", labels=labels)
    busy = GaugeMetricFamily("musecast_process_busy_seconds", "Since the oldest item moved.", labels=labels)
    for row in rows:
        values = [row["stage"], row["instance"]]
        for one in STATES:
            state.add_metric([*values, one], float(row["state"] == one))
        restarts.add_metric(values, row["restarts"])
        busy.add_metric(values, row["busy_ms"] / 1000)
        if row["rss_mb"] is not None:
            memory.add_metric(values, row["rss_mb"] * 1e6)
        if row["gpu_mem_mb"] is not None:
            gpu.add_metric(values, row["gpu_mem_mb"] * 1e6)
    yield from (state, restarts, busy, memory, gpu)


def _counters(rows: list[Row]) -> Iterator[Metric]:
    """Totals that have a family of their own."""
    for name, family in COUNTERS.items():
        made = CounterMetricFamily(family.name, family.help, labels=["stage", "instance", *family.label])
        for row in rows:
            for figure, value in row["metrics"].items():
                if figure == name or (family.label and figure.startswith(name)):
                    part = [figure.removeprefix(name)] if family.label else []
                    made.add_metric([row["stage"], row["instance"], *part], value * family.scale)
        yield made


def _histograms(rows: list[Row]) -> Iterator[Metric]:
    """Durations: some in families of their own, all others under ``phase``."""
    own = {
        name: HistogramMetricFamily(one.name, one.help, labels=["stage", "instance", "engine", *one.label])
        for name, one in HISTOGRAMS.items()
    }
    rest = HistogramMetricFamily(PHASE.name, PHASE.help, labels=["stage", "instance", "engine", *PHASE.label])
    for row in rows:
        for name, one in row.get("histograms", {}).items():
            base, _, part = name.partition(".")
            engine = row.get("engine") or ""
            if base not in own:
                _add(rest, [row["stage"], row["instance"], engine, name], one)
            elif HISTOGRAMS[base].label:
                _add(own[base], [row["stage"], row["instance"], engine, part], one)
            else:
                _add(own[base], [row["stage"], row["instance"], part or engine], one)
    yield from own.values()
    yield rest


def _add(family: HistogramMetricFamily, labels: list[str], histogram: Row) -> None:
    bounds = [*map(floatToGoString, BUCKETS_S), "+Inf"]
    counts = accumulate(histogram["counts"])
    family.add_metric(labels, [*zip(bounds, counts, strict=True)], histogram["sum_s"])


def _gauges(rows: list[Row]) -> Iterator[Metric]:
    """Figures that rise and fall and have a family of their own."""
    for name, family in GAUGES.items():
        made = GaugeMetricFamily(family.name, family.help, labels=["stage", "instance"])
        for row in rows:
            if (value := row["metrics"].get(name)) is not None:
                made.add_metric([row["stage"], row["instance"]], value * family.scale)
        yield made


def _figures(rows: list[Row]) -> Metric:
    """``metrics`` of every row, under the names of docs/protocol.md."""
    labels = ["stage", "instance", "name"]
    figures = GaugeMetricFamily(
        "musecast_process_figure", "What a process says of its work (docs/protocol.md).", labels=labels
    )
    for row in rows:
        for name, value in sorted(row["metrics"].items()):
            figures.add_metric([row["stage"], row["instance"], name], value)
    return figures
