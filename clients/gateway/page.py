"""The page's files: read and compressed when they are first asked for, and again when they have changed.

The script that asks for a session is a file like any other, but travels within the document: nothing is to be
waited for before it runs. The document's policy names its hash.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import mimetypes
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
FIRST = "js/first.js"
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file, or raise the 404 of what is none."""
        if scope["type"] != "http":
            await errors.refuse(ApiError("NOT_FOUND", f"there is no {scope['path']} here"), scope, send)
            return
        name = scope["path"].removeprefix("/") or INDEX
        if scope["method"] not in ("GET", "HEAD") or name not in self._names:
            raise HTTPException(404)
        path, first = PAGE / name, PAGE / FIRST
        try:
            if name == INDEX:
                file = _document(path, first, path.stat().st_mtime_ns, first.stat().st_mtime_ns)
            else:
                file = _file(path, path.stat().st_mtime_ns)
        except OSError:
            raise HTTPException(404) from None
        await _response(file, Headers(scope=scope))(scope, receive, send)


@lru_cache(maxsize=FILES)
def _file(path: Path, _changed_ns: int) -> File:
    return _packed(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "application/octet-stream")


@lru_cache(maxsize=1)
def _document(path: Path, first: Path, _changed_ns: int, _first_changed_ns: int) -> File:
    script = first.read_bytes()
    plain = path.read_bytes().replace(f'<script src="{FIRST}">'.encode(), b"<script>" + script, 1)
    known = base64.b64encode(hashlib.sha256(script).digest()).decode()
    policy = f"{POLICY}; script-src 'self' 'sha256-{known}'"
    return _packed(plain, "text/html", {"content-security-policy": policy})


def _packed(plain: bytes, kind: str, headers: Mapping[str, str] | None = None) -> File:
    tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
    return File(plain, gzip.compress(plain, mtime=0), tag, kind, headers or {})


def _response(file: File, asked: Headers) -> Response:
    headers = {"etag": file.tag, "vary": "Accept-Encoding", **file.headers}
    if file.tag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" not in asked.get("accept-encoding", ""):
        return Response(file.plain, media_type=file.kind, headers=headers)
    return Response(file.packed, media_type=file.kind, headers={**headers, "content-encoding": "gzip"})
