"""What every request passes before a route sees it: ``Host``, ``Origin``, token, size, pace; the answer's headers.

Pure ASGI, because what is wrapped may never end. A page of somebody else's must not reach the daemon through a
browser on this machine, neither by a form nor by a name that it lets point to 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clients.gateway import auth
from clients.gateway.errors import ApiError, refuse
from configs.gateway import Address
from configs.schema import Gateway as Settings
from models.meter import Meter

LOOPBACK = ("127.0.0.1", "localhost", "::1")
REQUESTS = 256
"""Requests that are answered at the same time, beside ``gateway.viewers``; the next is BUSY."""
BODY_IDLE_S = 10.0
"""Without a byte of a body for so long, it is not waited for any more."""
BODY_BYTES_PER_S = 16_384
BODY_GRACE_S = 15.0
"""A body has this long, and as long as its bytes take at the rate above."""
JSON_BYTES = 1 << 20
LINGER_BYTES = 256 << 10
LINGER_S = 1.0
"""So much of a body that nobody wants is read over, for so long, that its sender can read the refusal."""
LARGE = frozenset({"/api/preprocess_template", "/api/process_segment", "/api/render", "/humanaudio"})
"""Routes whose bodies may be as large as ``gateway.max_body_bytes``; others: ``JSON_BYTES``."""
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self' blob:; "
    "connect-src 'self' ws: wss:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "permissions-policy": "microphone=(self), camera=(self), geolocation=()",
    "referrer-policy": "same-origin",  # a token in a query goes nowhere
    "x-content-type-options": "nosniff",
}
SHARED = "/js/"
"""The page's modules: any page may load them, for `<musecast-player>`. What they open is asked for its origin."""
LIVETALKING = ("/offer", "/human", "/interrupt_talk", "/is_speaking", "/record", "/set_audiotype")
PRIVATE = ("/api/", "/metrics", "/openapi.json", "/whep/", *LIVETALKING)
"""What is not answered without a token, where tokens are on. A WebSocket and /docs are asked by their routes."""
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def split_host(text: str, scheme: str) -> tuple[str, int] | None:
    """Name (lower case, without brackets) and port of a ``Host``, or of an origin without its scheme."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.netloc != text or parts.username is not None or any(c in text for c in "/?#\\ "):
        return None
    return host, port if port is not None else _PORTS[scheme]


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of this origin was served under this ``Host``; TLS may end in a proxy before us."""
    scheme, separator, rest = origin.partition("://")
    if not separator or scheme not in ("http", "https"):
        return False
    of_page = split_host(rest, scheme)
    return of_page is not None and of_page == split_host(host, scheme)


