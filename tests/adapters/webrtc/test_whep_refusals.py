"""What WHEP refuses, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from aiortc import RTCPeerConnection, RTCRtpReceiver

from tests.adapters.webrtc.watcher import SDP, Watcher, eventually, post, watching
from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon
from tests.support.gateway_process import GatewayProcess, error_of
from tests.support.limits import WORK_S

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def session(module_stranger: Stranger) -> Session:
    return module_stranger.session(idle="loop")


@pytest.fixture(scope="module")
def strict(daemon: Daemon) -> Iterator[GatewayProcess]:
    """With a token, for one viewer."""
    process = GatewayProcess(daemon, "gateway.webrtc=true", "gateway.webrtc_viewers=1", f"gateway.token={TOKEN}")
    yield process
    assert process.stop() == 0


def offered(*kinds: str, codec: str = "", channel: bool = False) -> str:
    """An offer of aiortc."""

    async def make() -> str:
        connection = RTCPeerConnection()
        for kind in kinds:
            transceiver = connection.addTransceiver(kind, "recvonly")
            if codec and kind == "video":
                codecs = RTCRtpReceiver.getCapabilities(kind).codecs
                transceiver.setCodecPreferences([one for one in codecs if one.mimeType == codec])
        if channel:
            connection.createDataChannel("talk")
        await connection.setLocalDescription(await connection.createOffer())
        text = str(connection.localDescription.sdp)
        await connection.close()
        return text

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("offer", "code", "says"),
    [
        (lambda: offered("video", codec="video/VP8"), "UNSUPPORTED", "H.264"),
        (lambda: offered("audio"), "INVALID_ARGUMENT", "one video"),
        (lambda: offered("video", "video"), "INVALID_ARGUMENT", "one video"),
        (lambda: offered("video", channel=True), "INVALID_ARGUMENT", "nothing else"),
        (lambda: offered("video").replace("a=recvonly", "a=sendonly"), "INVALID_ARGUMENT", "recvonly"),
        (
            lambda: offered("video").replace("a=fingerprint", "a=nothing"),
            "INVALID_ARGUMENT",
            "can be|encrypted",
        ),
        (
            lambda: offered("video").replace("a=ice-ufrag", "a=nothing"),
            "INVALID_ARGUMENT",
            "can be|encrypted",
        ),
        (lambda: "v=0\r\n", "INVALID_ARGUMENT", "one video"),
        (lambda: "nothing of the kind", "INVALID_ARGUMENT", "offer"),
        (lambda: "v=0\r\nm=video x UDP/TLS/RTP/SAVPF 96\r\n", "INVALID_ARGUMENT", "offer"),
        (lambda: "v=0\r\n" + "a=x\r\n" * 20_000, "TOO_LARGE", "65536"),
        (lambda: b"\xff\xfe", "INVALID_ARGUMENT", "UTF-8"),
    ],
)
def test_offers_that_are_none(
    webrtc: GatewayProcess, session: Session, offer: object, code: str, says: str
) -> None:
    assert callable(offer)
    reply = httpx.post(
        f"{webrtc.url}/whep/{session.sid}", content=offer(), headers={"Content-Type": SDP}, timeout=WORK_S
    )
    assert reply.status_code in (400, 413)
    assert error_of(reply.json()) == code
    assert any(part in reply.json()["error"]["message"] for part in says.split("|")), reply.text


def test_what_else_is_refused(webrtc: GatewayProcess, session: Session, stranger: Stranger) -> None:
    offer = offered("video", "audio")
    with httpx.Client(base_url=webrtc.url, timeout=WORK_S) as http:

        def sent(sid: str = session.sid, kind: str = SDP, **headers: str) -> tuple[int, str]:
            reply = http.post(f"/whep/{sid}", content=offer, headers={"Content-Type": kind, **headers})
            return reply.status_code, error_of(reply.json())

        assert sent("nobody") == (404, "NOT_FOUND")
        assert sent(kind="application/json") == (400, "INVALID_ARGUMENT")
        assert sent(Origin="http://evil.example") == (403, "UNAUTHENTICATED")
        assert sent(Host="evil.example") == (400, "INVALID_ARGUMENT")
        assert sent(stranger.session(mode="offline").sid) == (400, "UNSUPPORTED")
        patched = http.patch(f"/whep/{session.sid}/x", content="a=candidate", headers={"Content-Type": SDP})
        assert (patched.status_code, error_of(patched.json())) == (405, "UNSUPPORTED")
        asked = http.options(f"/whep/{session.sid}")
        assert (asked.status_code, asked.headers["accept-post"]) == (204, SDP)


def test_a_token_is_for_one_session_and_there_is_room_for_so_many(
    strict: GatewayProcess, session: Session, stranger: Stranger
) -> None:
    other = stranger.session(idle="loop")

    async def scene() -> None:
        main = {"Authorization": f"Bearer {TOKEN}"}
        async with watching(strict.url) as watcher, httpx.AsyncClient(base_url=strict.url, timeout=WORK_S) as http:
            wanted = {"scope": ["watch"], "ttl_s": 600}
            made = await http.post(f"/api/sessions/{session.sid}/token", json=wanted, headers=main)
            token = made.json()["token"]
            offer = await watcher.offer()
            assert (await post(http, session.sid, offer)).status_code == 401
            assert (await post(http, f"{other.sid}?token={token}", offer)).status_code == 403
            reply = await post(http, f"{session.sid}?token={token}", offer)
            assert reply.status_code == 201, reply.text
            await watcher.take(reply.text)
            await watcher.until(lambda: bool(watcher.frames), "picture")
            full = await post(http, session.sid, offer, **main)
            assert (full.status_code, error_of(full.json())) == (429, "BUSY")
            assert "webrtc_viewers" in full.text
            location = reply.headers["location"]
            assert (await http.delete(location)).status_code == 401
            assert (await http.delete(location, headers=main)).status_code == 200

            async def room() -> bool:
                second = Watcher(http)
                answered = await post(http, session.sid, await second.offer(), **main)
                await second.close()
                return answered.status_code == 201

            await eventually(room, "room for another viewer")

    asyncio.run(scene())
