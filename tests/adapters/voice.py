"""Speech for the tests of adapters, and what is to become of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from tests.support.client import Stranger
from tests.support.limits import WORK_S

RATE = 24_000
HZ = 220
QUANTUM = 8
"""Frames: a turn is padded to whole ones."""


def tone(seconds: float) -> bytes:
    """s16le mono."""
    at = np.arange(int(RATE * seconds)) / RATE
    return (np.sin(2 * np.pi * HZ * at) * 8000).astype("<i2").tobytes()


def pieces(seconds: float, each_s: float = 0.1) -> list[bytes]:
    """The same, in frames as frameworks send them."""
    whole, size = tone(seconds), int(RATE * each_s) * 2
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def hertz(sound: bytes) -> float:
    """Of 48 kHz samples, by their zero crossings."""
    samples = np.frombuffer(sound, "<i2").astype(np.int32)
    return float(np.count_nonzero(np.diff(np.signbit(samples))) / 2 / (len(samples) / 48_000))


def loud(sound: bytes) -> bool:
    """Whether there is more in it than silence."""
    return bool(np.abs(np.frombuffer(sound, "<i2").astype(np.int32)).max() > 500)


async def until(true: Callable[[], Any], what: str, limit_s: float = WORK_S) -> None:
    """Wait for it, looking often."""
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        await asyncio.sleep(0.02)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """A coroutine as a test; what it started must have ended with it."""

    async def whole() -> None:
        await test()
        await until(lambda: len(asyncio.all_tasks()) == 1, f"tasks end: {asyncio.all_tasks()}", 30)

    asyncio.run(whole())


def turns(stranger: Stranger, sid: str) -> dict[int, tuple[list[str], int]]:
    """Of a session: the events that begin and end each turn, and its frames."""
    found: dict[int, tuple[list[str], int]] = {}
    for raw in stranger.control.ok("events", session_id=sid, from_n=0)["events"]:
        header = unpacked(raw)
        if header["event"].startswith("turn."):
            events, frames = found.get(header["turn"], ([], 0))
            found[header["turn"]] = ([*events, header["event"]], frames)
    first, newest = 0, 1
    while first <= newest:
        reply = stranger.control.ok("segments", session_id=sid, from_seq=first, max=64)
        headers = [unpacked(raw) for raw, _ in reply["segments"]]
        if not headers:
            break
        for header in headers:
            if header["turn"]:
                events, frames = found[header["turn"]]
                found[header["turn"]] = (events, frames + header["frames"])
        first, newest = headers[-1]["seq"] + 1, reply["newest_seq"]
    return found


def unpacked(raw: bytes) -> dict[str, Any]:
    """A header as it was published."""
    import msgpack

    header: dict[str, Any] = msgpack.unpackb(raw)
    return header
