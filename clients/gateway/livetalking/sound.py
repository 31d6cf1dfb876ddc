"""A file of speech, whatever its format, becomes a turn."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator

from clients.aio.control import Control
from clients.gateway.errors import ApiError
from configs.grid import SAMPLE_BYTES, SAMPLE_RATE

PIECE_BYTES = 10 * SAMPLE_RATE * SAMPLE_BYTES
"""10 s of speech in one request."""
STALL_S = 20.0
"""The decoder gives nothing for so long: it is ended."""
SAID_BYTES = 300


async def speak(control: Control, sid: str, data: bytes) -> None:
    """Let the session speak it; answered when all of it is accepted.

    Raises:
        ApiError: there is no sound in it, or the daemon does not take it.
    """
    arguments = {"session_id": sid, "format": "s16le", "sample_rate": SAMPLE_RATE}
    async for piece in _decoded(data):
        await control.request("process_segment", {**arguments, "audio": piece})
    await control.request("process_segment", {**arguments, "audio": b"", "last": True})


async def _decoded(data: bytes) -> AsyncIterator[bytes]:
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(file.write, data)
        file.seek(0)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clients.gateway.livetalking.decode",
            stdin=file, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        while True:
            async with asyncio.timeout(STALL_S):
                piece = await _exactly(process.stdout, PIECE_BYTES)
            if not piece:
                break
            yield piece
        said = (await process.stderr.read(SAID_BYTES)).decode(errors="replace").strip()
        if await process.wait():
            raise ApiError("INVALID_ARGUMENT", said or "the file has no sound that can be read")
    except TimeoutError:
        raise ApiError("INVALID_ARGUMENT", f"the file could not be decoded within {STALL_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _exactly(stream: asyncio.StreamReader, size: int) -> bytes:
    """So many bytes, fewer at the end."""
    try:
        return await stream.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial
