"""The daemon that a configuration describes: where its sockets are reached, and with which keys."""

from __future__ import annotations

import os
from typing import NamedTuple

from clients.client import Client, NoDaemonError
from clients.keys import Keys
from configs import keys
from configs.keys import KeyFileError
from configs.schema import Config

LOCAL = "ipc://"
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
        NoDaemonError: they cannot be read, or its local sockets are for another user.
    """
    endpoints, security = config.endpoints, config.security
    control, stream = reached(endpoints.control), reached(endpoints.stream)
    for endpoint in (control, stream):
        if endpoint.startswith(LOCAL):
            _check_right(endpoint.removeprefix(LOCAL))
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


def _check_right(path: str) -> None:
    """Raise ``NoDaemonError`` where the system would let this user wait in vain."""
    try:
        os.stat(path)
    except PermissionError:
        pass
    except OSError:
        return  # there is none: that is told by who asks
    else:
        if os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            return
    raise NoDaemonError(
        f"{path} is for the daemon's user alone, or for the group of its folder: run this as that user, or see "
        "docs/security.md for who else can be let in"
    )


def reached(endpoint: str) -> str:
    """The address to connect to for one that is bound."""
    for bound, there in ANYWHERE.items():
        if endpoint.startswith(bound):
            return there + endpoint.removeprefix(bound)
    return endpoint
