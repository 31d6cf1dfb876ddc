"""The daemon as a whole: ``/health``, ``/api/status``."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from clients.gateway.auth import Who
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Here

router = APIRouter(tags=["daemon"])
SERVING = ("ok", "degraded")


@router.get("/health", operation_id="health")
async def health(here: Here) -> JSONResponse:
    """Alive, and how well: 200 for ok and degraded. Open without a token."""
    result = await here.control.request("health")
    if result["status"] in SERVING:
        return JSONResponse(result)
    error = ApiError("NOT_READY", f"the daemon is {result['status']}: ask again")
    return JSONResponse({**result, **error.body()}, error.status_code, error.headers)


@router.post("/api/initialize", operation_id="initialize")
async def initialize(here: Here, who: Who) -> dict[str, Any]:
    """Answered when every required stage is warm."""
    who.check("operate")
    return await here.control.request("initialize")


@router.get("/api/status", operation_id="status")
async def status(here: Here, who: Who) -> dict[str, Any]:
    """Everything an operator looks at."""
    who.check("operate")
    return await here.control.request("status")
