"""musecast.service as an operator sees it: systemctl, the journal, the command line."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from tests.service.box import CHECKOUT, HOME, Box
from tests.support.processes import wait_until

UNIT = "musecast"
SLOW_S = 240.0
"""For what takes systemd and the daemon half a minute on a machine at rest."""


def documented() -> list[str]:
    """The commands by which docs/operations.md installs the service, but for ``sudo`` and the clone."""
    text = (CHECKOUT / "docs" / "operations.md").read_text("utf-8").partition("## As a service")[2]
    block = re.search(r"```\n(.*?)```", text, re.S)
    assert block
    lines = [line.partition(" #")[0].replace("sudo ", "").strip() for line in block[1].splitlines()]
    return [line for line in lines if not line.startswith(("git clone", "journalctl"))]


class Service:
    """One unit of ``box``."""

    def __init__(self, box: Box, unit: str = UNIT) -> None:
        self.box = box
        self.unit = unit

    def show(self, name: str) -> str:
        """A property as systemd has it now."""
        return self.box.run(f"systemctl show -P {name} {self.unit}").stdout.strip()

    @property
    def main(self) -> int:
        """Of the supervisor, inside; 0: there is none."""
        return int(self.show("MainPID"))

    def systemctl(self, verb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Waits for what the verb asks for."""
        return self.box.run(f"systemctl {verb} {self.unit}", check=check)

    def wait(self, name: str, value: str, limit_s: float = SLOW_S) -> None:
        """Until a property has this value."""
        wait_until(lambda: self.show(name) == value, limit_s, f"{name} of {self.unit} {value}\n{self.tail()}")

    def wait_serving(self, another_than: int = 0) -> None:
        """Until it is active, with another main process than that one."""
        wait_until(
            lambda: self.show("ActiveState") == "active" and self.main not in (0, another_than),
            SLOW_S,
            f"{self.unit} serves again",
        )

    def tail(self) -> str:
        """The end of its journal."""
        return self.box.run(f"journalctl -u {self.unit} -o cat -n 20 --no-pager", check=False).stdout

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has told of ``event``, each as the journal keeps it; the JSON it wrote is under "told"."""
        found = self.box.run(f"journalctl -u {self.unit} -o json --no-pager | grep -F '{event}'", check=False)
        kept = (json.loads(line) for line in found.stdout.splitlines())
        entries = [entry | {"told": json.loads(entry["MESSAGE"])} for entry in kept if entry["MESSAGE"][:1] == "{"]
        return [entry for entry in entries if entry["told"].get("event") == event]

    def stages(self) -> dict[str, int]:
        """Processes inside, by instance."""
        return {row["instance"]: row["pid"] for row in self.status()["stages"]}

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself."""
        found: dict[str, Any] = json.loads(self.musecast("probe status --json").stdout)
        return found

    def musecast(self, arguments: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """The command line, with the service's configuration."""
        return self.box.run(f"{HOME}/.venv/bin/musecast {arguments} --config {self.config}", user)

    @property
    def config(self) -> str:
        return f"/etc/musecast/{self.unit}.yaml"

    def say(self, text: str, user: str = "root") -> str:
        """Have it spoken; the event with which the turn ended."""
        last = json.loads(self.musecast(f"say '{text}' --json", user).stdout.splitlines()[-1])
        return str(last["event"])

    def override(self, *lines: str) -> None:
        """Lines of [Service] that an operator adds; none: as it is shipped."""
        path = f"/etc/systemd/system/{self.unit}.service.d/test.conf"
        text = "\\n".join(("[Service]", *lines)) + "\\n"
        self.box.run(f"mkdir -p $(dirname {path}) && printf '{text}' >{path}" if lines else f"rm {path}")
        self.box.run("systemctl daemon-reload")
