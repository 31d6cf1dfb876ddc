"""The addresses that are offered to viewers: the machine's, and its loopback, which aioice leaves out.

Without the loopback nobody could look on a machine that has no network.
"""

from __future__ import annotations

from aioice import ice

LOOPBACK = "127.0.0.1"
_of_machine = ice.get_host_addresses


def install() -> None:
    """Once per process: aioice has no setting for it."""
    ice.get_host_addresses = _addresses


def _addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    found: list[str] = _of_machine(use_ipv4, use_ipv6)
    return [*found, LOOPBACK] if use_ipv4 else found
