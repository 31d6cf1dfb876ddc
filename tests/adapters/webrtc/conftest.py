"""What these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.daemon import Daemon
from tests.support.gateway_process import GatewayProcess


@pytest.fixture(scope="session")
def webrtc(daemon: Daemon) -> Iterator[GatewayProcess]:
    """A gateway of the shared daemon with WebRTC and LiveTalking's routes."""
    process = GatewayProcess(daemon, "gateway.webrtc=true", "gateway.livetalking=true")
    yield process
    assert process.stop() == 0
