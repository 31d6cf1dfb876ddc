"""``/api/render``: a face and a recording, or a text, become a video; later, as a job."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, File, Form, UploadFile
from fastapi import Path as InPath
from fastapi.responses import FileResponse, Response
from starlette.requests import HTTPConnection

from clients.gateway.auth import Who
from clients.gateway.bodies import Id
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway, Here
from clients.gateway.media import FILE, MIME
from clients.gateway.render_jobs import FINISHED, FOLDER, RenderJobs

TEXT_MAX = 20_000
JobId = Annotated[str, InPath(pattern=r"^[0-9a-f]{32}$", examples=["0123456789abcdef0123456789abcdef"])]


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """``app.state.render_jobs`` works inside of the block."""
    gateway: Gateway = app.state.gateway
    folder = Path(gateway.config.state_dir, FOLDER)
    app.state.render_jobs = RenderJobs(folder, gateway.door)
    task = asyncio.create_task(app.state.render_jobs.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _of(connection: HTTPConnection) -> RenderJobs:
    jobs: RenderJobs = connection.app.state.render_jobs
    return jobs


Jobs = Annotated[RenderJobs, Depends(_of)]

router = APIRouter(prefix="/api/render", tags=["render"], lifespan=running)


@router.post("", operation_id="render", status_code=202)
async def render(
    here: Here,
    jobs: Jobs,
    who: Who,
    audio: Annotated[UploadFile | None, File(description="any audio file")] = None,
    text: Annotated[str | None, Form(max_length=TEXT_MAX)] = None,
    template_id: Annotated[Id, Form()] = "default",
    quality: Annotated[Literal["max", "high", "lossless", "fast"], Form()] = "high",
) -> dict[str, Any]:
    """Render a recording or a text with a template; the answer names the job."""
    who.check("operate")
    if (audio is None) == (text is None):
        raise ApiError("INVALID_ARGUMENT", "give one of audio (a file) and text")
    if text is not None and not text.strip():
        raise ApiError("INVALID_ARGUMENT", "there is nothing to say in text")
    jobs.check_room()
    rows = (await here.control.request("list_templates"))["templates"]
    if template_id not in {row["template_id"] for row in rows}:
        raise ApiError("NOT_FOUND", f"no template {template_id!r}: GET /api/templates names all of them")

    def sound(path: Path) -> None:
        assert audio is not None
        with path.open("xb") as file:
            shutil.copyfileobj(audio.file, file)

    return {"job": (await jobs.add(template_id, quality, text, sound)).id}


@router.get("/{job}.mp4", operation_id="render_file", response_class=Response, responses=FILE)
async def file(job: JobId, jobs: Jobs, who: Who) -> Response:
    """The finished video."""
    who.check("operate")
    found = jobs.get(job)
    if found.state == "done":
        return FileResponse(jobs.file(found), media_type=MIME, filename=f"{job}.mp4")
    if found.state in FINISHED:
        raise ApiError("NOT_FOUND", f"this rendering has {found.state}, so there is no video of it")
    raise ApiError("NOT_READY", f"this rendering is {found.state}, {found.progress:.0%} of it are done: ask again")


@router.get("/{job}", operation_id="render_status")
async def status(job: JobId, jobs: Jobs, who: Who) -> dict[str, Any]:
    """How far it is: `state` (queued, running, done, failed, cancelled), `progress` 0 to 1, `error` if any."""
    who.check("operate")
    return jobs.get(job).told()


@router.delete("/{job}", operation_id="delete_render")
async def delete(job: JobId, jobs: Jobs, who: Who) -> dict[str, Any]:
    """Cancel a rendering, or remove a finished one."""
    who.check("operate")
    return (await jobs.remove(job)).told()
