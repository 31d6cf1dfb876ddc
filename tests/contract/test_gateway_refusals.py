"""What a gateway does not do for whom: foreign pages and names, tokens, sizes, pace, noise."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.client import Stranger
from tests.support.daemon import Daemon
from tests.support.gateway import Patient, WebSocket
from tests.support.gateway_process import GatewayProcess, error_of
from tests.support.limits import REPLY_S, WORK_S
from tests.support.mutations import throw_mutated

MAIN = "0123456789abcdef-main"
SEED = 20261130
MUTATIONS = 500
"""``make soak`` sends twenty times as many."""
VIEWERS = 6


@pytest.fixture(scope="module")
def guarded(daemon: Daemon) -> Iterator[GatewayProcess]:
    """A gateway with a token."""
    settings = (f"gateway.token={MAIN}", "gateway.allowed_origins=[https://www.example.org]")
    process = GatewayProcess(daemon, *settings, f"gateway.viewers={VIEWERS}")
    yield process
    assert process.stop() == 0


def client(gateway: GatewayProcess, token: str = "") -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.Client(base_url=gateway.url, timeout=WORK_S, headers=headers, transport=Patient())


def status_and_code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, error_of(response.json())


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil", "", "localhost.", "[::2]"]
)
@pytest.mark.parametrize("path", ["/", "/health", "/api/status", "/ws/demo"])
def test_a_foreign_host_is_refused(gateway: GatewayProcess, host: str, path: str) -> None:
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        if path.startswith("/ws/")
        else "Connection: close\r\n"
    )
    answer = gateway.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"INVALID_ARGUMENT" in answer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:80", "LOCALHOST"])
def test_names_of_this_machine_are_not_foreign(gateway: GatewayProcess, host: str) -> None:
    answer = gateway.raw(f"GET /docs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_foreign_page_can_do_nothing(gateway: GatewayProcess) -> None:
    port = gateway.port
    with client(gateway) as http:
        for origin in (
            "https://evil.example", "null", f"http://127.0.0.1:{port}.evil.example", f"http://localhost:{port}",
            f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}@evil.example", "http://127.0.0.1", "",
        ):  # fmt: skip
            for answer in (
                http.post("/api/start_session", json={}, headers={"origin": origin}),
                http.get("/health", headers={"origin": origin}),
                http.post("/api/preprocess_template", files={"file": b"x"}, headers={"origin": origin}),
            ):
                assert status_and_code(answer) == (403, "UNAUTHENTICATED"), origin
        assert http.get("/health", headers={"origin": gateway.url}).status_code == 200


def test_a_foreign_page_opens_no_websocket(gateway: GatewayProcess) -> None:
    head = (
        f"GET /ws/demo HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Origin: https://evil.example\r\n\r\n"
    )
    answer = gateway.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"UNAUTHENTICATED" in answer


def test_a_listed_page_may(guarded: GatewayProcess) -> None:
    page = {"origin": "https://www.example.org"}
    with client(guarded, MAIN) as http:
        answer = http.get("/api/status", headers=page)
        assert answer.headers["access-control-allow-origin"] == page["origin"]
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    with client(guarded) as http:
        assert http.options("/api/say", headers={**page, **asked}).status_code == 200


def test_without_a_token_only_what_is_open(guarded: GatewayProcess) -> None:
    with client(guarded) as http:
        for path in ("/api/status", "/api/templates", "/metrics", "/docs", "/openapi.json"):
            answer = http.get(path)
            assert status_and_code(answer) == (401, "UNAUTHENTICATED")
            assert answer.headers["www-authenticate"] == "Bearer"
        assert status_and_code(http.post("/api/start_session", json={})) == (401, "UNAUTHENTICATED")
        assert http.get("/health").status_code == 200
        assert http.get("/").status_code == 200
        # A browser that was given the address gets a page that asks for the key.
        shell = http.get("/docs", headers={"accept": "text/html,*/*;q=0.8"})
        assert (shell.status_code, shell.headers["www-authenticate"]) == (401, "Bearer")
        assert "sha256-" in shell.headers["content-security-policy"]
        assert http.get("/docs/static/swagger-ui.css").status_code == 200
        # The main token is none for an address, which histories and logs keep.
        assert http.get("/api/status", params={"token": MAIN}).status_code == 401
    for wrong in (MAIN + "x", MAIN[:-1], "a.b", ".", "\xe9", "eyJ9.x"):
        with client(guarded) as http:
            headers = {"authorization": f"Bearer {wrong}".encode("latin-1")}
            assert status_and_code(http.get("/api/status", headers=headers)) == (401, "UNAUTHENTICATED")


def test_the_token_of_a_session_is_for_that_session_and_its_scope(guarded: GatewayProcess) -> None:
    with client(guarded, MAIN) as http:
        first = http.post("/api/start_session", json={}).json()
        other = http.post("/api/start_session", json={}).json()["session_id"]
        sid = first["session_id"]
        made = {
            scope: http.post(f"/api/sessions/{sid}/token", json={"scope": [scope]}).json()["token"]
            for scope in ("watch", "talk", "control")
        }
        assert status_and_code(http.post("/api/sessions/nobody/token", json={})) == (404, "NOT_FOUND")
    say, end = {"session_id": sid, "text": "Hi."}, {"session_id": sid}
    forbidden = (403, "UNAUTHENTICATED")
    with client(guarded, made["watch"]) as http:
        assert status_and_code(http.post("/api/say", json=say)) == forbidden
    for talking in (made["talk"], first["token"]):
        with client(guarded, talking) as http:
            assert http.post("/api/say", json=say).status_code == 200
            assert status_and_code(http.post("/api/say", json={**say, "session_id": other})) == forbidden
            assert status_and_code(http.post("/api/end_session", json=end)) == forbidden
            assert status_and_code(http.post(f"/api/sessions/{sid}/token", json={})) == forbidden
            for path in ("/api/status", "/api/templates", "/metrics"):
                assert status_and_code(http.get(path)) == forbidden
            assert status_and_code(http.post("/api/start_session", json={})) == forbidden
    with client(guarded) as http:
        assert http.post("/api/say", params={"token": made["talk"]}, json=say).status_code == 200
    with client(guarded, made["control"]) as http:
        assert http.post(f"/api/sessions/{sid}/token", json={}).status_code == 200
        assert status_and_code(http.post(f"/api/sessions/{other}/token", json={})) == forbidden
        assert http.post("/api/end_session", json=end).status_code == 200
    with client(guarded, MAIN) as http:
        http.post("/api/end_session", json={"session_id": other})


@contextlib.contextmanager
def viewer(gateway: GatewayProcess, sid: str, token: str = "", query: str = "") -> Iterator[WebSocket]:
    """A WebSocket with the token in the subprotocol, as a page sends it."""
    offered = ["musecast", f"bearer.{token}"] if token else ["musecast"]
    one = WebSocket(gateway.url, sid, query, subprotocols=offered)
    try:
        yield one
    finally:
        one.close()


def first_of(one: WebSocket) -> str:
    one.until(lambda: one.messages, "init")
    return str(one.messages[0].header["kind"])


def test_a_websocket_and_media_ask_for_a_token_of_their_session(guarded: GatewayProcess) -> None:
    with client(guarded, MAIN) as http:
        sid, other = (http.post("/api/start_session", json={}).json()["session_id"] for _ in range(2))

        def made(session: str, **how: object) -> str:
            return str(http.post(f"/api/sessions/{session}/token", json=how).json()["token"])

        short = made(sid, ttl_s=1, scope=["control"])
        until = time.time() + 1
        watch, talk, control = (made(sid, scope=[scope], ttl_s=600) for scope in ("watch", "talk", "control"))
        foreign = made(other, scope=["control"], ttl_s=600)
    with viewer(guarded, sid, watch) as one:
        assert first_of(one) == "init"
        assert one.connection.subprotocol == "musecast"
        for refused in (
            {"op": "say", "text": "Hi."},
            {"op": "interrupt"},
            {"op": "microphone", "sample_rate": 8000},
        ):
            assert error_of_reply(one.ask(**refused)) == "UNAUTHENTICATED"
        one.connection.send(bytes(640))  # nor by the microphone itself
        assert error_of_reply(one.until(lambda: [r for r in one.replies if r["id"] is None], "refusal")[0])
        with viewer(guarded, sid, query=f"?token={talk}") as two:
            assert first_of(two) == "init"
            assert two.ask("say", text="Hello.")["ok"]
            assert error_of_reply(two.ask("update_session", barge_in=False)) == "UNAUTHENTICATED"
            assert error_of_reply(two.ask("say", text="Hi.", session_id=other)) == "UNAUTHENTICATED"
        with viewer(guarded, sid, control) as three:
            assert three.ask("update_session", barge_in=False)["ok"]
            assert error_of_reply(three.ask("status")) == "UNAUTHENTICATED"
        with viewer(guarded, sid, MAIN) as four:
            assert four.ask("status")["ok"]
        one.wait_event("turn.ended")
        assert one.ask("segments", from_seq=0)["segments"]
    time.sleep(max(0.0, until - time.time()))  # the clock itself is the event
    for token, query in (("", ""), ("", f"?token={MAIN}"), ("wrong", ""), (short, ""), (foreign, "")):
        with viewer(guarded, sid, token, query) as one:
            assert one.wait_closed() == 1008
            assert not one.messages
    media = ("segments/0-0.mp4", "recording.mp4", "transcript.json", "transcript.vtt", "transcript.srt")
    with client(guarded) as http:
        for path in (f"/api/sessions/{sid}/{name}" for name in media):
            assert http.get(path, params={"token": watch}).status_code == 200
            assert status_and_code(http.get(path)) == (401, "UNAUTHENTICATED")
            assert status_and_code(http.get(path, params={"token": short})) == (401, "UNAUTHENTICATED")
            assert status_and_code(http.get(path, params={"token": foreign})) == (403, "UNAUTHENTICATED")
        film = f"/api/sessions/{sid}/stream.mp4"
        assert status_and_code(http.get(film)) == (401, "UNAUTHENTICATED")
        assert status_and_code(http.get(film, params={"token": foreign})) == (403, "UNAUTHENTICATED")
        with http.stream("GET", film, params={"token": watch}) as endless:  # as a `<video>` asks
            assert endless.status_code == 200
            assert next(endless.iter_raw())
        recording = f"/api/sessions/{sid}/recording.mp4"
        assert status_and_code(http.delete(recording, params={"token": talk})) == (403, "UNAUTHENTICATED")
        for path in (f"/api/render/{'0' * 32}", f"/api/render/{'0' * 32}.mp4"):
            assert status_and_code(http.get(path, params={"token": control})) == (403, "UNAUTHENTICATED")
    with client(guarded, MAIN) as http:
        for session in (sid, other):
            http.post("/api/end_session", json={"session_id": session})


def test_there_are_no_more_viewers_than_allowed(guarded: GatewayProcess) -> None:
    with client(guarded, MAIN) as http, contextlib.ExitStack() as stack:
        started = http.post("/api/start_session", json={}).json()
        sid, token = started["session_id"], started["token"]
        there, deadline = 0, time.monotonic() + WORK_S
        while there < VIEWERS:
            one = stack.enter_context(viewer(guarded, sid, token))
            one.until(lambda one=one: one.messages or one.code, "init, or an end")
            there += one.code is None  # not yet while those of another test are still on their way out
            assert time.monotonic() < deadline
        one_more = stack.enter_context(viewer(guarded, sid, token))
        assert one_more.wait_closed() == 1013
        assert not one_more.messages
        film = http.get(f"/api/sessions/{sid}/stream.mp4")
        assert status_and_code(film) == (429, "BUSY")
        assert "gateway.viewers" in film.text
        assert int(film.headers["retry-after"]) > 0
        http.post("/api/end_session", json={"session_id": sid})


def error_of_reply(reply: dict[str, Any]) -> str:
    """Over a WebSocket an error has the same shape, beside the envelope."""
    assert reply["ok"] is False
    return error_of(reply)


def test_tokens_expire_and_may_be_for_certain_pages(guarded: GatewayProcess) -> None:
    with client(guarded, MAIN) as http:
        sid = http.post("/api/start_session", json={}).json()["session_id"]
        make = f"/api/sessions/{sid}/token"
        short = http.post(make, json={"ttl_s": 1}).json()
        bound = http.post(make, json={"origins": ["https://www.example.org"]}).json()["token"]
        brief = http.post(make, json={"ttl_s": 500, "scope": ["control"]}).json()
    with client(guarded, brief["token"]) as http:
        assert http.post(make, json={"ttl_s": 600}).json()["expires_at"] <= brief["expires_at"]
        for ttl_s in (2, 8, 32, int(WORK_S)):  # more where the first picture was late for that
            watch = http.post(make, json={"ttl_s": ttl_s, "scope": ["watch"]}).json()["token"]
            with viewer(guarded, sid, watch) as one:
                one.until(lambda one=one: one.messages or one.code, "init, or an end")
                assert one.wait_closed(2 * WORK_S) == 1008  # when it has expired
            if one.messages:
                break
        assert one.messages, "never a picture"
    body = {"session_id": sid}
    with client(guarded, bound) as http:
        assert status_and_code(http.post("/api/interrupt", json=body)) == (403, "UNAUTHENTICATED")
        page = {"origin": "https://www.example.org"}
        assert http.post("/api/interrupt", json=body, headers=page).status_code == 200
    time.sleep(max(0.0, short["expires_at"] - time.time()))  # the clock itself is the event
    with client(guarded, short["token"]) as http:
        answer = http.post("/api/interrupt", json=body)
        assert status_and_code(answer) == (401, "UNAUTHENTICATED")
        assert "expired" in answer.json()["error"]["message"]
    with client(guarded, MAIN) as http:
        http.post("/api/end_session", json=body)


def test_a_gateway_that_ends_says_come_back_and_its_tokens_outlive_it(guarded: GatewayProcess) -> None:
    with client(guarded, MAIN) as http:
        started = http.post("/api/start_session", json={}).json()
    sid, token, before = started["session_id"], started["token"], guarded.url
    with viewer(guarded, sid, token) as one:
        assert first_of(one) == "init"
        guarded.process.terminate()
        assert one.wait_closed() == 1012
    assert guarded.process.wait(REPLY_S) == 0
    guarded.start()
    assert guarded.url == before
    assert (guarded.directory / "gateway.key").stat().st_mode & 0o777 == 0o600
    with client(guarded, token) as http:
        assert http.post("/api/interrupt", json={"session_id": sid}).status_code == 200
    with viewer(guarded, sid, token) as one, client(guarded, MAIN) as http:
        assert first_of(one) == "init"
        http.post("/api/end_session", json={"session_id": sid})
        assert one.wait_closed() == 1000


def test_no_token_is_in_a_log(guarded: GatewayProcess) -> None:
    with client(guarded, MAIN) as http:
        http.get("/api/status", params={"token": "a-token-in-an-address"})
    log = guarded.log.read_text()
    assert MAIN not in log
    assert "a-token-in-an-address" not in log


def test_a_body_that_is_too_large_is_not_read(gateway: GatewayProcess) -> None:
    for path, limit in (("/api/say", 1 << 20), ("/api/process_segment", 33_554_432)):
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {limit + 1}\r\n\r\n"
        )
        answer = gateway.raw(head.encode())  # not a byte of it is sent
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert error_of(json.loads(answer.partition(b"\r\n\r\n")[2])) == "TOO_LARGE"
    with client(gateway) as http:
        assert status_and_code(http.post("/api/say", content=_endless(), headers=JSON)) == (413, "TOO_LARGE")


JSON = {"content-type": "application/json"}


def _endless() -> Iterator[bytes]:
    for _ in range(1000):
        yield bytes(65_536)


def test_who_sends_too_slowly_is_not_waited_for(gateway: GatewayProcess) -> None:
    """Both at once: a head that never ends, and a body that never comes."""
    head = b"POST /api/say HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    with (
        socket.create_connection(("127.0.0.1", gateway.port), REPLY_S) as headless,
        socket.create_connection(("127.0.0.1", gateway.port), REPLY_S) as bodiless,
    ):
        headless.sendall(head)
        bodiless.sendall(head + b"\r\n{")
        assert headless.recv(65_536) == b""
        assert bodiless.recv(65_536).startswith(b"HTTP/1.1 400 ")


def test_noise_harms_nobody(gateway: GatewayProcess, stranger: Stranger) -> None:
    """Mutated requests: an error of ours or nothing, never a 500, and the next request is answered."""
    answers = throw_mutated(gateway.port, MUTATIONS, SEED)
    assert answers.total() == MUTATIONS
    assert answers[b"400"] > MUTATIONS // 10
    assert not [status for status in answers if status.startswith(b"5")], answers
    with client(gateway) as http:
        assert http.get("/health").status_code == 200
    assert stranger.control.ok("health")["status"] == "ok"
