"""How a command fails: one line that says what to do next, or JSON, and the exit code."""

from __future__ import annotations

import errno
import re
from typing import Any

import typer
from rich.markup import escape

from clients.cli.common import CommandError
from clients.cli.exits import EXIT_CONFIG, EXIT_FAILED, EXIT_USAGE
from clients.cli.terminal import err, print_json
from clients.client import NoDaemonError, RequestError
from clients.errors import MediaError
from configs.load import ConfigError

COMMANDS = {
    "use start_session for another": "leave out --session",
    "; start_session begins one": "",
    "see list_templates": "`musecast template list` names all of them",
    "preprocess_template": "`musecast template add`",
    "another template_id": "another id with --id",
    "see status, and read segments later": "`musecast probe status` shows what the daemon does",
    "see status": "see `musecast probe status`",
}
"""What a message of the daemon says to programs, and what it says to a person at the command line."""
TELLING = {
    ("NOT_FOUND", "template"): "`musecast template list` names all of them",
    ("NOT_FOUND", "session"): "it has ended or never was; `musecast probe status` names those that are open",
}
"""By error code and what is not there."""
_NAMED = re.compile(r"no (template|session) ('[^']*')")
_WORDS = re.compile("|".join(map(re.escape, COMMANDS)))


def told(error: RequestError) -> str:
    """A refusal of the daemon in the words of the command line, and a command to go on with."""
    named = _NAMED.search(error.message)
    step = TELLING.get((error.code, named[1])) if named else None
    if named and step:
        return f"no {named[1]} {named[2]}: {step}"
    return _WORDS.sub(lambda found: COMMANDS[found[0]], error.message)


def report(error: BaseException, *, json: bool) -> int:
    """Say what went wrong; returns the exit code.

    Raises:
        BaseException: ``error`` itself where it is a defect of this program.
    """
    if type(error).__name__ == "NoArgsIsHelpError" and isinstance(error, USAGE_ERROR) and not json:
        error.show()  # type: ignore[attr-defined]
        return EXIT_USAGE
    described = _described(error)
    if described is None:
        raise error
    code, name, text, exit_code = described
    if json:
        body: dict[str, Any] = {"code": code, "message": text}
        if isinstance(error, RequestError) and error.retry_after_ms is not None:
            body["retry_after_ms"] = error.retry_after_ms
        print_json({"error": body})
    else:
        err.print(f"[red]{name}:[/] {escape(text)}", soft_wrap=True)
    return exit_code


def _described(error: BaseException) -> tuple[str, str, str, int] | None:
    """Code, what begins the line, text, exit code."""
    if isinstance(error, ConfigError):
        return "CONFIGURATION", "configuration", str(error), EXIT_CONFIG
    if isinstance(error, RequestError):
        return error.code, error.code.lower().replace("_", " "), told(error), EXIT_FAILED
    if isinstance(error, NoDaemonError):
        return "NO_DAEMON", "failed", str(error), EXIT_FAILED
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        step = ": free some, or name a file elsewhere" if error.errno == errno.ENOSPC else ""
        return "FAILED", "failed", ": ".join([*names, error.strerror]) + step, EXIT_FAILED
    if isinstance(error, CommandError | MediaError | TimeoutError | OSError):
        return "FAILED", "failed", str(error), EXIT_FAILED
    if isinstance(error, USAGE_ERROR):
        return "USAGE", "usage", _usage(error), EXIT_USAGE
    return None


def _usage(error: Any) -> str:
    context = error.ctx
    text: str = error.format_message()
    help_command = "musecast" if context is None else context.command_path
    takes_text = context is not None and any(one.name == "text" for one in context.command.params)
    if takes_text and text.startswith("Got unexpected extra argument"):
        text += ": put a text of several words into quotes"
    end = "" if text.endswith("?") else "."
    return f"{text.rstrip('.')}{end} `{help_command} --help` explains the command."


USAGE_ERROR = next(one for one in typer.BadParameter.__mro__ if one.__name__ == "UsageError")
"""Of typer's own parser; it exports only the ones below it."""
