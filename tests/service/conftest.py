"""One box for all tests of this folder; where none can be booted they are left out, and say why."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.service.box import Box
from tests.service.image import UnavailableError


@pytest.fixture(scope="session")
def machine() -> Iterator[Box]:
    """Booted, with nothing of musecast but what is in /opt/musecast."""
    try:
        box = Box()
    except UnavailableError as error:
        pytest.skip(f"no systemd can be booted here: {error}")
    try:
        try:
            box.boot()
        except (UnavailableError, AssertionError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"no systemd can be booted here: {error}")  # a bare one: nothing of ours is in it yet
        yield box
    finally:
        box.close()
