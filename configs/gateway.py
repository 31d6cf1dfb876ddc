"""Where the gateway listens: what ``endpoints.gateway`` says, read once for whoever needs it. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DEFAULT = "http://127.0.0.1:28888"
"""What "auto" stands for where it can be had."""
FORM = "http://127.0.0.1:28888, auto or off; port 0 is any free one"
_ADDRESS = re.compile(r"((http|tcp)://)?(?P<host>\[[0-9a-fA-F:]+\]|\d{1,3}(\.\d{1,3}){3}):(?P<port>\d{1,5})/?")


@dataclass(frozen=True, slots=True)
class Address:
    """A place to listen at; ``host`` without brackets."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """As a person writes it."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback


def address(value: str | bool) -> Address | None:
    """What the setting stands for; None for "off".

    Raises:
        ValueError: it is no address.
    """
    if value is False or value == "off":
        return None
    match = _ADDRESS.fullmatch(DEFAULT if value == "auto" else str(value))
    if match is None or int(match["port"]) > 65_535:
        raise ValueError(f"{value!r} is not an address of the form {FORM}")
    host = match["host"].strip("[]")
    ipaddress.ip_address(host)
    return Address(host, int(match["port"]))
