"""Renderings that were asked for over HTTP: a queue of them, on disk, so that the gateway's death loses none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import structlog

from clients.daemon import Door
from clients.gateway.errors import ApiError

FOLDER = "renders"
"""Below ``state_dir``; a folder per job."""
WAITING = 16
"""Jobs that are not finished; more are BUSY."""
KEPT = 64
"""Finished jobs; the oldest go first."""
KEEP_S = 24 * 3600.0
SWEEP_S = 600.0
ATTEMPTS = 3
"""A job that took the gateway with it so often is not tried again."""
STOP_S = 10.0
LINE_BYTES = 1 << 16

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED = ("done", "failed", "cancelled")
log = structlog.get_logger()


@dataclass(slots=True)
class Job:
    """One rendering, as it stands in ``job.json``."""

    id: str
    template_id: str
    quality: str
    text: str | None
    state: State = "queued"
    progress: float = 0.0
    attempts: int = 0
    at: float = 0.0
    """Unix seconds of the last change of state: files outlive the clock of a process."""
    error: dict[str, Any] | None = None
    seconds: float | None = None
    frames: int | None = None

    def told(self) -> dict[str, Any]:
        """What a client is told."""
        made: dict[str, Any] = {"job": self.id, "state": self.state, "progress": self.progress}
        for name in ("error", "seconds", "frames"):
            if (value := getattr(self, name)) is not None:
                made[name] = value
        return made


class RenderJobs:
    """One job after another; ``run`` it in one task.

    Args:
        folder: of all jobs.
        door: where the daemon is.
    """

    def __init__(self, folder: Path, door: Door) -> None:
        self._folder = folder
        self._door = {
            "control": door.control,
            "stream": door.stream,
            "keys": door.keys and [key.decode() for key in door.keys],
        }
        self._jobs: dict[str, Job] = {}
        self._come = asyncio.Event()
        self._running: tuple[str, asyncio.subprocess.Process] | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.to_thread(self._load)
        while True:
            await asyncio.to_thread(self._sweep)
            job = next((job for job in self._jobs.values() if job.state == "queued"), None)
            if job is not None:
                await self._do(job)
                continue
            self._come.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_S):
                    await self._come.wait()

    def check_room(self) -> None:
        """Whether one more job can be taken.

        Raises:
            ApiError: BUSY.
        """
        if sum(job.state not in FINISHED for job in self._jobs.values()) >= WAITING:
            raise ApiError("BUSY", f"{WAITING} renderings wait already: ask again when one is done", 5000)

    async def add(self, template_id: str, quality: str, text: str | None, sound: Callable[[Path], None]) -> Job:
        """Queue a job.

        Args:
            sound: writes the recording that is spoken to a path, where there is no text; called in a thread.
        """
        self.check_room()
        job = Job(secrets.token_hex(16), template_id, quality, text, at=time.time())
        self._jobs[job.id] = job

        def write() -> None:
            self._of(job).mkdir(mode=0o700, parents=True)
            if text is None:
                sound(self._of(job) / "sound")
            self._save(job)

        try:
            await asyncio.to_thread(write)
        except BaseException:
            del self._jobs[job.id]
            raise
        self._come.set()
        return job

    def get(self, job_id: str) -> Job:
        """A job that is there.

        Raises:
            ApiError: NOT_FOUND.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise ApiError("NOT_FOUND", f"no rendering {job_id!r}: finished ones stay for a day, {KEPT} at most")
        return job

    def file(self, job: Job) -> Path:
        """The video of a job that is done."""
        return self._of(job) / "out.mp4"

    async def remove(self, job_id: str) -> Job:
        """Cancel a job that is not finished, remove one that is.

        Raises:
            ApiError: NOT_FOUND.
        """
        job = self.get(job_id)
        if job.state in FINISHED:
            del self._jobs[job.id]
            await asyncio.to_thread(shutil.rmtree, self._of(job), ignore_errors=True)
            return job
        self._finish(job, "cancelled")
        if self._running is not None and self._running[0] == job.id:
            with contextlib.suppress(ProcessLookupError):
                self._running[1].terminate()
        return job

    async def _do(self, job: Job) -> None:
        job.state, job.attempts, job.at = "running", job.attempts + 1, time.time()
        await asyncio.to_thread(self._save, job)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clients.gateway.render_job",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES,
        )  # fmt: skip
        self._running = job.id, process
        try:
            await self._follow(job, process)
        finally:
            self._running = None
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(STOP_S):
                        await process.wait()
                except TimeoutError:
                    process.kill()

    async def _follow(self, job: Job, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        order = {**asdict(job), **self._door, "out": str(self.file(job))}
        order["audio"] = str(self._of(job) / "sound") if job.text is None else None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        error: dict[str, Any] | None = {
            "code": "FAILED",
            "message": "the rendering ended without a word: see the log",
        }
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                error = told.get("error", error)
                job.progress = told.get("progress", job.progress)
                if "frames" in told:
                    job.seconds, job.frames, error = told["seconds"], told["frames"], None
        await process.wait()
        if job.state == "running":
            job.error = error
            self._finish(job, "done" if error is None else "failed")
        await asyncio.to_thread(self._save, job)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._of(job) / "sound")
        log.info("render.finished", job=job.id, state=job.state, frames=job.frames)

    @staticmethod
    def _finish(job: Job, state: State) -> None:
        job.state, job.at = state, time.time()

    # --- on disk ---

    def _of(self, job: Job) -> Path:
        return self._folder / job.id

    def _save(self, job: Job) -> None:
        path = self._of(job) / "job.json"
        new = path.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(job), file)
            os.replace(new, path)

    def _load(self) -> None:
        """Jobs of the gateway before this one; what it had not finished is done again."""
        found = []
        for path in self._folder.glob("*/job.json"):
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(Job(**json.loads(path.read_text("utf-8"))))
        for job in sorted(found, key=lambda one: one.at):
            if job.state == "running" and job.attempts >= ATTEMPTS:
                job.error = {"code": "FAILED", "message": "the gateway died each time while this was rendered"}
                self._finish(job, "failed")
                self._save(job)
            elif job.state == "running":
                job.state = "queued"
            self._jobs.setdefault(job.id, job)

    def _sweep(self) -> None:
        """Remove finished jobs that are too old or too many, and folders of none."""
        finished = sorted((j for j in list(self._jobs.values()) if j.state in FINISHED), key=lambda one: one.at)
        old = [job for job in finished if job.at < time.time() - KEEP_S]
        for job in {one.id: one for one in (*old, *finished[: max(0, len(finished) - KEPT)])}.values():
            self._jobs.pop(job.id, None)
        for path in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                if path.name not in self._jobs and path.stat().st_mtime < time.time() - 1:
                    shutil.rmtree(path, ignore_errors=True)
