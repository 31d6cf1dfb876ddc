"""Helper processes that cannot outlive a run: they end when their standard input closes, else are killed."""

from __future__ import annotations

import json
import logging
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import structlog

ROOT = Path(__file__).resolve().parents[2]
END_S = 3.0
"""From the end of standard input to a kill."""


class Child:
    """``python -m <module>`` with JSON lines both ways; a context manager that leaves no process behind.

    Args:
        module: what to run.
        arguments: for it.
        env: added to the environment.
    """

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        self._module = module
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment(env or {}),
        )  # fmt: skip
        assert self._process.stdout is not None
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def tell(self, message: Any) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # ``hear`` says that it has ended
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def hear(self, until: float) -> Any:
        """The next line, as it was sent.

        Raises:
            TimeoutError: nothing came until then (monotonic).
            RuntimeError: the process has ended; its last words are on standard error.
        """
        assert self._process.stdout is not None
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise TimeoutError(f"{self._module} said nothing in time")
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                raise RuntimeError(f"{self._module} ended with {self._process.wait()}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._selector.close()
        assert self._process.stdout is not None
        self._process.stdout.close()


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with ``more``; the checkout comes first on the path, what was there stays."""
    found = {**os.environ, **more}
    found["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [found.get("PYTHONPATH")])])
    return found


def adopt() -> Callable[[Any], None]:
    """In the child: how to send one line. What libraries print goes to standard error from here on."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: Any) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return say
