"""Recordings of sessions that asked for one, and ``recording.mp4``: theirs, or what the daemon still holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse, Response, StreamingResponse
from starlette.requests import HTTPConnection

from clients.aio.channel import BEYOND
from clients.aio.control import Control
from clients.aio.hub import Hub
from clients.aio.messages import Header, Message
from clients.aio.viewer import Viewer
from clients.gateway.auth import Who
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway, Here
from clients.gateway.media import FILE, MIME, Sid, mp4_file, read
from clients.gateway.recording_file import RecordingFile
from clients.mp4 import film
from configs.schema import Recordings as Settings

FOLDER = "recordings"
"""Below ``state_dir``."""
SWEEP_S = 600.0
SWEEP_BYTES = 16 << 20
"""So much more in the folder, and it is looked whether it is too much."""
RETRY_S = 1.0
BEGUN_S = 5.0
"""After the start of this process a reader waits so long for what is to be recorded to be known."""
WAITING_S, WAITING_BYTES = 30.0, 64 << 20
"""For a disk that is slow for a while; what it misses even so is read back."""
CHUNK = 1 << 18

log = structlog.get_logger()


class Recordings:
    """Writes the files; ``run`` it in one task.

    Args:
        folder: made when the first one begins.
        settings: how much is kept, and for how long.
    """

    def __init__(self, folder: Path, settings: Settings, hub: Hub, control: Control) -> None:
        self._folder = folder
        self._settings = settings
        self._hub = hub
        self._control = control
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._files: dict[str, RecordingFile] = {}
        self._opening: dict[str, asyncio.Event] = {}
        """Of each task: set once it has its file."""
        self._looked = asyncio.Event()
        """Set once those are begun that this process found."""
        self._restarted = asyncio.Event()

    def path(self, sid: str) -> Path:
        """Where the recording of a session is, or would be."""
        return self._folder / f"{sid}.mp4"

    async def growing(self, sid: str) -> RecordingFile | None:
        """The file that is being written. One that is only being opened is waited for: its end may be cut off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BEGUN_S):
                await self._looked.wait()
        opening = self._opening.get(sid)
        if opening is not None:
            await opening.wait()
        return self._files.get(sid)

    async def run(self) -> None:
        """Until it is cancelled: begin what is asked for, and remove what is too old or too much."""
        self._hub.on_started = self._started
        self._hub.on_restart = self._restarted.set
        try:
            while True:
                self._restarted.clear()
                await self._find_running()
                self._looked.set()
                await asyncio.to_thread(self._sweep)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SWEEP_S):
                        await self._restarted.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _find_running(self) -> None:
        """Sessions that were started when this process was not there."""
        while True:
            try:
                rows = (await self._control.request("status"))["sessions"]
                break
            except ApiError:
                await asyncio.sleep(RETRY_S)
        for row in rows:
            if row.get("record"):
                self._begin(row["session_id"])
        # Those that ended meanwhile: the daemon holds their last media for a while.
        for path in await asyncio.to_thread(lambda: sorted(self._folder.glob("*.mp4"))):
            with contextlib.suppress(ApiError):
                await self._control.request("segments", {"session_id": path.stem, "from_seq": BEYOND, "max": 1})
                self._begin(path.stem)

    def begin(self, sid: str) -> None:
        """Record a session from what the daemon still holds of it on; one that is recorded goes on."""
        self._begin(sid)

    async def finish(self, sid: str) -> bool:
        """End the recording of a session that goes on, whether there was one. The file is ``finished``."""
        task = self._tasks.get(sid)
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # Under a name of its own: the next process would go on with it otherwise.
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread(self.path(sid).replace, self.finished(sid))
        return True

    def finished(self, sid: str) -> Path:
        """Where a recording is that was ended before its session."""
        return self._folder / f"{sid}.finished.mp4"

    def _started(self, event: Header) -> None:
        if event["data"].get("record"):
            self._begin(event["sid"])

    def _begin(self, sid: str) -> None:
        if sid not in self._tasks:
            self._opening[sid] = asyncio.Event()
            self._tasks[sid] = task = asyncio.create_task(self._record(sid))
            task.add_done_callback(lambda _: self._over(sid))

    def _over(self, sid: str) -> None:
        self._tasks.pop(sid, None)
        self._opening.pop(sid).set()

    async def _record(self, sid: str) -> None:
        file: RecordingFile | None = None
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._files[sid] = await asyncio.to_thread(RecordingFile, self.path(sid))
            self._opening[sid].set()
            log.info("recording.began", sid=sid, from_seq=file.next_seq)
            await self._write_all(sid, file)
            log.info("recording.ended", sid=sid, bytes=file.size)
        except ApiError as error:
            log.warning("recording.lost", sid=sid, code=error.code, message=error.message)
        except (OSError, ValueError) as error:
            log.error("recording.failed", sid=sid, error=str(error))
        finally:
            if file is not None:
                del self._files[sid]
                file.close()

    async def _write_all(self, sid: str, file: RecordingFile) -> None:
        """Every segment once; what a slow disk let slip is read back, once."""
        asked = -1
        while True:
            viewer = Viewer(sid, keeps_alive=False, max_age_s=WAITING_S, max_bytes=WAITING_BYTES)
            first = file.next_seq
            async with self._hub.watch(viewer, from_seq=first) as messages:
                async for message in messages:
                    if message.event == "gateway.skipped" and message.header["data"]["from_seq"] > asked:
                        asked = message.header["data"]["from_seq"]
                        break
                    if not await self._write(file, message):
                        log.warning("recording.full", sid=sid, bytes=file.size)
                        return
                else:
                    return

    async def _write(self, file: RecordingFile, message: Message) -> bool:
        """Whether there was room for it."""
        if message.event is not None:
            return True
        before = file.size
        if message.media:
            await asyncio.to_thread(file.append, message.header, message.payload)
        elif file.empty:
            await asyncio.to_thread(file.begin, message.payload)
        if file.size // SWEEP_BYTES == before // SWEEP_BYTES:
            return True
        return await asyncio.to_thread(self._sweep) <= self._settings.max_bytes

    def _sweep(self) -> int:
        """Remove what is too old, and the oldest of what is too much; the bytes that stay."""
        growing = {file.path for file in [*self._files.values()]}
        found = []
        for path in self._folder.glob("*.mp4"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path, path.stat()))
        total = sum(stat.st_size for _, stat in found)
        oldest = time.time() - self._settings.keep_h * 3600
        for path, stat in sorted(found, key=lambda one: one[1].st_mtime):
            if path not in growing and (stat.st_mtime < oldest or total > self._settings.max_bytes):
                path.unlink(missing_ok=True)
                total -= stat.st_size
        return total

    async def remove(self, sid: str) -> bool:
        """Stop and delete a recording; whether there was one."""
        task = self._tasks.get(sid)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            self.path(sid).unlink()
        except FileNotFoundError:
            return False
        return True


