"""What ``/metrics`` is made of: names that manual and dashboard use, and the figures of the processes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from clients.gateway.metrics import Status, of_gateway
from models.meter import BUCKETS_S, Meter
from tests.support.daemon import ROOT

MANUAL = ROOT / "docs" / "metrics.md"
DASHBOARD = ROOT / "docs" / "grafana.json"


def row(stage: str, meter: Meter, engine: str | None = None) -> dict[str, Any]:
    own = of_gateway(meter)
    return {
        "stage": stage, "instance": stage, "state": "idle", "engine": engine, "restarts": 2, "busy_ms": 1500,
        "rss_mb": 10.0, "gpu_mem_mb": None, "metrics": own["metrics"], "histograms": own["histograms"],
    }  # fmt: skip


def text(*rows: dict[str, Any], up: bool = True) -> str:
    registry = CollectorRegistry(auto_describe=False)
    status = {
        "sessions": [], "stages": [*rows], "queues": {"tts": {"items": 1, "media_ms": 2500}},
        "journal": {"bytes": 7, "would_be_lost": ["a"]},
    }  # fmt: skip
    registry.register(Status(status if up else None, of_gateway(Meter())))
    return generate_latest(registry).decode()


def exposed(found: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", found, re.MULTILINE))


def value(found: str, sample: str) -> float:
    line = next(one for one in found.splitlines() if one.startswith(sample + " "))
    return float(line.rsplit(" ", 1)[1])


def named(page: str) -> set[str]:
    names = set(re.findall(r"\bmusecast_[a-z_]+", page))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


@pytest.mark.parametrize("up", [True, False])
def test_every_metric_of_manual_and_dashboard_exists_and_the_manual_has_them_all(up: bool) -> None:
    there = exposed(text(up=up))
    assert named(MANUAL.read_text("utf-8")) == there
    assert named(DASHBOARD.read_text("utf-8")) <= there


def test_the_alerts_and_the_dashboard_are_well_formed() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text("utf-8"), re.DOTALL)
    rules = next(one for one in map(yaml.safe_load, blocks) if "groups" in one)["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    expressions = [rule["expr"] for rule in rules] + [one["expr"] for p in panels for one in p["targets"]]
    for one in expressions:
        assert named(one), one
        assert all(one.count(a) == one.count(b) for a, b in ("()", "[]", "{}")), one


def test_figures_become_metrics() -> None:
    broker, tts = Meter(), Meter()
    broker.count("segments", 4)
    broker.count("segments.late")
    broker.count("degraded_ms.audio_only", 640)
    broker.count("replays.tts", 3)
    broker.count("turns.ended")
    tts.count("items", 2)
    tts.count("items.hibari", 2)
    found = text(row("broker", broker), row("tts", tts))
    assert value(found, 'musecast_segments_total{instance="broker",stage="broker"}') == 4
    assert value(found, 'musecast_segments_late_total{instance="broker",stage="broker"}') == 1
    degraded = 'musecast_degraded_seconds_total{instance="broker",level="audio_only",stage="broker"}'
    assert value(found, degraded) == pytest.approx(0.64)
    assert value(found, 'musecast_item_replays_total{instance="broker",item_stage="tts",stage="broker"}') == 3
    assert value(found, 'musecast_turns_total{instance="broker",outcome="ended",stage="broker"}') == 1
    assert value(found, 'musecast_items_total{instance="tts",stage="tts"}') == 2
    assert value(found, 'musecast_engine_items_total{engine="hibari",instance="tts",stage="tts"}') == 2
    assert value(found, 'musecast_queue_media_seconds{stage="tts"}') == 2.5
    assert value(found, "musecast_journal_unprotected_sessions") == 1


def test_durations_become_histograms_that_count_up() -> None:
    broker, tts = Meter(), Meter()
    for seconds in (0.00003, 0.00003, 0.3):
        broker.took("journal", seconds)
    broker.observe("first_segment.say", 0.25)
    tts.took("item", 99.0)
    tts.took("first.espeak", 0.07)
    tts.took("render", 1.0, units=8)
    found = text(row("broker", broker), row("tts", tts, "hibari"))
    labels = 'engine="",instance="broker"'
    buckets = [
        value(found, f'musecast_journal_write_seconds_bucket{{{labels},le="{le}",stage="broker"}}')
        for le in ("2e-05", "5e-05", "0.2", "0.5", "+Inf")
    ]
    assert buckets == [0, 2, 2, 3, 3]
    assert value(found, f'musecast_journal_write_seconds_sum{{{labels},stage="broker"}}') == pytest.approx(0.30006)
    assert found.count("musecast_journal_write_seconds_bucket{") == len(BUCKETS_S) + 1
    assert f'first_segment_seconds_count{{{labels},source="say",stage="broker"}} 1.0' in found
    item = 'musecast_item_seconds_bucket{engine="hibari",instance="tts",le="'
    assert value(found, f'{item}10.0",stage="tts"}}') == 0
    assert value(found, f'{item}+Inf",stage="tts"}}') == 1
    assert 'musecast_first_output_seconds_count{engine="espeak",instance="tts",stage="tts"} 1.0' in found
    phase = 'musecast_phase_seconds_sum{engine="hibari",instance="tts",phase="render",stage="tts"}'
    assert value(found, phase) == pytest.approx(0.125)
