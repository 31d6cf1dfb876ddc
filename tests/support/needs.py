"""What a test needs is told by where it stands and which fixtures it uses; one that takes more than that fails.

``process``: starts processes. ``torch``: imports torch, or stands beside tests that do. ``slow``: computes for
more than 2 s. ``pytest --quick`` leaves all of them out, and does not even import what is left out by its place.
"""

from __future__ import annotations

import multiprocessing.process
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
BY_PLACE = {
    "contract": ("process",),
    "processes": ("process",),
    "web": ("process",),
    "gpu": ("torch",),
    "service": ("process", "service"),
    "adapters": ("process", "adapter"),
    "engines/musetalk": ("torch",),
    "engines": ("slow",),  # whole engines; taken together they are
}
"""Folder -> what its tests may do beside computing."""
STARTERS = frozenset(("daemon", "gateway", "own_daemon", "start_daemon", "start_daemon_for_module", "launch"))
"""Fixtures that start processes."""
LEFT_OUT = ("process", "torch", "slow", "gpu", "full", "service", "adapter")
"""Markers of what ``--quick`` leaves out."""
SLOW_S = 15.0
"""Of this process's CPU, which a busy machine lengthens up to five times; what takes 2 s deserves the marker."""
STARTING_NAMES = frozenset(("subprocess", "multiprocessing", "ffmpeg"))
"""Names in a test's own code that say that it starts processes."""
STARTING = frozenset(("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system"))
"""Audit events (docs.python.org, "Audit events table") of what starts a process."""

_began = 0.0
_seen: dict[str, str] = {}
"""What has been done since the running test began, by marker."""


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in STARTING:
        _seen.setdefault("process", f"started a process ({event} {arguments[0] if arguments else ''!r})")
    elif event == "import" and arguments[0] == "torch":
        _seen.setdefault("torch", "imported torch")


def _watch_multiprocessing() -> None:
    """Its children come from a call that is not audited."""
    start = multiprocessing.process.BaseProcess.start

    def watched(self: multiprocessing.process.BaseProcess) -> None:
        _seen.setdefault("process", f"started a process (multiprocessing {self.name})")
        start(self)

    multiprocessing.process.BaseProcess.start = watched  # type: ignore[method-assign]


def place(path: Path) -> tuple[str, ...]:
    """What tests at this place may do."""
    inside = path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else ""
    return next((needs for folder, needs in BY_PLACE.items() if f"{inside}/".startswith(f"{folder}/")), ())


def names(code: CodeType) -> set[str]:
    """What this code and the functions in it use of their module."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return set(code.co_names).union(*map(names, inner))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="no processes, no torch, nothing slow")


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_watch)
    _watch_multiprocessing()
    if config.getoption("--quick"):
        config.option.markexpr = " and ".join(f"not {needs}" for needs in LEFT_OUT)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    needs = place(collection_path)
    # What adapters import is not installed where `make test` runs.
    unwanted = "adapter" in needs and "not adapter" in str(config.option.markexpr)
    return True if unwanted or (config.getoption("--quick") and needs) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for needs in place(item.path):
            item.add_marker(needs)
        fixtures = set(getattr(item, "fixturenames", ()))  # also those that its fixtures use
        code = getattr(getattr(item, "function", None), "__code__", None)
        if fixtures & STARTERS or (code is not None and names(code) & STARTING_NAMES):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _began
    _seen.clear()
    _began = time.process_time()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Nobody has to remember a marker: who forgets one is told its name."""
    report: pytest.TestReport = yield
    if report.passed and not any(item.get_closest_marker(name) for name in LEFT_OUT):
        if (spent := time.process_time() - _began) > SLOW_S:
            _seen.setdefault("slow", f"took {spent:.1f} s of CPU")
        for marker, what in list(_seen.items()):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} {what}: mark it with @pytest.mark.{marker}, or do without"
            item.add_marker(marker)  # told once
    _seen.clear()
    return report
