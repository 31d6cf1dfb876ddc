"""``/metrics``: the daemon's ``status`` for Prometheus, one look at it per scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from clients.gateway.auth import Who
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Here

router = APIRouter(tags=["daemon"])
Metric = GaugeMetricFamily | CounterMetricFamily
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
    registry.register(Status(status, here.meter.figures()))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Status(Collector):
    """One answer to ``status``, and this process's own figures."""

    def __init__(self, status: dict[str, Any] | None, own: dict[str, float]) -> None:
        self._status = status
        self._own = own

    def collect(self) -> Iterator[Metric]:
        """Every family; no label is a session's id."""
        up = float(self._status is not None)
        yield GaugeMetricFamily("musecast_up", "Whether the daemon answers.", value=up)
        rows: list[dict[str, Any]] = []
        if self._status is not None:
            sessions = len(self._status["sessions"])
            yield GaugeMetricFamily("musecast_sessions", "Sessions.", value=sessions)
            yield from _queues(self._status["queues"])
            rows = [row for row in self._status["stages"] if row["stage"] != "gateway"]
            yield from _processes(self._status["stages"])
        # Of the gateway what it knows itself: its last beat is older.
        yield from _figures([*rows, {"stage": "gateway", "instance": "gateway", "metrics": self._own}])


def _queues(queues: dict[str, dict[str, Any]]) -> Iterator[Metric]:
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


def _figures(rows: list[dict[str, Any]]) -> Iterator[Metric]:
    """``metrics`` of every row, under the names of docs/protocol.md."""
    labels = ["stage", "instance", "name"]
    figures = GaugeMetricFamily(
        "musecast_process_figure", "What a process says of its work (docs/protocol.md).", labels=labels
    )
    for row in rows:
        for name, value in sorted(row["metrics"].items()):
            figures.add_metric([row["stage"], row["instance"], name], value)
    yield figures
