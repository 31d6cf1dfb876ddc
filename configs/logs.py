"""Logging: structlog events named ``noun.verb`` with fields; JSON on stderr, or readable on a terminal.

No queue and no file: every process writes whole lines to the stderr it inherited, and systemd's journal or
the terminal puts them together.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TextIO, cast

from configs.plain import plain
from configs.schema import Log
from configs.trace import traces_of

# structlog loads rich for tracebacks that nobody here wants: half of what its import costs every process. None in
# sys.modules is "not installed" to it (docs.python.org, "The import system"). Entry points import this first.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog
finally:
    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich

_LIBRARIES_AT_WARNING = ("faster_whisper", "httpx", "httpcore", "urllib3", "asyncio", "PIL")
"""Libraries that tell their life at info level."""


class _Stderr(io.TextIOBase):
    """stderr, whose loss (a reader that has gone, a full disk) must not end a process."""

    def write(self, text: str, /) -> int:
        with contextlib.suppress(OSError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


_stderr = cast(TextIO, _Stderr())
_ITEMS = ("in_hand", "requeued", "poisoned", "held")
"""Fields that list ids of items."""
_in_hand: Callable[[], Iterable[str]] = tuple
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "exception": 3, "critical": 2}
"""syslog's numbers, as systemd's journal takes them at the beginning of a line (sd-daemon(3))."""


def to_journal() -> bool:
    """Whether stderr is systemd's journal: ``JOURNAL_STREAM`` names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def is_json(log: Log) -> bool:
    """Whether every line is JSON; with ``auto`` the last line of a failed start may be a plain one."""
    return log.format == "json" or (log.format == "auto" and to_journal())


def setup(log: Log, *, boot: str = "", **bound: Any) -> None:
    """Configure this process's logging once.

    Args:
        log: level and format from the configuration.
        boot: id of the supervisor's run, which traces are made of.
        bound: fields that every line of this process carries (stage, instance, epoch, pid).
    """
    level = getattr(logging, log.level.upper())
    console = log.format == "console" or (log.format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _binder(bound),
        _tracer(boot),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if console else "iso", utc=not console),
    ]
    render: list[Any] = (
        [
            _plain_values,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=24, exception_formatter=_plain_traceback
            ),
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    if not console and to_journal():
        render = [_with_priority(render)]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_stderr),
        cache_logger_on_first_use=True,
    )
    if is_json(log):
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread
    handler = logging.StreamHandler(_stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in _LIBRARIES_AT_WARNING:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def get(**fields: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger with these fields on every line."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**fields)
    return logger


def trace_work(in_hand: Callable[[], Iterable[str]]) -> None:
    """Lines that name no item are about those that ``in_hand`` returns, asked in the thread that logs."""
    global _in_hand
    _in_hand = in_hand


class Cooldown:
    """Lets one line per key through in ``period_s`` and counts the rest, so a flood cannot fill the log.

    Keys are event names, a closed set of the program, so the table does not grow.
    """

    def __init__(self, period_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def ready(self, key: str) -> int | None:
        """How many were held back since the last line, or None when this one is to be held back too."""
        now = self._clock()
        if now - self._last.get(key, -self._period_s) < self._period_s:
            self._held[key] = self._held.get(key, 0) + 1
            return None
        self._last[key] = now
        return self._held.pop(key, 0)


def _plain_values(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """On a terminal, a text that came from elsewhere moves no cursor and sets no title."""
    return {key: plain(value) if isinstance(value, str) else value for key, value in event.items()}


def _plain_traceback(target: TextIO, exc_info: Any) -> None:
    lines = io.StringIO()
    structlog.dev.plain_traceback(lines, exc_info)
    target.write(plain(lines.getvalue()))


def _with_priority(render: list[Any]) -> Callable[[Any, str, dict[str, Any]], str]:
    def prefixed(logger: Any, method: str, event: dict[str, Any]) -> str:
        priority = _PRIORITIES.get(str(event.get("level", method)), 6)
        line: Any = event
        for one in render:
            line = one(logger, method, line)
        return f"<{priority}>{line}"

    return prefixed


def _uncaught(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    """One line of JSON where Python would print a traceback of many."""
    error = kind() if error is None else error
    get().critical("process.broken", reason=f"{kind.__name__}: {error}", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _tracer(boot: str) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    """``trace``: the turn that a line is about; ``traces`` where it is about several."""

    def trace(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        named = [event.get("item"), *(one for name in _ITEMS for one in event.get(name) or ())]
        items = [one for one in named if isinstance(one, str) and one] or _in_hand()
        traces = traces_of(boot, items)
        if len(traces) == 1:
            event.setdefault("trace", traces[0])
        elif traces:
            event.setdefault("traces", traces)
        return event

    return trace


def _binder(bound: dict[str, Any]) -> Callable[[Any, str, dict[str, Any]], dict[str, Any]]:
    def bind(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        for key, value in bound.items():
            event.setdefault(key, value)
        return event

    return bind
