"""Templates and voices: what a session can show and sound like."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

import models.portrait
from clients.gateway import forms
from clients.gateway.auth import Who
from clients.gateway.bodies import Id, PreprocessTemplate
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway, Here
from models.errors import EngineError

router = APIRouter(prefix="/api", tags=["templates"])
THUMBNAIL = (720, 1280)
"""Most of a painting that is shown before it is a template."""
PAINTINGS = Path(models.portrait.__file__).parent


@router.get("/templates", operation_id="list_templates")
async def list_templates(here: Here, who: Who) -> dict[str, Any]:
    """All that can be shown, built-in ones first."""
    who.check("operate")
    return await here.control.request("list_templates")


@router.get("/voices", operation_id="list_voices")
async def list_voices(
    here: Here, who: Who, language: Annotated[str | None, Query(max_length=128)] = None
) -> dict[str, Any]:
    """What a session's `voice` may name; of one language, or of all."""
    who.check("operate")
    return await here.control.request("list_voices", {"language": language})


@router.delete("/templates/{template_id}", operation_id="delete_template")
async def delete_template(template_id: Id, here: Here, who: Who) -> dict[str, Any]:
    """Forget a template."""
    who.check("operate")
    return await here.control.request("delete_template", {"template_id": template_id})


@router.get("/templates/{template_id}/picture.jpg", operation_id="template_picture", response_class=Response)
async def picture(template_id: Id, here: Here, who: Who, request: Request) -> Response:
    """The first frame of its loop."""
    who.check("operate")
    known = (await here.control.request("list_templates"))["templates"]
    if all(one["template_id"] != template_id for one in known):
        raise ApiError("NOT_FOUND", f"no template {template_id!r}: see /api/templates")
    folder = Path(here.config.state_dir, "templates", template_id)
    try:
        tag, data = await asyncio.to_thread(_first_frame, folder, request.headers.get("if-none-match", ""))
    except (EngineError, OSError, ValueError) as error:
        raise ApiError("FAILED", f"the picture of {template_id!r} cannot be read: {error}") from None
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    return Response(data, 200 if data else 304, headers, "image/jpeg")


def _first_frame(folder: Path, have: str) -> tuple[str, bytes]:
    """Its tag, and the picture as JPEG; nothing when that is what the client has.

    Raises:
        EngineError, OSError, ValueError: the template's files are not there or damaged.
    """
    import av
    import numpy as np

    from models.templates.store import read_manifest

    painting = PAINTINGS / f"{folder.name}.webp"
    if not (folder / "manifest.json").exists() and painting.exists():  # built in, and made at its first use
        with Image.open(painting) as one:
            one.thumbnail(THUMBNAIL)
            return f'"{folder.name}"', _jpeg(one.convert("RGB"))
    manifest = read_manifest(folder)
    tag = f'"{manifest["hash"]}"'
    if tag == have:
        return tag, b""
    width, height = int(manifest["width"]), int(manifest["height"])
    pixels = np.fromfile(folder / "frames.i420", np.uint8, height * 3 // 2 * width)
    frame = av.VideoFrame.from_ndarray(pixels.reshape(height * 3 // 2, width), "yuv420p")
    return tag, _jpeg(Image.fromarray(frame.to_ndarray(format="rgb24")))


def _jpeg(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()


@router.post(
    "/preprocess_template",
    operation_id="preprocess_template",
    openapi_extra=forms.documented(PreprocessTemplate, "file", "a photo or a film", in_json=False),
    responses={200: {"content": {"application/x-ndjson": {}}, "description": "the result; progress before it"}},
)
async def preprocess_template(
    request: Request, here: Here, who: Who, stream: Annotated[bool, Query()] = False
) -> Response:
    """Make a template of a photo or film. Multipart with the file `file`, or JSON with `path`.

    With `stream=1` the answer is newline-delimited JSON: lines of progress, and the result (or `error`) last.
    """
    who.check("operate")
    body, source = await forms.read(request, PreprocessTemplate, "file")
    if (source is None) == (body.path is None):
        raise ApiError("INVALID_ARGUMENT", "give either the file `file` of a form, or `path` in JSON")
    asked = body.of_request()
    if source is not None:
        asked["image"] = source  # its first bytes say what it is
    if not stream:
        return JSONResponse(await here.control.request("preprocess_template", asked))
    work = asyncio.ensure_future(here.control.request("preprocess_template", asked))
    lines = _progress(here, body.template_id, work)
    try:
        first = await anext(lines)
    except BaseException:
        work.cancel()
        raise
    return StreamingResponse(_told(first, lines), media_type="application/x-ndjson")


async def _progress(
    here: Gateway, template_id: str, work: asyncio.Future[dict[str, Any]]
) -> AsyncGenerator[dict[str, Any], None]:
    """What is said of a preparation until it is done; its result last.

    Raises:
        ApiError: it was refused.
    """
    async with here.control.listen(f"tpl.{template_id}.") as heard:
        while not work.done():
            news = asyncio.ensure_future(heard())
            await asyncio.wait((news, work), return_when=asyncio.FIRST_COMPLETED)
            if news.done():
                header = news.result()
                yield {name: header[name] for name in ("phase", "done", "total")}
            else:
                news.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await news
    yield work.result()


async def _told(first: dict[str, Any], lines: AsyncGenerator[dict[str, Any], None]) -> AsyncIterator[str]:
    yield json.dumps(first) + "\n"
    async with contextlib.aclosing(lines):
        try:
            async for line in lines:
                yield json.dumps(line) + "\n"
        except ApiError as error:
            yield json.dumps(error.body()) + "\n"
