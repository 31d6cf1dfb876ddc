"""A server that speaks Edge's protocol: MP3 as it is made, the times of the words, and every way to fail.

What is said is espeak's, so that sound and words are real.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from xml.sax.saxutils import escape, unescape

import av
import numpy as np
from aiohttp import WSMsgType, web

from configs.schema import Config
from models.api import Span
from models.tts.espeak import EspeakSynthesizer
from tests.support.limits import GONE_S

RATE = 24_000
FRAME_BYTES = 144
"""Of an MP3 frame: 24 ms at 48 kbit/s."""
TICKS_PER_US = 10


@dataclass
class EdgeServer:
    """What it is to do, and what has happened. Change and read it from any thread."""

    url: str = ""
    fault: str = ""
    """"", "403", "silent", "no audio", "stall" or "drop": the last two after ``after_words`` words."""
    after_words: int = 2
    word_times: bool = True
    first_s: float = 0.0
    """Before the first sound."""
    requests: list[str] = field(default_factory=list)
    """The SSML of every request."""
    opened: int = 0
    closed: int = 0
    """Connections so far, and those of them that have ended."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def until(self, there: Callable[[], bool]) -> None:
        """Wait for something that happens to connections."""
        with self.changed:
            assert self.changed.wait_for(there, GONE_S), (self.opened, self.closed)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One connection."""
        if self.fault == "403":
            return web.Response(status=403, headers={"Date": "Mon, 30 Nov 2026 11:00:00 GMT"})
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._count(opened=1)
        try:
            async for message in socket:
                if message.type != WSMsgType.TEXT or "Path:ssml" not in message.data:
                    continue
                self.requests.append(message.data)
                said = asyncio.ensure_future(self._say(socket, message.data))
                async for _ in socket:  # nothing but the end comes now
                    pass
                said.cancel()
        finally:
            self._count(closed=1)
        return socket

    def _count(self, opened: int = 0, closed: int = 0) -> None:
        with self.changed:
            self.opened += opened
            self.closed += closed
            self.changed.notify_all()

    async def _say(self, socket: web.WebSocketResponse, request: str) -> None:
        found = re.search(r"<voice name='[^']*\(([\w-]+),[^']*'><prosody[^>]*>(.*)</prosody>", request, re.S)
        assert found, request
        await socket.send_str("X-RequestId:1\r\nPath:turn.start\r\n\r\n{}")
        if self.fault == "silent":
            return
        await socket.send_str("X-RequestId:1\r\nPath:response\r\n\r\n{}")
        mp3, words = await asyncio.to_thread(speech, unescape(found[2]), found[1])
        await asyncio.sleep(self.first_s)
        if self.fault == "no audio":
            mp3, words = b"", ()
        sent = 0
        for number, word in enumerate(words):
            if self.fault in ("stall", "drop") and number == self.after_words:
                # Half of the next word is heard, too: what breaks does not ask for words.
                middle = (word.t0_us + word.t1_us) // 2
                await self._sound(socket, mp3[sent : self._bytes(middle)])
                if self.fault == "drop":
                    await socket.close()
                return
            if self.word_times:
                await socket.send_str(_metadata(word))
            until = self._bytes(word.t1_us)
            await self._sound(socket, mp3[sent:until])
            sent = until
        await self._sound(socket, mp3[sent:])
        await socket.send_bytes(_framed(b"X-RequestId:1\r\nPath:audio\r\n", b""))
        await socket.send_str("X-RequestId:1\r\nPath:turn.end\r\n\r\n{}")

    @staticmethod
    def _bytes(us: int) -> int:
        return us * 6 // 1000 // FRAME_BYTES * FRAME_BYTES

    @staticmethod
    async def _sound(socket: web.WebSocketResponse, mp3: bytes) -> None:
        header = b"X-RequestId:1\r\nContent-Type:audio/mpeg\r\nPath:audio\r\n"
        for at in range(0, len(mp3), 720):
            await socket.send_bytes(_framed(header, mp3[at : at + 720]))


def _framed(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(2, "big") + header + data


def _metadata(word: Span) -> str:
    offset, length = word.t0_us * TICKS_PER_US, (word.t1_us - word.t0_us) * TICKS_PER_US
    text = {"Text": escape(word.text), "Length": len(word.text), "BoundaryType": "WordBoundary"}
    entry = {"Type": "WordBoundary", "Data": {"Offset": offset, "Duration": length, "text": text}}
    content = json.dumps({"Metadata": [entry]})
    return f"X-RequestId:1\r\nContent-Type:application/json; charset=utf-8\r\nPath:audio.metadata\r\n\r\n{content}"


@lru_cache(maxsize=64)
def speech(text: str, language: str) -> tuple[bytes, tuple[Span, ...]]:
    """MP3 and words of a text, with half a second of silence behind it, as Edge has it."""
    espeak = EspeakSynthesizer(Config())
    espeak.load(lambda *_: None)
    chunks = list(espeak.speak(text, language, 0, threading.Event()))
    espeak.close()
    pcm = np.concatenate([*(chunk.pcm for chunk in chunks), np.zeros(24_000, np.int16)])[::2]
    encoder = av.CodecContext.create("libmp3lame", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, "mono", "s16p", 48_000
    encoder.options = {"reservoir": "0"}
    frames = [pcm[at : at + 576] for at in range(0, len(pcm), 576)]
    packets = []
    for part in [*frames, None]:
        frame = None
        if part is not None:
            padded = np.pad(part, (0, 576 - len(part)))
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(padded[None]), format="s16p", layout="mono")
            frame.sample_rate = RATE
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return b"".join(packets), tuple(word for chunk in chunks for word in chunk.words)


@contextmanager
def edge_server() -> Iterator[EdgeServer]:
    """A server on a free port of this machine, in a thread of its own."""
    server = EdgeServer()
    loop = asyncio.new_event_loop()
    # One thread from the beginning on: who counts threads is told of no other.
    worker = ThreadPoolExecutor(1, "speech")
    worker.submit(int).result()
    loop.set_default_executor(worker)
    ready = threading.Event()
    runner: list[web.AppRunner] = []

    async def start() -> None:
        app = web.Application()
        app.router.add_get("/edge", server.serve)
        runner.append(web.AppRunner(app, shutdown_timeout=0.1))
        await runner[0].setup()
        site = web.TCPSite(runner[0], "127.0.0.1", 0)
        await site.start()
        port = runner[0].addresses[0][1]
        server.url = f"ws://127.0.0.1:{port}/edge"
        ready.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner[0].cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join(GONE_S)
    worker.shutdown()
