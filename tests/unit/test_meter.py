"""What a process tells of its work: totals, averages over the recent past, and the GPU's figures."""

from __future__ import annotations

import threading

import pytest

from models.meter import BUCKETS_S, RECENT, GpuUse, Meter
from stages.gauge import STALE_S, Gauge
from tests.support.processes import wait_until


def test_totals_add_up_from_any_thread() -> None:
    meter = Meter()
    threads = [threading.Thread(target=lambda: [meter.count("items") for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meter.count("frames", 8)
    assert meter.figures() == {"items": 4000, "frames": 8}


def test_time_is_per_unit_and_large_batches_weigh_more() -> None:
    meter = Meter()
    meter.took("networks", 0.010, 1)
    assert meter.figures() == {"ms.networks": pytest.approx(10)}
    meter.took("networks", 0.010, 9)
    assert meter.figures()["ms.networks"] == pytest.approx(20 / 10, rel=0.1)


def test_an_average_forgets_what_was_long_ago() -> None:
    meter = Meter()
    for _ in range(100):
        meter.average("fill", 1, 4)
    for _ in range(8 * RECENT):
        meter.average("fill", 4, 4)
    assert meter.figures()["fill"] == pytest.approx(1, abs=0.01)
    assert len(meter.figures()) == 1


def test_what_happens_inside_is_timed() -> None:
    now = iter((5.0, 5.25))
    meter = Meter(lambda: next(now))
    with meter.timed("aac", 10):
        pass
    assert meter.figures() == {"ms.aac": 25}


def test_the_latest_reading_of_the_gpu_is_kept_until_it_is_stale() -> None:
    now = [0.0]
    read = threading.Event()

    def once() -> GpuUse:
        if read.is_set():
            threading.Event().wait()  # a driver that answers no more
        read.set()
        return GpuUse(100.0, 50.0)

    gauge = Gauge(once, period_s=0.01, clock=lambda: now[0])
    assert gauge.latest == GpuUse()
    gauge.start()
    wait_until(lambda: gauge.latest == GpuUse(100.0, 50.0))
    now[0] = STALE_S + 1
    assert gauge.latest == GpuUse()
    gauge.stop()


def test_a_reading_that_fails_is_no_reading_and_the_next_one_counts() -> None:
    attempts: list[int] = []

    def read() -> GpuUse:
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("libnvidia-ml.so.1: cannot open shared object file")
        return GpuUse(memory_mb=1.0)

    gauge = Gauge(read, period_s=0.01)
    gauge.start()
    wait_until(lambda: gauge.latest.memory_mb == 1.0)
    gauge.stop()
    assert len(attempts) >= 3


def test_durations_fall_into_buckets_whose_bounds_belong_to_them() -> None:
    meter = Meter()
    for seconds in (0.0, BUCKETS_S[0], 0.3, BUCKETS_S[-1] + 1):
        meter.observe("x", seconds)
    found = meter.histograms()["x"]
    assert found.counts[0] == 2
    assert found.counts[BUCKETS_S.index(0.5)] == 1
    assert found.counts[-1] == 1
    assert len(found.counts) == len(BUCKETS_S) + 1
    assert found.sum_s == pytest.approx(0.3 + 10 + 1 + BUCKETS_S[0])
