"""The ``musecast`` command. Each group of commands has a file of its own; this one joins them."""

from __future__ import annotations

import signal
import sys

import typer
from rich.markup import escape

from clients.cli import conf, demo, doctor, probe, render, talk, template, up, weights
from clients.cli.common import EXIT_CONFIG, EXIT_FAILED, CommandError, err
from clients.client import NoDaemonError, RequestError
from configs.load import ConfigError

app = typer.Typer(
    name="musecast",
    help="Gives a language model a face and a voice in real time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(
    "up", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)(up.up)
app.command("demo")(demo.demo)
app.command("render")(render.render)
app.add_typer(template.app, name="template")
app.command("say")(talk.say)
app.command("chat")(talk.chat)
app.command("listen")(talk.listen)
app.command("interrupt")(talk.interrupt)
app.add_typer(probe.app, name="probe")
app.add_typer(conf.app, name="config")
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor.doctor)


def _terminated(number: int, _: object) -> None:
    """Leave every block in order, as after Ctrl-C: no half-written file stays, no daemon of one's own."""
    sys.exit(128 + number)


def main() -> None:
    """Entry point; exit codes are those of contract 5."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app()
    except ConfigError as error:
        err.print(f"[red]configuration:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(EXIT_CONFIG)
    except RequestError as error:
        err.print(f"[red]{error.code}[/] {escape(error.message)}", soft_wrap=True)
        sys.exit(EXIT_FAILED)
    except (NoDaemonError, CommandError, TimeoutError, OSError) as error:
        err.print(f"[red]failed:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
