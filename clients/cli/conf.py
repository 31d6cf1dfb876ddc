"""``musecast config``: is a configuration valid, and what does it come to."""

from __future__ import annotations

import msgspec
import typer
import yaml

from clients.cli.common import ConfigOption, JsonOption, SetOption, out, print_json, read_config

app = typer.Typer(help="Check or show the configuration.", no_args_is_help=True)


@app.command("check")
def check(json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Exit 0 when the daemon would start with this configuration, 78 with the reason when not."""
    read_config(config, overrides)
    if json:
        print_json({"ok": True})
    else:
        out.print(f"{config or 'configs/default.yaml'}: valid")


@app.command("show")
def show(json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """The configuration in force: file, environment and --set together."""
    values = msgspec.to_builtins(read_config(config, overrides))
    if json:
        print_json(values)
    else:
        out.file.write(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
