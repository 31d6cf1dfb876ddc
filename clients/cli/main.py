"""The entry point of the ``musecast`` command. Importing it makes Ctrl-C end the process at once, without a word.

While modules are imported an exception would come out of any line of them, and be lost in some. Nothing but the
installed command imports this module.
"""

from __future__ import annotations

import signal
import sys

_INTERRUPTIBLE = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _INTERRUPTIBLE:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code (docs/operations.md).

    Args:
        arguments: of the command line, without the program's name; None: this process's own.
    """
    from clients.cli.app import run
    from clients.cli.exits import EXIT_INTERRUPTED

    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup ignores it
        signal.signal(signal.SIGHUP, _terminated)
    try:
        if _INTERRUPTIBLE:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _terminated(number: int, _: object) -> None:
    """Leave every block in order, as after Ctrl-C: no half-written file stays, no daemon of one's own. A terminal
    that is closed sends SIGHUP.
    """
    from clients.cli.exits import SIGNAL

    raise SystemExit(SIGNAL + number)


if __name__ == "__main__":
    sys.exit(main())