@contextlib.asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[None]:
    """``app.state.recordings`` writes inside of the block."""
    gateway: Gateway = app.state.gateway
    folder = Path(gateway.config.state_dir, FOLDER)
    app.state.recordings = Recordings(folder, gateway.config.recordings, app.state.hub, gateway.control)
    task = asyncio.create_task(app.state.recordings.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _of(connection: HTTPConnection) -> Recordings:
    recordings: Recordings = connection.app.state.recordings
    return recordings


Kept = Annotated[Recordings, Depends(_of)]

router = APIRouter(prefix="/api/sessions/{sid}", tags=["media"], lifespan=running)


@router.get("/recording.mp4", operation_id="recording_mp4", response_class=Response, responses=FILE)
async def recording(sid: Sid, here: Here, recordings: Kept, who: Who) -> Response:
    """The session since its beginning where it was started with `record`, else what the daemon still holds."""
    who.check("watch", sid)
    name = f"{sid}.mp4"
    file = await recordings.growing(sid)
    grown = None if file is None else await asyncio.to_thread(file.tail)
    if grown is not None:
        offset, tail = grown
        headers = {"Content-Length": str(offset + len(tail)), "Content-Disposition": f'inline; filename="{name}"'}
        return StreamingResponse(_until(recordings.path(sid), offset, tail), media_type=MIME, headers=headers)
    path = recordings.path(sid)
    if await asyncio.to_thread(path.is_file):
        return FileResponse(path, media_type=MIME, filename=name, content_disposition_type="inline")
    init, found, _ = await read(here.control, sid, 0, None)
    if not found:
        raise ApiError("NOT_FOUND", "nothing of this session was published yet: let it speak first")
    return mp4_file([init, *film(found)], name)


@router.delete("/recording.mp4", operation_id="delete_recording")
async def delete(sid: Sid, recordings: Kept, who: Who) -> dict[str, Any]:
    """End the recording and remove its file. What the daemon holds of a session goes by itself."""
    who.check("control", sid)
    if not await recordings.remove(sid):
        raise ApiError("NOT_FOUND", f"no recording of {sid}: it was not started with record, or it is deleted")
    return {}


async def _until(path: Path, offset: int, tail: bytes) -> AsyncIterator[bytes]:
    """The beginning of a file that grows, then its end as it was when it was asked for."""
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for at in range(0, offset, CHUNK):
            yield await asyncio.to_thread(os.pread, descriptor, min(CHUNK, offset - at), at)
    finally:
        os.close(descriptor)
    yield tail
