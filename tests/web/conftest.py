"""What the browser tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.web.browsing import Web


@pytest.fixture(scope="module")
def web(
    start_daemon_for_module: Callable[..., Daemon], state_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Web:
    """A daemon with a gateway that browsers look at, and that may be broken."""
    directory = tmp_path_factory.mktemp("web")
    return Web(lambda *overrides: start_daemon_for_module(state_dir, *overrides), directory)
