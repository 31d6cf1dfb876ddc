"""The page's files: read and compressed when they are first asked for, and again when they have changed."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from clients.gateway import errors
from clients.gateway.errors import ApiError

PAGE = Path(__file__).resolve().parents[1] / "web"
INDEX = "index.html"
FILES = 128


@dataclass(frozen=True, slots=True)
class File:
    """One of them."""

    plain: bytes
    packed: bytes
    tag: str
    kind: str


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
        path = PAGE / name
        try:
            file = _file(path, path.stat().st_mtime_ns)
        except OSError:
            raise HTTPException(404) from None
        await _response(file, Headers(scope=scope))(scope, receive, send)


@lru_cache(maxsize=FILES)
def _file(path: Path, _changed_ns: int) -> File:
    plain = path.read_bytes()
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return File(plain, gzip.compress(plain, mtime=0), f'"{hashlib.sha256(plain).hexdigest()[:32]}"', kind)


def _response(file: File, asked: Headers) -> Response:
    headers = {"etag": file.tag, "vary": "Accept-Encoding"}
    if file.tag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" not in asked.get("accept-encoding", ""):
        return Response(file.plain, media_type=file.kind, headers=headers)
    return Response(file.packed, media_type=file.kind, headers={**headers, "content-encoding": "gzip"})
