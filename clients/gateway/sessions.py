"""Sessions and their turns, as JSON."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from clients.gateway.gateway import Here

router = APIRouter(prefix="/api", tags=["sessions"])

Id = Annotated[str, Field(pattern=r"\A[A-Za-z0-9_-]{1,64}\z")]
INT = 1 << 63


class Arguments(BaseModel):
    """Base of every body: types are exact, keys that are not known here are handed on to the daemon."""

    model_config = ConfigDict(strict=True, extra="allow")

    def of_request(self) -> dict[str, Any]:
        """What was given, under the names of the operation."""
        return {name: value for name, value in self.model_dump(exclude_unset=True).items() if value is not None}


class StartSession(Arguments):
    """Body of ``start_session``."""

    template_id: Id = "default"
    session_id: Id | None = None
    mode: Literal["realtime", "offline"] = "realtime"
    idle: Literal["none", "loop"] = "none"
    barge_in: bool = True
    voice: str | None = None
    language: str | None = None
    system_prompt: str | None = None
    quality: Literal["high", "lossless", "fast", "max"] = "high"
    fps: float = 25


class OfSession(Arguments):
    """A body that names its session."""

    session_id: Id


class Text(OfSession):
    """Body of ``say`` and ``chat``."""

    text: str


class Interrupt(OfSession):
    """Body of ``interrupt``."""

    turn: Annotated[int, Field(ge=-INT, lt=INT)] | None = None


class EndSession(OfSession):
    """Body of ``end_session``."""

    drain: bool = True


def base_url(request: Request, scheme: str = "http") -> str:
    """How the client reached us: ``scheme://host``, with TLS where a proxy before us has it."""
    proxied = request.headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https"
    secure = "s" if proxied or request.url.scheme in ("https", "wss") else ""
    return f"{scheme}{secure}://{request.url.netloc}"


@router.post("/start_session", operation_id="start_session")
async def start_session(body: StartSession, request: Request, here: Here) -> dict[str, Any]:
    """Begin a session; ``init`` is in base64."""
    result = await here.control.request("start_session", body.of_request())
    sid = result["session_id"]
    return {
        **result,
        "init": base64.b64encode(result["init"]).decode(),
        "ws_url": f"{base_url(request, 'ws')}/ws/{sid}",
        "stream_url": f"{base_url(request)}/api/sessions/{sid}/stream.mp4",
    }


@router.post("/say", operation_id="say")
async def say(body: Text, here: Here) -> dict[str, Any]:
    """Speak a text."""
    return await here.control.request("say", body.of_request())


@router.post("/chat", operation_id="chat")
async def chat(body: Text, here: Here) -> dict[str, Any]:
    """Answer a text."""
    return await here.control.request("chat", body.of_request())


@router.post("/interrupt", operation_id="interrupt")
async def interrupt(body: Interrupt, here: Here) -> dict[str, Any]:
    """End the current and all waiting turns."""
    return await here.control.request("interrupt", body.of_request())


@router.post("/end_session", operation_id="end_session")
async def end_session(body: EndSession, here: Here) -> dict[str, Any]:
    """End a session; the answer comes after ``session.ended``."""
    return await here.control.request("end_session", body.of_request())
