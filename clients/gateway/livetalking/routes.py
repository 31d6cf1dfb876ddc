"""The routes. ``/offer`` begins a session that ends with its viewer; the others take the id of any session."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.datastructures import UploadFile

from clients.gateway.auth import Caller, Who
from clients.gateway.bodies import Id
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway, Here
from clients.gateway.livetalking.bodies import (
    Audiotype,
    Human,
    Offer,
    OfSession,
    Record,
    answered,
    documented,
    fitting,
    read,
)
from clients.gateway.livetalking.sound import speak
from clients.gateway.media import FILE, MIME
from clients.gateway.recordings import Kept, Recordings

FIELDS = 8
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["sessionid", "file"],
                    "properties": {
                        "sessionid": {"type": "string"},
                        "file": {"type": "string", "format": "binary", "description": "speech in any format"},
                    },
                }
            }
        },
    }
}

router = APIRouter(tags=["livetalking"])


async def _row(here: Gateway, sid: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = (await here.control.request("status"))["sessions"]
    row = next((one for one in rows if one["session_id"] == sid), None)
    if row is None:
        raise ApiError("NOT_FOUND", "session not found")
    return row


@router.post("/offer", operation_id="livetalking_offer", openapi_extra=documented(Offer))
async def offer(request: Request, here: Here, who: Who) -> JSONResponse:
    """Begin a session and watch it over WebRTC; needs `gateway.webrtc`."""
    who.check("operate")
    try:
        return JSONResponse(await _offered(request, here, await read(request, Offer)))
    except ApiError as error:
        return JSONResponse({"code": -1, "msg": error.message})


async def _offered(request: Request, here: Gateway, body: Offer) -> dict[str, Any]:
    if not here.config.gateway.webrtc:
        raise ApiError("UNSUPPORTED", "/offer needs WebRTC: install the extra `webrtc`, set gateway.webrtc: true")
    started = await here.control.request(
        "start_session", {"template_id": body.avatar or "default", "idle": "loop"}
    )
    sid = started["session_id"]
    end = partial(here.control.request, "end_session", {"session_id": sid, "drain": False})
    try:
        _, answer = await request.app.state.peers.open(sid, body.sdp, on_end=end)
    except BaseException:
        await end()
        raise
    return {"sdp": answer, "type": "answer", "sessionid": sid}


@router.post("/human", operation_id="livetalking_human", openapi_extra=documented(Human))
async def human(request: Request, here: Here, who: Who) -> JSONResponse:
    """Say a text (`echo`) or answer it (`chat`); with `interrupt` what is said until then ends."""
    return await answered(_human(request, here, who))


async def _human(request: Request, here: Gateway, who: Caller) -> None:
    body = await read(request, Human)
    who.check("talk", body.sessionid)
    if body.interrupt:
        await here.control.request("interrupt", {"session_id": body.sessionid})
    op = "say" if body.type == "echo" else "chat"
    await here.control.request(op, {"session_id": body.sessionid, "text": body.text})


@router.post("/humanaudio", operation_id="livetalking_humanaudio", openapi_extra=FORM)
async def humanaudio(request: Request, here: Here, who: Who) -> JSONResponse:
    """Speak a recording."""
    return await answered(_humanaudio(request, here, who))


async def _humanaudio(request: Request, here: Gateway, who: Caller) -> None:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ApiError("INVALID_ARGUMENT", "the body must be multipart/form-data with `sessionid` and `file`")
    async with request.form(max_files=1, max_fields=FIELDS) as form:
        sid, file = fitting(OfSession, {"sessionid": form.get("sessionid")}).sessionid, form.get("file")
        if not isinstance(file, UploadFile):
            raise ApiError("INVALID_ARGUMENT", "the form needs a file `file`")
        data = await file.read()
    who.check("control", sid)
    await _row(here, sid)
    await speak(here.control, sid, data)


@router.post("/interrupt_talk", operation_id="livetalking_interrupt_talk", openapi_extra=documented(OfSession))
async def interrupt_talk(request: Request, here: Here, who: Who) -> JSONResponse:
    """End what is being said, and what waits."""

    async def work() -> None:
        body = await read(request, OfSession)
        who.check("talk", body.sessionid)
        await here.control.request("interrupt", {"session_id": body.sessionid})

    return await answered(work())


@router.post("/is_speaking", operation_id="livetalking_is_speaking", openapi_extra=documented(OfSession))
async def is_speaking(request: Request, here: Here, who: Who) -> JSONResponse:
    """Whether a turn runs, or its end is still to be seen."""

    async def work() -> bool:
        body = await read(request, OfSession)
        who.check("watch", body.sessionid)
        row = await _row(here, body.sessionid)
        peers = request.app.state.peers.of_session(body.sessionid) if here.config.gateway.webrtc else ()
        return row["turn"] is not None or any(peer.speaking for peer in peers)

    return await answered(work())


@router.post("/record", operation_id="livetalking_record", openapi_extra=documented(Record))
async def record(request: Request, here: Here, who: Who, recordings: Kept) -> JSONResponse:
    """Begin or end a recording of the session; it begins with what the daemon still holds of it."""

    async def work() -> None:
        body = await read(request, Record)
        who.check("control", body.sessionid)
        if (await _row(here, body.sessionid))["record"]:
            raise ApiError("ALREADY_EXISTS", "this session is recorded from its start to its end")
        await _record(recordings, body)

    return await answered(work())


async def _record(recordings: Recordings, body: Record) -> None:
    if body.type == "start_record":
        recordings.begin(body.sessionid)
    elif not await recordings.finish(body.sessionid):
        raise ApiError("NOT_FOUND", "no recording of this session runs: start_record begins one")


@router.get("/record/{sid}", operation_id="livetalking_recorded", response_class=Response, responses=FILE)
async def recorded(sid: Id, who: Who, recordings: Kept) -> Response:
    """The recording that `end_record` ended."""
    who.check("watch", sid)
    path = recordings.finished(sid)
    if not path.is_file():
        raise ApiError("NOT_FOUND", "there is no recording of it: start_record and end_record make one")
    return FileResponse(path, media_type=MIME, filename=f"{sid}.mp4", content_disposition_type="inline")


@router.post("/set_audiotype", operation_id="livetalking_set_audiotype", openapi_extra=documented(Audiotype))
async def set_audiotype(request: Request, here: Here, who: Who) -> JSONResponse:
    """Custom motions are not something that templates have: always refused."""

    async def work() -> None:
        body = await read(request, Audiotype)
        who.check("talk", body.sessionid)
        await _row(here, body.sessionid)
        raise ApiError("UNSUPPORTED", "templates have no custom motions: prepare a film with the motion in it")

    return await answered(work())
