"""Where WebRTC is off: who asks for it is told how to switch it on."""

from __future__ import annotations

from fastapi import APIRouter

from clients.gateway.errors import ApiError

router = APIRouter()


@router.api_route("/whep/{path:path}", methods=["POST", "DELETE", "PATCH", "OPTIONS"], include_in_schema=False)
async def whep(path: str) -> None:
    """404 with the next step."""
    message = "WebRTC is off: install the extra `webrtc` and set gateway.webrtc: true, or watch by /ws"
    raise ApiError("NOT_FOUND", message)
