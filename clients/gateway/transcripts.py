"""``transcript.json``, ``.vtt`` and ``.srt`` of a session."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from clients.aio.channel import READ_EVENTS
from clients.aio.control import Control
from clients.aio.messages import Header, Message
from clients.gateway.auth import Caller, Who
from clients.gateway.gateway import Here
from clients.gateway.media import Sid
from clients.gateway.transcript import MIME, Transcript, transcript

router = APIRouter(prefix="/api/sessions/{sid}", tags=["media"])


def _answers(kind: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {MIME[kind].partition(";")[0]: {}}, "description": "what was said"}}


@router.get("/transcript.json", operation_id="transcript_json")
async def as_json(sid: Sid, here: Here, who: Who) -> JSONResponse:
    """What was said, with its media times in microseconds; what was cut says so."""
    return JSONResponse((await _transcript(here.control, who, sid)).document())


@router.get("/transcript.vtt", operation_id="transcript_vtt", response_class=Response, responses=_answers("vtt"))
async def as_vtt(sid: Sid, here: Here, who: Who) -> Response:
    """What was said and heard, as WebVTT."""
    return Response((await _transcript(here.control, who, sid)).vtt(), media_type=MIME["vtt"])


@router.get("/transcript.srt", operation_id="transcript_srt", response_class=Response, responses=_answers("srt"))
async def as_srt(sid: Sid, here: Here, who: Who) -> Response:
    """What was said and heard, as SubRip."""
    return Response((await _transcript(here.control, who, sid)).srt(), media_type=MIME["srt"])


async def _transcript(control: Control, who: Caller, sid: str) -> Transcript:
    who.check("watch", sid)
    events: list[Header] = []
    n = 0
    while True:
        reply = await control.request("events", {"session_id": sid, "from_n": n, "max": READ_EVENTS})
        events += [Message(raw).header for raw in reply["events"]]
        if not reply["events"] or events[-1]["n"] >= reply["newest_n"]:
            return transcript(sid, events)
        n = events[-1]["n"] + 1
