"""The entry point of the ``musecast`` command: imports nothing before Ctrl-C can end it without a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (docs/operations.md).

    Args:
        arguments: of the command line, without the program's name; None: this process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interruptible:
        # While modules are imported, an exception would come out of any line of them, and be lost in some.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from clients.cli.app import run

    signal.signal(signal.SIGTERM, _terminated)
    if interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return run(given)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _terminated(number: int, _: object) -> None:
    """Leave every block in order, as after Ctrl-C: no half-written file stays, no daemon of one's own."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
