"""The daemon that a configuration describes: where its sockets are reached, and with which keys."""

from __future__ import annotations

from typing import NamedTuple

from clients.client import Client, NoDaemonError
from clients.keys import Keys
from configs import keys
from configs.keys import KeyFileError
from configs.schema import Config

ANYWHERE = {"tcp://0.0.0.0:": "tcp://127.0.0.1:", "tcp://[::]:": "tcp://[::1]:"}
"""Bound to every address of the machine -> one of these, to connect to."""


class Door(NamedTuple):
    """Where a client comes in."""

    control: str
    stream: str
    keys: Keys | None

    def connect(self) -> Client:
        """A client, which may be refused when it asks."""
        return Client(*self)


def door(config: Config) -> Door:
    """Of the daemon with this configuration; the keys are the daemon's own.

    Raises:
        NoDaemonError: they cannot be read.
    """
    endpoints, security = config.endpoints, config.security
    control, stream = reached(endpoints.control), reached(endpoints.stream)
    if not security.curve:
        return Door(control, stream, None)
    try:
        server = keys.read_pair(security.secret_key_file).public
        own = keys.local_pair(config.state_dir)
    except KeyFileError as error:
        raise NoDaemonError(
            f"{error.fact}: the daemon makes its keys at its first start with security.curve, for its own user "
            f"(and root) alone; is state_dir ({config.state_dir}) that daemon's? Others need a key of their own, "
            "see docs/security.md"
        ) from None
    return Door(control, stream, Keys(server, *own))


def reached(endpoint: str) -> str:
    """The address to connect to for one that is bound."""
    for bound, there in ANYWHERE.items():
        if endpoint.startswith(bound):
            return there + endpoint.removeprefix(bound)
    return endpoint
