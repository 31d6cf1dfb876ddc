"""The page's files: read and compressed when they are first asked for, and again when they have changed.

The script that asks for a session is a file like any other, but travels within the document: nothing is to be
waited for before it runs. The document's policy names its hash. The modules have addresses that change with them
(``js/0123456789abcdef/main.js``), so that a browser that has them asks for none: 25 requests are half of what a
second visit costs.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clients.gateway import errors
from clients.gateway.errors import ApiError
from clients.gateway.guard import POLICY

PAGE = Path(__file__).resolve().parents[1] / "web"
INDEX = "index.html"
MODULES = "js/"
FIRST = "js/first.js"
VERSIONED = re.compile(r"js/([0-9a-f]{16})/(?=.)")
FOR_EVER = "public, max-age=31536000, immutable"
FILES = 128


@dataclass(frozen=True, slots=True)
class File:
    """One of them."""

    plain: bytes
    packed: bytes
    tag: str
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Page:
    """The application for every path that no route has."""

    def __init__(self) -> None:
        self._names = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()}
        self._modules = sorted(name for name in self._names if name.startswith(MODULES))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file, or raise the 404 of what is none."""
        if scope["type"] != "http":
            await errors.refuse(ApiError("NOT_FOUND", f"there is no {scope['path']} here"), scope, send)
            return
        name = scope["path"].removeprefix("/") or INDEX
        wanted = VERSIONED.match(name)
        if wanted:
            name = MODULES + name[wanted.end() :]
        if scope["method"] not in ("GET", "HEAD") or name not in self._names:
            raise HTTPException(404)
        try:
            file = self._document() if name == INDEX else _now(name)
            # A page of before an update is given what there is now, and not for ever.
            lasts = wanted is not None and wanted[1] == self._version()
        except OSError:
            raise HTTPException(404) from None
        await _response(file, Headers(scope=scope), FOR_EVER if lasts else "")(scope, receive, send)

    def _document(self) -> File:
        return _document(_now(INDEX).plain, _now(FIRST).plain, self._version())

    def _version(self) -> str:
        return _version(tuple(_now(name).tag for name in self._modules))


def _now(name: str) -> File:
    path = PAGE / name
    return _file(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=FILES)
def _file(path: Path, _changed_ns: int) -> File:
    return _packed(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")


@lru_cache(maxsize=1)
def _version(tags: tuple[str, ...]) -> str:
    return hashlib.sha256("".join(tags).encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def _document(page: bytes, script: bytes, version: str) -> File:
    plain = page.replace(f'<script src="{FIRST}">'.encode(), b"<script>" + script, 1)
    plain = plain.replace(b'"' + MODULES.encode(), f'"{MODULES}{version}/'.encode())
    known = base64.b64encode(hashlib.sha256(script).digest()).decode()
    policy = f"{POLICY}; script-src 'self' 'sha256-{known}'"
    return _packed(plain, "text/html", {"content-security-policy": policy})


def _packed(plain: bytes, kind: str, headers: Mapping[str, str] | None = None) -> File:
    tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
    return File(plain, gzip.compress(plain, mtime=0), tag, kind, headers or {})


def _response(file: File, asked: Headers, cached: str) -> Response:
    headers = {"etag": file.tag, "vary": "Accept-Encoding", **file.headers}
    if cached:
        headers["cache-control"] = cached
    if file.tag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" not in asked.get("accept-encoding", ""):
        return Response(file.plain, media_type=file.kind, headers=headers)
    return Response(file.packed, media_type=file.kind, headers={**headers, "content-encoding": "gzip"})
