"""One shape and one table of codes for every answer that is not ok, also for what the framework answers itself."""

from __future__ import annotations

import http
import math
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope, Send

from clients.client import RequestError

log = structlog.get_logger()

STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "TOO_LARGE": 413,
    "BUSY": 429,
    "NOT_READY": 503,
    "UNSUPPORTED": 400,
    "FAILED": 502,
    "INTERNAL": 500,
}
"""Code of docs/protocol.md -> HTTP status."""
RETRY_MS = 1000
"""For NOT_READY where nobody says more."""
_OF_FRAMEWORK = {404: "NOT_FOUND", 405: "UNSUPPORTED", 413: "TOO_LARGE"}


class ApiError(HTTPException, RequestError):
    """An answer that is not ok.

    Args:
        code: one of ``STATUS``.
        message: the fact, the limit and the next step.
        retry_after_ms: when to try again; also sent as ``Retry-After``.
        status: of HTTP, where it is not the code's own.
    """

    def __init__(
        self, code: str, message: str, retry_after_ms: int | None = None, status: int | None = None
    ) -> None:
        HTTPException.__init__(self, status or STATUS.get(code, 500), message)
        self.op = ""
        self.code = code
        self.message = message
        self.retry_after_ms = RETRY_MS if code == "NOT_READY" and retry_after_ms is None else retry_after_ms
        self.headers = self._headers()

    def body(self) -> dict[str, Any]:
        """What the client reads."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retry_after_ms is not None:
            error["retry_after_ms"] = self.retry_after_ms
        return {"error": error}

    def _headers(self) -> dict[str, str]:
        """``Retry-After`` in whole seconds, and what to authenticate with."""
        headers = {}
        if self.retry_after_ms is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_ms / 1000)))
        if self.status_code == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body(), self.status_code, self.headers)


async def refuse(error: ApiError, scope: Scope, send: Send) -> None:
    """Answer outside of any route; a WebSocket is refused in its handshake with the same status and body."""
    response = error.response()
    if scope["type"] != "websocket":
        prefix = "http.response"
    elif "websocket.http.response" in scope.get("extensions", {}):
        prefix = "websocket.http.response"
    else:
        await send({"type": "websocket.close", "code": 1008})  # the server answers 403
        return
    await send({"type": f"{prefix}.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": f"{prefix}.body", "body": response.body})


def install(app: FastAPI) -> None:
    """Every exception of a route becomes an answer of the one shape."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return ApiError("INVALID_ARGUMENT", in_words(error)).response()

    @app.exception_handler(HTTPException)
    async def by_framework(request: Request, error: HTTPException) -> JSONResponse:
        return of_framework(error, request).response()

    @app.exception_handler(Exception)
    async def broke(request: Request, error: Exception) -> JSONResponse:
        log.error("request.broke", path=request.url.path, exc_info=error)
        message = f"{type(error).__name__} in {request.url.path}; the gateway's log has the trace"
        return ApiError("INTERNAL", message).response()


def of_framework(error: HTTPException, request: Request) -> ApiError:
    """What Starlette or FastAPI refused."""
    status = error.status_code
    path = request.url.path
    if status == 404:
        return ApiError("NOT_FOUND", f"there is no {path} here; /docs lists what there is")
    if status == 405:
        allowed = (error.headers or {}).get("Allow", "")
        more = f": use {allowed}" if allowed else "; /docs lists what there is"
        return ApiError("UNSUPPORTED", f"{request.method} is not for {path}{more}", status=405)
    code = _OF_FRAMEWORK.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    detail = str(error.detail or http.HTTPStatus(status).phrase)
    return ApiError(code, detail, status=None if code == "INVALID_ARGUMENT" else status)


def in_words(error: RequestValidationError) -> str:
    """The first faults of a request, each with its place."""
    told = []
    for fault in error.errors()[:3]:
        place = ".".join(str(part) for part in fault["loc"] if part != "body")
        reason = str(fault.get("msg", "invalid"))
        if fault.get("type") == "json_invalid":
            told.append(f"the body is not JSON: {fault.get('ctx', {}).get('error', reason)}")
        elif fault.get("type") in ("model_attributes_type", "dict_type", "model_type") and not place:
            told.append("the body must be one JSON object, sent with `Content-Type: application/json`")
        elif fault.get("type") == "missing" and not place:
            told.append("a body is missing: /docs has an example")
        else:
            told.append(f"{place}: {reason[:1].lower()}{reason[1:]}" if place else reason)
    return "; ".join(told)[:1000] or "the request is not valid"
