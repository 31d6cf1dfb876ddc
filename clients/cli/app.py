"""All commands joined. Each group has a file of its own, which imports what is slow to import when it is used."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from clients.cli import (
    bench,
    conf,
    demo,
    doctor,
    instance,
    keys,
    probe,
    render,
    talk,
    template,
    top,
    up,
    voices,
    weights,
)
from clients.cli.exits import EXIT_INTERRUPTED
from clients.cli.failures import report
from clients.cli.terminal import err, out, tolerate_any_text

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
app.command("voices")(voices.voices)
app.command("say")(talk.say)
app.command("chat")(talk.chat)
app.command("listen")(talk.listen)
app.command("interrupt")(talk.interrupt)
app.command("drain")(instance.drain)
app.command("resume")(instance.resume)
app.command("top")(top.top)
probe.app.command("bench")(bench.bench)
app.add_typer(probe.app, name="probe")
app.add_typer(conf.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(weights.app, name="weights")
app.command("doctor")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"musecast {metadata.version('musecast')}")
        raise typer.Exit


@app.callback()
def musecast(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Gives a language model a face and a voice in real time."""


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    tolerate_any_text()
    json = wants_json(arguments)
    try:
        code = app(arguments, prog_name="musecast", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:
        code = report(error, json=json)
    if code == EXIT_INTERRUPTED and not json:
        err.print("interrupted")
    return int(code)


def wants_json(arguments: list[str]) -> bool:
    """Whether failures are to be JSON, too, those of the command line itself included."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options
