"""``musecast up``: the daemon in the foreground, the same as ``python supervisor.py``."""

from __future__ import annotations

import signal

import typer


def up(context: typer.Context) -> None:
    """Run the daemon in the foreground. [--config FILE] [--set KEY=VALUE]..."""
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while modules load needs no stack
    from supervision.app import main

    signal.signal(signal.SIGINT, interrupt)
    raise typer.Exit(main(context.args))
