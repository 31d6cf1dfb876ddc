"""Clients that ask for far more than can be spoken: the short form of ``tests.soak.flood``."""

from __future__ import annotations

from tests.soak.flood import flood, processes
from tests.support.client import Stranger
from tests.support.daemon import Daemon

SECONDS, CLIENTS, REFUSALS = 4.0, 12, 11


def test_a_flood_is_answered_bounded_and_harms_nobody(daemon: Daemon, stranger: Stranger) -> None:
    report = flood(daemon.control, daemon.stream, processes(stranger), SECONDS, CLIENTS, REFUSALS)
    assert report.problems == []
    assert report.turns > 1
