"""``musecast up``: the daemon in the foreground, the same as ``python supervisor.py``."""

from __future__ import annotations

import typer


def up(context: typer.Context) -> None:
    """Run the daemon in the foreground. [--config FILE] [--set KEY=VALUE]..."""
    from supervision.app import main

    raise typer.Exit(main(context.args))
