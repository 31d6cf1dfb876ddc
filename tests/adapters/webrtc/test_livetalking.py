"""LiveTalking's routes, asked as its own front end asks them."""

from __future__ import annotations

import asyncio
import io
import wave
from typing import Any

import av
import httpx
import numpy as np
import pytest

from tests.adapters.webrtc.watcher import Watcher, eventually, watching
from tests.support.client import Stranger
from tests.support.gateway_process import GatewayProcess
from tests.support.limits import WORK_S

RATE = 16_000
TONE = (np.sin(np.arange(2 * RATE) * 2 * np.pi * 440 / RATE) * 12_000).astype(np.int16)
OK = {"code": 0, "msg": "ok"}


def as_wav() -> bytes:
    blob = io.BytesIO()
    with wave.open(blob, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(TONE.tobytes())
    return blob.getvalue()


def as_mp3() -> bytes:
    blob = io.BytesIO()
    with av.open(blob, "w", format="mp3") as output:
        stream: Any = output.add_stream("mp3", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(TONE.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        resampled = av.AudioResampler("s16p", "mono", RATE, 576)
        for part in [*resampled.resample(frame), *resampled.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return blob.getvalue()


async def connect(watcher: Watcher, **fields: str) -> str:
    """What ``negotiate()`` of its page does."""
    sdp = await watcher.offer()
    reply = await watcher.http.post("/offer", json={"sdp": sdp, "type": "offer", **fields})
    assert reply.status_code == 200
    answer = reply.json()
    assert answer.keys() == {"sdp", "type", "sessionid"}, answer
    assert answer["type"] == "answer"
    await watcher.take(answer["sdp"])
    await watcher.until(lambda: bool(watcher.frames), "picture")
    return str(answer["sessionid"])


async def asked(watcher: Watcher, path: str, **body: Any) -> dict[str, Any]:
    reply = await watcher.http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


def test_a_visit(webrtc: GatewayProcess) -> None:
    async def scene() -> None:
        async with watching(webrtc.url) as watcher:
            sid = await connect(watcher)

            async def speaks() -> bool:
                told = await asked(watcher, "/is_speaking", sessionid=sid)
                assert told == {**OK, "data": told["data"]}
                return bool(told["data"])

            async def silent() -> bool:
                return not await speaks()

            assert await silent()
            told = await asked(watcher, "/human", text="Hello there.", type="echo", interrupt=True, sessionid=sid)
            assert told == OK
            await eventually(speaks, "speaking")
            await watcher.until(lambda: watcher.loud >= 5, "voice")
            await eventually(silent, "silence")
            assert await asked(watcher, "/human", text="What can you do?", type="chat", sessionid=sid) == OK
            await eventually(speaks, "an answer")
            assert await asked(watcher, "/interrupt_talk", sessionid=sid) == OK
            await eventually(silent, "silence")
            assert (await asked(watcher, "/set_audiotype", audiotype=2, sessionid=sid))["code"] == -1
            await watcher.close()

            async def over() -> bool:
                rows = (await watcher.http.get("/api/status")).json()["sessions"]
                return sid not in [row["session_id"] for row in rows]

            await eventually(over, "the end of the session with its viewer")

    asyncio.run(scene())


@pytest.mark.parametrize("made", [as_wav, as_mp3])
def test_speech_from_a_file(webrtc: GatewayProcess, made: Any) -> None:
    async def scene() -> None:
        async with watching(webrtc.url) as watcher:
            sid = await connect(watcher, avatar="default")
            # FormData of a browser: the file comes before the field.
            form = {"file": ("speech", made(), "audio/mpeg"), "sessionid": (None, sid)}
            reply = await watcher.http.post("/humanaudio", files=form)
            assert (reply.status_code, reply.json()) == (200, OK)
            await watcher.until(lambda: watcher.loud >= 50, "the tone")

    asyncio.run(scene())


def test_a_recording(webrtc: GatewayProcess) -> None:
    async def scene() -> None:
        async with watching(webrtc.url) as watcher:
            sid = await connect(watcher)
            assert (await asked(watcher, "/record", type="end_record", sessionid=sid))["code"] == -1
            assert await asked(watcher, "/record", type="start_record", sessionid=sid) == OK
            await asked(watcher, "/human", text="Hello.", type="echo", sessionid=sid)
            await watcher.until(lambda: watcher.loud >= 5, "voice")
            assert await asked(watcher, "/record", type="end_record", sessionid=sid) == OK
            film = await watcher.http.get(f"/record/{sid}")
            assert (film.status_code, film.headers["content-type"]) == (200, "video/mp4")
            with av.open(io.BytesIO(film.content)) as container:
                assert sum(1 for _ in container.decode(video=0)) >= 8

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/human", {"text": "Hello.", "type": "echo", "sessionid": "nobody"}),
        ("/human", {"text": "Hello.", "type": "sing", "sessionid": "nobody"}),
        ("/human", {"text": "Hello."}),
        ("/interrupt_talk", {"sessionid": "nobody"}),
        ("/is_speaking", {"sessionid": "nobody"}),
        ("/is_speaking", {"sessionid": 7}),
        ("/record", {"sessionid": "nobody", "type": "start_record"}),
        ("/set_audiotype", {"sessionid": "nobody", "audiotype": 1}),
        ("/offer", {"sdp": "v=0", "type": "offer"}),
        ("/offer", {"sdp": "v=0", "type": "offer", "avatar": "nobody"}),
        ("/offer", {}),
    ],
)
def test_what_is_wrong_is_told_with_200(webrtc: GatewayProcess, path: str, body: dict[str, Any]) -> None:
    reply = httpx.post(f"{webrtc.url}{path}", json=body, timeout=WORK_S)
    assert reply.status_code == 200
    assert reply.json()["code"] == -1
    assert reply.json()["msg"]


def test_a_file_without_sound_is_told_with_200(webrtc: GatewayProcess, stranger: Stranger) -> None:
    sid = stranger.session().sid
    form = {"file": ("speech.wav", b"no sound at all", "audio/wav"), "sessionid": (None, sid)}
    reply = httpx.post(f"{webrtc.url}/humanaudio", files=form, timeout=WORK_S)
    assert reply.status_code == 200
    assert reply.json()["code"] == -1


def test_pages_of_others_are_kept_out(webrtc: GatewayProcess) -> None:
    for path in ("/human", "/offer", "/interrupt_talk"):
        reply = httpx.post(
            f"{webrtc.url}{path}", json={}, headers={"Origin": "http://evil.example"}, timeout=WORK_S
        )
        assert reply.status_code == 403