class Guard:
    """Wraps the application.

    Args:
        address: where it listens.
        meter: counts ``requests`` and ``requests.refused``: those whose answer is not ok.
        tokens: a token with ``origins`` lets those pages open a WebSocket.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, address: Address, tokens: auth.Tokens, meter: Meter
    ) -> None:
        self._app = app
        self._meter = meter
        self._hosts = {*LOOPBACK, address.host, *(host.lower().strip("[]") for host in settings.allowed_hosts)}
        self._origins = frozenset(settings.allowed_origins)
        self._max_body = settings.max_body_bytes
        self._tokens = tokens
        self._most = REQUESTS + settings.viewers
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, WebSocket or the lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = self._counting(send)
        try:
            self._check_host(scope)
            self._check_origin(scope)
            if scope["type"] == "http":
                self._check_token(scope)
                await self._serve(scope, receive, send)
                return
        except ApiError as error:
            await self._refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer before the body is there. A large one is not waited for: the connection ends, but not before the
        client had time to read why, because what it still sends would make its system throw the answer away.
        """
        if scope["type"] != "http" or not _may_be_large(scope):
            await refuse(error, scope, with_headers(send))
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({**message, "more_body": True})
                await _linger(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await refuse(error, scope, with_headers(tell, close=True))

    def _counting(self, send: Send) -> Send:
        self._meter.count("requests")

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                self._meter.count("requests.refused")
            await send(message)

        return tell

    def _check_host(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        host = split_host(hosts[0], "http") if len(hosts) == 1 else None
        server = scope.get("server") or ("", 0)
        # The address that was connected to is no name, which somebody could let point here.
        if host is None or (host[0] not in self._hosts and host[0] != server[0]):
            shown = hosts[0][:80] if hosts else ""
            message = f"the host {shown!r} is not one of this daemon: add it to gateway.allowed_hosts"
            raise ApiError("INVALID_ARGUMENT", message)

    def _check_origin(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        origins = headers.getlist("origin")
        if _shared(scope):
            return
        if not origins or (len(origins) == 1 and self._known(origins[0], headers["host"])):
            return
        if scope["type"] == "websocket" and len(origins) == 1:
            token = auth.presented(HTTPConnection(scope))
            if token is not None and origins[0] in self._tokens.read(token).origins:
                return
        message = f"pages of {origins[0][:80]!r} may not use this daemon: add it to gateway.allowed_origins"
        raise ApiError("UNAUTHENTICATED", message, status=403)

    def _check_token(self, scope: Scope) -> None:
        """Before anything of a body is read. What the token is for is the route's to ask."""
        if scope["path"].startswith(PRIVATE) and scope["method"] != "OPTIONS":
            self._tokens.of(HTTPConnection(scope))

    def _known(self, origin: str, host: str) -> bool:
        return origin in self._origins or same_origin(origin, host)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._running >= self._most:
            raise ApiError("BUSY", f"{self._most} requests are being answered: ask again", 1000)
        limit = self._max_body if scope["path"] in LARGE else min(JSON_BYTES, self._max_body)
        body = Body(receive, limit, Headers(scope=scope).get("content-length", ""))
        started = False

        async def tell(message: Message) -> None:
            nonlocal started
            started = True
            close = _may_be_large(scope) and not body.over
            await with_headers(send, close=close, shared=_shared(scope))(message)

        self._running += 1
        try:
            await self._app(scope, body.receive, tell)
        except ApiError as error:
            if started:
                raise
            await self._refuse(error, scope, receive, send)
        finally:
            self._running -= 1


class Body:
    """A request's body, never larger and never slower than allowed.

    Args:
        limit: bytes.
        declared: ``Content-Length``; a body that declares too much is not read at all.
    """

    def __init__(self, receive: Receive, limit: int, declared: str) -> None:
        self._receive = receive
        self._limit = limit
        self._read = 0
        self.over = False
        """It has been read to its end."""
        self._began = time.monotonic()
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
            raise self._too_large()

    def _too_large(self) -> ApiError:
        return ApiError("TOO_LARGE", f"the body is larger than {self._limit} bytes")

    async def receive(self) -> Message:
        """The next part; raises ApiError."""
        if self.over:
            return await self._receive()  # only the end of the connection can come
        allowed_s = BODY_GRACE_S + self._read / BODY_BYTES_PER_S
        left_s = self._began + allowed_s - time.monotonic()
        try:
            async with asyncio.timeout(min(BODY_IDLE_S, left_s)):
                message = await self._receive()
        except TimeoutError:
            told = f"the body comes too slowly, {self._read} bytes until now: send it within {BODY_GRACE_S:g} s"
            raise ApiError("INVALID_ARGUMENT", told) from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self.over = not message.get("more_body", False)
            if self._read > self._limit:
                raise self._too_large()
        return message


async def _linger(receive: Receive) -> None:
    """Read over a little of what still comes."""
    left = LINGER_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while left > 0 and (message := await receive())["type"] == "http.request":
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _may_be_large(scope: Scope) -> bool:
    """Whether the body, when it is not wanted, is too much to be read over and forgotten."""
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "0")
    return "transfer-encoding" in headers or not declared.isdigit() or int(declared[:20]) > LINGER_BYTES


def _shared(scope: Scope) -> bool:
    reads = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
    return reads and str(scope["path"]).startswith(SHARED)


def with_headers(send: Send, *, close: bool = False, shared: bool = False) -> Send:
    """Adds what every answer says.

    Args:
        close: the connection ends, because a body was left unread.
        shared: pages elsewhere may read it.
    """

    async def tell(message: Message) -> None:
        if message["type"].endswith("response.start"):
            headers = MutableHeaders(raw=[*message.get("headers", ())])
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            if "cache-control" not in headers:
                headers["cache-control"] = "no-cache" if "etag" in headers else "no-store"
            if close:
                headers["connection"] = "close"
            if shared:
                headers["access-control-allow-origin"] = "*"
            message = {**message, "headers": headers.raw}
        await send(message)

    return tell
