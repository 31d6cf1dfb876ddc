"""``process_segment``: a client's own speech, lip-synced; answered with a film when its segments are published."""

from __future__ import annotations

from typing import Any

import msgpack
from fastapi import APIRouter, Request

from clients.gateway import forms
from clients.gateway.auth import Who
from clients.gateway.bodies import ProcessSegment
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway, Here
from clients.gateway.sessions import base_url

router = APIRouter(prefix="/api", tags=["sessions"])
EVENTS = 64
"""Of the newest events, among which the end of the turn is looked for."""
TERMINAL = ("turn.ended", "turn.failed", "turn.interrupted")


@router.post(
    "/process_segment",
    operation_id="process_segment",
    openapi_extra=forms.documented(ProcessSegment, "audio", "WAV, or raw s16le with `format`", in_json=True),
)
async def process_segment(request: Request, here: Here, who: Who) -> dict[str, Any]:
    """Speech in, a film out. Multipart with the file `audio`, or JSON with `audio` in base64.

    Answered when the segments that this call completed are published. The turn goes on when the client leaves.
    """
    body, audio = await forms.read(request, ProcessSegment, "audio")
    who.check("control", body.session_id)
    if audio is None:
        raise ApiError("INVALID_ARGUMENT", "audio is missing: a file of the form, or base64 in JSON")
    sid = body.session_id
    asked = {**body.of_request(), "audio": audio, "wait": True}
    result = await here.control.request("process_segment", asked)
    numbers = result["segments"]
    frames, media_us = await _sizes(here, sid, numbers)
    url = f"{base_url(request)}/api/sessions/{sid}/segments/{numbers[0]}-{numbers[-1]}.mp4" if numbers else None
    return {
        **result,
        "video_url": url,
        "frames": frames,
        "duration_s": media_us / 1_000_000,
        "timings_ms": await _timings(here, sid, result["turn"]) if body.last else None,
    }


async def _sizes(here: Gateway, sid: str, numbers: list[int]) -> tuple[int, int]:
    """Frames and microseconds of these segments."""
    frames = media_us = 0
    at = numbers[0] if numbers else 0
    while numbers and at <= numbers[-1]:
        found = await here.control.request("segments", {"session_id": sid, "from_seq": at, "max": 16})
        headers = [msgpack.unpackb(header) for header, _ in found["segments"]]
        if not headers:
            break
        for header in headers:
            if header["seq"] <= numbers[-1]:
                frames += header["frames"]
                media_us += header["dur"]
        at = headers[-1]["seq"] + 1
    return frames, media_us


async def _timings(here: Gateway, sid: str, turn: int) -> dict[str, Any] | None:
    """``timings_ms`` of a turn whose last segment is published; None when it ended in another way."""
    newest = (await here.control.request("events", {"session_id": sid, "from_n": 0, "max": 1}))["newest_n"] or 0
    asked = {"session_id": sid, "from_n": max(0, newest - EVENTS), "max": 2 * EVENTS}
    events = (await here.control.request("events", asked))["events"]
    for raw in reversed(events):
        event = msgpack.unpackb(raw) if isinstance(raw, bytes) else raw
        if event["turn"] == turn and event["event"] in TERMINAL:
            timings: dict[str, Any] | None = event["data"].get("timings_ms")
            return timings
    return None
