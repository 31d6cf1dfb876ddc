"""Bodies and answers as LiveTalking has them: the status is 200 either way, ``code`` tells whether it is ok."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Annotated, Any, Literal, TypeVar

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from clients.gateway.errors import ApiError

OK, FAILED = 0, -1
SessionId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["demo"])]


class Body(BaseModel):
    """What is not known is passed over, as there."""

    model_config = ConfigDict(extra="ignore")


class Offer(Body):
    """``/offer``; ``avatar`` is a template."""

    sdp: str
    type: Literal["offer"] = "offer"
    avatar: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,64}$")] | None = None


class OfSession(Body):
    """What names its session."""

    sessionid: SessionId


class Human(OfSession):
    """``/human``: say the text, or answer it."""

    text: str
    type: Literal["echo", "chat"]
    interrupt: bool = False


class Record(OfSession):
    """``/record``."""

    type: Literal["start_record", "end_record"]


class Audiotype(OfSession):
    """``/set_audiotype``."""

    audiotype: int | str


T = TypeVar("T", bound=Body)


def fitting(kind: type[T], given: Any) -> T:
    """What was given as a body.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise ApiError("INVALID_ARGUMENT", f"{where}: {first['msg']}") from None


async def read(request: Request, kind: type[T]) -> T:
    """The body of a request.

    Raises:
        ApiError: INVALID_ARGUMENT.
    """
    what = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if what != "application/json":
        raise ApiError("INVALID_ARGUMENT", f"the body must be application/json, not {what[:80]!r}")
    try:
        given = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        raise ApiError("INVALID_ARGUMENT", f"the body is not JSON: {error}") from None
    return fitting(kind, given)


async def answered(work: Awaitable[Any]) -> JSONResponse:
    """``data`` where the work has a result; what it raises as ``msg``. Who may not ask is told by the status."""
    try:
        data = await work
    except ApiError as error:
        if error.code == "UNAUTHENTICATED":
            raise
        return JSONResponse({"code": FAILED, "msg": error.message})
    return JSONResponse({"code": OK, "msg": "ok"} if data is None else {"code": OK, "msg": "ok", "data": data})


def documented(kind: type[Body]) -> dict[str, Any]:
    """``openapi_extra`` of a route that reads its body by ``read``."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
