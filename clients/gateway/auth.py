"""Who asks, and what they may do.

The main token (``gateway.token``) may do everything; without one, so may whoever reaches the loopback. Tokens of a
session are HMACs over what they allow: any gateway of this daemon can check one, and nothing is stored.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import Depends
from starlette.requests import HTTPConnection

from clients.gateway.errors import ApiError
from configs.schema import Gateway as Settings
from configs.scopes import SCOPES

KEY_NAME = "gateway.key"
KEY_BYTES = 32
SUBPROTOCOL = "musecast"
BEARER = "bearer."
"""Begins the subprotocol that carries a token: a browser can set no header of a WebSocket."""


class Grant(msgspec.Struct, frozen=True, omit_defaults=True, rename={"session_id": "sid", "expires_at": "exp"}):
    """What a token of a session allows."""

    session_id: str
    expires_at: int
    """Unix seconds: a token outlives the process that made it."""
    scope: list[str]
    origins: list[str] = []


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        session_id: the only session that it may touch; None: any.
        level: index of its highest scope.
        origins: pages that its token is for; empty: not limited.
        expires_at: of its token, Unix seconds.
    """

    session_id: str | None
    level: int
    origins: tuple[str, ...] = ()
    expires_at: float = math.inf

    def check(self, scope: str, session_id: str | None = None) -> None:
        """Whether it may do what needs ``scope``, with this session.

        Raises:
            ApiError: UNAUTHENTICATED with 403: its token is valid, and not for this.
        """
        if self.session_id is not None and session_id is not None and session_id != self.session_id:
            raise _forbidden("this token is for another session: ask for one of this session")
        if self.level < SCOPES.index(scope):
            have = SCOPES[self.level]
            raise _forbidden(f"this token may {have}, and that needs the scope {scope}: ask for a token with it")


OPERATOR = Caller(None, SCOPES.index("operate"))


def _forbidden(message: str) -> ApiError:
    return ApiError("UNAUTHENTICATED", message, status=403)


class Tokens:
    """Makes and reads tokens.

    Args:
        settings: of the gateway.
        runtime_dir: where the key is, made by the first gateway of a daemon.

    Raises:
        OSError: the key or ``token_file`` can neither be read nor made.
    """

    def __init__(self, settings: Settings, runtime_dir: str) -> None:
        file = settings.token_file
        self._main = (Path(file).read_text("utf-8").strip() if file else settings.token).encode()
        self._key = _key(Path(runtime_dir, KEY_NAME))

    @property
    def needed(self) -> bool:
        """Whether nothing is answered without one."""
        return bool(self._main)

    def issue(
        self,
        session_id: str,
        scope: Sequence[str],
        ttl_s: int,
        origins: Sequence[str] = (),
        at_most: float = math.inf,
    ) -> tuple[str, int]:
        """A token, and until when it holds (Unix seconds): never beyond ``at_most``, the end of its maker's."""
        expires_at = int(min(time.time() + ttl_s, at_most))
        body = msgspec.json.encode(Grant(session_id, expires_at, [*scope], [*origins]))
        return f"{_text(body)}.{_text(self._sign(body))}", expires_at

    def of(self, connection: HTTPConnection) -> Caller:
        """Who asks.

        Raises:
            ApiError: UNAUTHENTICATED: no token where one is needed, or one that is not valid (any more); 403 for
                one that is for other pages.
        """
        token = presented(connection)
        if token is None:
            if self.needed:
                message = "a token is needed: `Authorization: Bearer ...`; see gateway.token in docs/operations.md"
                raise ApiError("UNAUTHENTICATED", message)
            return OPERATOR
        in_address = "token" in connection.query_params  # which logs and histories keep: not for the main token
        if self._main and not in_address and hmac.compare_digest(token.encode(), self._main):
            return OPERATOR
        caller = self.read(token)
        origin = connection.headers.get("origin")
        if caller.origins and origin not in caller.origins:
            raise _forbidden("this token is for other pages (its `origins`)")
        return caller

    def read(self, token: str) -> Caller:
        """What a token of a session allows.

        Raises:
            ApiError: UNAUTHENTICATED: not ours, or expired.
        """
        grant: Grant | None = None
        with contextlib.suppress(ValueError, msgspec.DecodeError):
            body, _, signature = token.partition(".")
            data = _bytes(body)
            if hmac.compare_digest(_bytes(signature), self._sign(data)):
                grant = msgspec.json.decode(data, type=Grant)
        if grant is None:
            raise ApiError("UNAUTHENTICATED", "this token is not one of this daemon: ask for another")
        if grant.expires_at <= time.time():
            raise ApiError("UNAUTHENTICATED", "this token has expired: ask for another")
        level = max(map(SCOPES.index, grant.scope))
        return Caller(grant.session_id, level, tuple(grant.origins), grant.expires_at)

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)


def presented(connection: HTTPConnection) -> str | None:
    """The token that came with a request: header, subprotocol or, for a session's token, ``?token=``."""
    scheme, _, value = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    for offered in connection.headers.get("sec-websocket-protocol", "").split(","):
        if offered.strip().startswith(BEARER):
            return offered.strip().removeprefix(BEARER)
    return connection.query_params.get("token")


def _text(data: bytes) -> str:
    """Without padding: a subprotocol has no "="."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _key(path: Path) -> bytes:
    """The daemon's key; of two that make one at once, one wins."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    new = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(new, path)
    new.unlink()
    return path.read_bytes()


def _caller(connection: HTTPConnection) -> Caller:
    tokens: Tokens = connection.app.state.gateway.tokens
    return tokens.of(connection)


Who = Annotated[Caller, Depends(_caller)]
"""Parameter of an HTTP route: ``async def route(who: Who)``, then ``who.check("talk", session_id)``. A WebSocket
asks ``here.tokens.of(websocket)`` itself, because only it can refuse in its own way."""
