"""WHEP: an offer in, an answer out, the viewer's own address to end it by (draft-ietf-wish-whep)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from clients.gateway.auth import Who
from clients.gateway.bodies import Id
from clients.gateway.errors import ApiError
from clients.gateway.webrtc.peers import Viewers, running

SDP = "application/sdp"
_TEXT = {"schema": {"type": "string", "minLength": 1}, "example": "v=0\r\n..."}
OFFER: dict[str, Any] = {"requestBody": {"required": True, "content": {SDP: _TEXT}}}
ANSWER: dict[int | str, dict[str, Any]] = {
    201: {"content": {SDP: _TEXT}, "description": "The answer; `Location` is the viewer."}
}

router = APIRouter(prefix="/whep/{sid}", tags=["webrtc"], lifespan=running)


@router.post(
    "",
    operation_id="whep",
    status_code=201,
    response_class=Response,
    responses=ANSWER,
    openapi_extra=OFFER,
)
async def whep(sid: Id, request: Request, who: Who, viewers: Viewers) -> Response:
    """Watch a session over WebRTC: H.264 as it is, sound as Opus."""
    who.check("watch", sid)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != SDP:
        raise ApiError("INVALID_ARGUMENT", f"the body must be an offer as {SDP}, not {kind[:80]!r}")
    try:
        offer = (await request.body()).decode()
    except UnicodeDecodeError:
        raise ApiError("INVALID_ARGUMENT", "the offer is not UTF-8") from None
    name, answer = await viewers.open(sid, offer, until=who.expires_at)
    return Response(answer, 201, {"Location": f"/whep/{sid}/{name}"}, SDP)


@router.delete("/{viewer}", operation_id="whep_end")
async def end(sid: Id, viewer: str, who: Who, viewers: Viewers) -> dict[str, Any]:
    """End a viewer; `viewer` is the last part of its `Location`."""
    who.check("watch", sid)
    await viewers.end(sid, viewer)
    return {}


@router.options("", include_in_schema=False)
@router.options("/{viewer}", include_in_schema=False)
async def options(sid: Id) -> Response:
    """What may be sent here."""
    return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "POST, DELETE, OPTIONS"})


@router.patch("", include_in_schema=False)
@router.patch("/{viewer}", include_in_schema=False)
async def patch(sid: Id) -> Response:
    """Candidates one by one are not taken: an offer has them all, and so has the answer."""
    message = "candidates are not taken one by one: wait until all are gathered, then send the offer"
    error = ApiError("UNSUPPORTED", message, status=405)
    error.headers = {**(error.headers or {}), "Allow": "DELETE, OPTIONS"}
    raise error
