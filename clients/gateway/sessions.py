"""Sessions and their turns, as JSON."""

from __future__ import annotations

import base64
from typing import Any

from fastapi import APIRouter, Request

from clients.gateway import bodies
from clients.gateway.auth import Caller, Who
from clients.gateway.bodies import Id
from clients.gateway.gateway import Gateway, Here
from configs.scopes import SCOPES

router = APIRouter(prefix="/api", tags=["sessions"])
START_TTL_S = 600
"""Of the token that comes with a new session."""
START_SCOPE = ("watch", "talk")


def base_url(request: Request, scheme: str = "http") -> str:
    """How the client reached us: ``scheme://host``, with TLS where a proxy before us has it."""
    proxied = request.headers.get("x-forwarded-proto", "").split(",")[0].strip() == "https"
    secure = "s" if proxied or request.url.scheme in ("https", "wss") else ""
    return f"{scheme}{secure}://{request.url.netloc}"


async def _ask(here: Gateway, who: Caller, scope: str, op: str, body: bodies.OfSession) -> dict[str, Any]:
    who.check(scope, body.session_id)
    return await here.control.request(op, body.of_request())


@router.post("/start_session", operation_id="start_session")
async def start_session(body: bodies.StartSession, request: Request, here: Here, who: Who) -> dict[str, Any]:
    """Begin a session. `init` is in base64; `token`, where tokens are on, is for its viewer."""
    who.check("operate")
    result = await here.control.request("start_session", body.of_request())
    sid = result["session_id"]
    token = {"token": here.tokens.issue(sid, START_SCOPE, START_TTL_S)[0]} if here.tokens.needed else {}
    return {
        **result,
        "init": base64.b64encode(result["init"]).decode(),
        "ws_url": f"{base_url(request, 'ws')}/ws/{sid}",
        "stream_url": f"{base_url(request)}/api/sessions/{sid}/stream.mp4",
        **token,
    }


@router.post("/update_session", operation_id="update_session")
async def update_session(body: bodies.UpdateSession, here: Here, who: Who) -> dict[str, Any]:
    """Change a session's settings; in force from the next turn."""
    return await _ask(here, who, "control", "update_session", body)


@router.post("/keep_alive", operation_id="keep_alive")
async def keep_alive(body: bodies.OfSession, here: Here, who: Who) -> dict[str, Any]:
    """Put off the expiry of a session."""
    return await _ask(here, who, "talk", "keep_alive", body)


@router.post("/say", operation_id="say")
async def say(body: bodies.Say, here: Here, who: Who) -> dict[str, Any]:
    """Speak a text."""
    return await _ask(here, who, "talk", "say", body)


@router.post("/chat", operation_id="chat")
async def chat(body: bodies.Chat, here: Here, who: Who) -> dict[str, Any]:
    """Answer a text."""
    return await _ask(here, who, "talk", "chat", body)


@router.post("/interrupt", operation_id="interrupt")
async def interrupt(body: bodies.Interrupt, here: Here, who: Who) -> dict[str, Any]:
    """End the current and all waiting turns."""
    return await _ask(here, who, "talk", "interrupt", body)


@router.post("/end_session", operation_id="end_session")
async def end_session(body: bodies.EndSession, here: Here, who: Who) -> dict[str, Any]:
    """End a session; the answer comes after `session.ended`."""
    return await _ask(here, who, "control", "end_session", body)


@router.post("/sessions/{sid}/token", operation_id="make_token")
async def make_token(sid: Id, body: bodies.MakeToken, here: Here, who: Who) -> dict[str, Any]:
    """A short-lived token for a browser, bound to this session and a scope."""
    who.check(max("control", *body.scope, key=SCOPES.index), sid)
    await here.control.request("events", {"session_id": sid, "from_n": 0, "max": 1})  # whether there is one
    token, expires_at = here.tokens.issue(sid, body.scope, body.ttl_s, body.origins, who.expires_at)
    return {"token": token, "expires_at": expires_at}
