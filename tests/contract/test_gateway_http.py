"""Every HTTP endpoint as the protocol page writes it, with httpx and once with curl."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import time
import wave
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.support.gateway import Patient
from tests.support.gateway_process import GatewayProcess, error_of
from tests.support.limits import WORK_S

LONG = "A sentence that goes on for longer than anything may be held up here. " * 6


@pytest.fixture(scope="module")
def http(gateway: GatewayProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=WORK_S, transport=Patient()) as client:
        yield client


@pytest.fixture
def sid(http: httpx.Client) -> Iterator[str]:
    session = http.post("/api/start_session", json={})
    assert session.status_code == 200, session.text
    sid = session.json()["session_id"]
    yield sid
    http.post("/api/end_session", json={"session_id": sid, "drain": False})


def speech(seconds: float) -> bytes:
    """A voice, more or less, as a WAV file."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    tone = 8000 * np.sin(2 * np.pi * 140 * time) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(tone.astype("<i2").tobytes())
    return file.getvalue()


def ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()
    assert not {"v", "id", "ok"} & result.keys()
    return result


def refused(response: httpx.Response, status: int, code: str) -> str:
    assert (response.status_code, error_of(response.json())) == (status, code), response.text
    return str(response.json()["error"]["message"])


def test_the_daemon_as_a_whole(http: httpx.Client) -> None:
    health = ok(http.get("/health"))
    assert health["status"] in ("ok", "degraded")
    assert {"boot", "uptime_s", "warnings"} <= health.keys()
    assert ok(http.post("/api/initialize"))["ready"] is True
    status = ok(http.get("/api/status"))
    assert {"stages", "queues", "sessions", "limits", "versions", "endpoints"} <= status.keys()
    assert any(voice["engine"] == "hibari" for voice in ok(http.get("/api/voices"))["voices"])
    assert ok(http.get("/api/voices", params={"language": "xx"}))["voices"] == []


def test_a_session_from_its_start_to_its_end(gateway: GatewayProcess, http: httpx.Client) -> None:
    started = ok(http.post("/api/start_session", json={"session_id": "by-http", "idle": "none", "unknown": [1]}))
    host = gateway.url.removeprefix("http://")
    assert started["ws_url"] == f"ws://{host}/ws/by-http"
    assert started["stream_url"] == f"{gateway.url}/api/sessions/by-http/stream.mp4"
    assert "token" not in started  # tokens are off
    assert base64.b64decode(started["init"])[4:8] == b"ftyp"
    assert ok(http.post("/api/say", json={"session_id": "by-http", "text": LONG})) == {"turn": 1}
    assert ok(http.post("/api/chat", json={"session_id": "by-http", "text": "What can you do?"})) == {"turn": 2}
    cut = ok(http.post("/api/interrupt", json={"session_id": "by-http"}))
    assert cut["gen"] == 1
    assert cut["flush_from"] % 320_000 == 0
    assert "voice" in ok(http.post("/api/update_session", json={"session_id": "by-http", "barge_in": False}))
    assert ok(http.post("/api/keep_alive", json={"session_id": "by-http"})) == {}
    again = http.post("/api/start_session", json={"session_id": "by-http"})
    refused(again, 409, "ALREADY_EXISTS")
    assert ok(http.post("/api/end_session", json={"session_id": "by-http"}))["turns"] == 2


def test_who_is_too_many_is_told_when_to_come_back(http: httpx.Client, sid: str) -> None:
    text = "One two three four five six seven eight nine ten. " * 4
    answers = [http.post("/api/say", json={"session_id": sid, "text": text}) for _ in range(12)]
    refused(answers[-1], 429, "BUSY")
    error = answers[-1].json()["error"]
    assert int(answers[-1].headers["retry-after"]) == max(1, -(-error["retry_after_ms"] // 1000))


def test_speech_in_a_film_out(http: httpx.Client, sid: str) -> None:
    first = ok(http.post("/api/process_segment", data={"session_id": sid}, files={"audio": speech(1.0)}))
    assert first["turn"] == 1
    assert first["frames"] == round(first["duration_s"] * 25) > 0
    assert first["carried_ms"] == 1000 - round(first["duration_s"] * 1000)
    assert first["timings_ms"] is None  # the turn goes on
    low, high = first["segments"][0], first["segments"][-1]
    assert first["video_url"].endswith(f"/api/sessions/{sid}/segments/{low}-{high}.mp4")
    audio = base64.b64encode(speech(0.5)).decode()
    rest = ok(http.post("/api/process_segment", json={"session_id": sid, "audio": audio, "last": True}))
    if rest["turn"] == 1:  # else it was held up for 2 s, which end a turn
        assert rest["segments"][0] == high + 1
    assert rest["timings_ms"]["last_segment"] >= rest["timings_ms"]["first_segment"] >= 0
    short = ok(http.post("/api/process_segment", data={"session_id": sid}, files={"audio": speech(0.1)}))
    assert (short["segments"], short["video_url"], short["frames"]) == ([], None, 0)


def test_speech_that_is_none_is_refused(http: httpx.Client, sid: str) -> None:
    post = "/api/process_segment"
    refused(http.post(post, data={"session_id": sid}, files={"audio": b"no sound"}), 400, "INVALID_ARGUMENT")
    assert "base64" in refused(http.post(post, json={"session_id": sid, "audio": "%%"}), 400, "INVALID_ARGUMENT")
    assert "audio is missing" in refused(http.post(post, json={"session_id": sid}), 400, "INVALID_ARGUMENT")
    assert "'audio'" in refused(
        http.post(post, data={"session_id": sid}, files={"sound": b"x"}), 400, "INVALID_ARGUMENT"
    )
    refused(http.post(post, content=b"x", headers={"content-type": "audio/wav"}), 400, "INVALID_ARGUMENT")
    refused(http.post(post, data={"session_id": "nobody"}, files={"audio": speech(0.4)}), 404, "NOT_FOUND")


def test_a_face_of_ones_own(http: httpx.Client) -> None:
    picture = http.get("/api/templates/default/picture.jpg")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (512, 512)
    known = {"if-none-match": picture.headers["etag"]}
    assert http.get("/api/templates/default/picture.jpg", headers=known).status_code == 304
    form = {"template_id": "mine", "keep": "true"}
    post, file = "/api/preprocess_template?stream=1", {"file": picture.content}
    with http.stream("POST", post, data=form, files=file) as told:
        assert told.headers["content-type"].startswith("application/x-ndjson")
        *progress, last = [json.loads(line) for line in told.iter_lines()]
    assert (last["template_id"], last["cached"]) == ("mine", False)
    assert progress
    assert all(set(one) == {"phase", "done", "total"} for one in progress)
    again = ok(http.post("/api/preprocess_template", data=form, files=file))
    assert (again["template_id"], again["cached"]) == ("mine", True)
    assert "mine" in {one["template_id"] for one in ok(http.get("/api/templates"))["templates"]}
    assert http.get("/api/templates/mine/picture.jpg").status_code == 200
    assert ok(http.delete("/api/templates/mine")) == {}
    refused(http.get("/api/templates/mine/picture.jpg"), 404, "NOT_FOUND")
    refused(http.delete("/api/templates/mine"), 404, "NOT_FOUND")
    refused(http.delete("/api/templates/default"), 502, "FAILED")


def test_a_source_that_is_none_is_refused_with_the_reason(http: httpx.Client) -> None:
    post = "/api/preprocess_template"
    noise = {"template_id": "mine"}
    message = refused(http.post(post, data=noise, files={"file": b"no picture"}), 400, "INVALID_ARGUMENT")
    assert message
    with http.stream("POST", f"{post}?stream=1", data=noise, files={"file": b"no picture"}) as told:
        lines = [*told.iter_lines()]
    assert error_of(json.loads(lines[-1])) == "INVALID_ARGUMENT"
    outside = {"template_id": "mine", "path": "/etc/passwd"}
    refused(http.post(post, json=outside), 400, "INVALID_ARGUMENT")
    refused(http.post(post, data=noise), 400, "INVALID_ARGUMENT")  # a form of another kind
    no_file = {"template_id": (None, "mine")}
    assert "`file`" in refused(http.post(post, files=no_file), 400, "INVALID_ARGUMENT")
    refused(http.post(post, files={"file": b"x"}), 400, "INVALID_ARGUMENT")


def test_figures_for_prometheus(http: httpx.Client) -> None:
    told = http.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    families = {one.name: one for one in text_string_to_metric_families(told.text)}
    assert families["musecast_up"].samples[0].value == 1
    figures = families["musecast_process_figure"].samples
    assert {("broker", "requests"), ("gateway", "requests")} <= {
        (one.labels["stage"], one.labels["name"]) for one in figures
    }
    assert not re.search("session", re.sub(r"musecast_(journal_unprotected_)?sessions|Sessions", "", told.text))


def test_a_turn_is_seen_in_the_metrics(http: httpx.Client, sid: str) -> None:
    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(http.get("/metrics").text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    wanted = {
        "musecast_turn_first_segment_seconds_count": {"source": "say"},
        "musecast_turns_total": {"outcome": "ended"},
        "musecast_journal_write_seconds_count": {"stage": "broker"},
        "musecast_item_seconds_count": {"stage": "tts"},
        "musecast_phase_seconds_count": {"phase": "x264"},
        "musecast_first_output_seconds_count": {"stage": "tts"},
    }
    before = {name: total(name, **labels) for name, labels in wanted.items()}
    ok(http.post("/api/say", json={"session_id": sid, "text": "Count me."}))
    deadline = time.monotonic() + WORK_S
    while missing := [name for name, labels in wanted.items() if total(name, **labels) <= before[name]]:
        assert time.monotonic() < deadline, missing
        time.sleep(0.2)


def test_the_page_and_the_documents(gateway: GatewayProcess, http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert "api/start_session" in script, "asked for before anything else is loaded"
    modules = re.findall(r'(?:src|href)="(js/[0-9a-f]{16}/[\w-]+\.js)"', page.text)
    assert len(modules) > 20
    for one in (http.get(f"/{modules[0]}"), http.get(f"/{modules[-1]}")):
        assert (one.status_code, "immutable" in one.headers["cache-control"]) == (200, True)
    name = modules[0].split("/")[-1]
    for old in (f"/js/{name}", f"/js/{'0' * 16}/{name}"):
        assert (http.get(old).status_code, http.get(old).headers["cache-control"]) == (200, "no-cache")
    for none in ("/js/", f"/js/{'0' * 16}/", f"/js/{'0' * 16}/../index.html", f"/js/{'0' * 16}/nothing.js"):
        assert http.get(none).status_code == 404
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert page.headers["permissions-policy"].startswith("microphone=(self)")
    docs = http.get("/docs")
    assert "swagger" in docs.text
    assert "http:" not in docs.text.replace(gateway.url, "")
    assert "https:" not in docs.text
    assert http.get("/docs/static/swagger-ui.css").status_code == 200


def test_the_description_has_an_example_for_each_operation(http: httpx.Client) -> None:
    told = ok(http.get("/openapi.json"))
    operations = [one for methods in told["paths"].values() for one in methods.values()]
    assert {"start_session", "process_segment", "say", "make_token"} <= {one["operationId"] for one in operations}
    for one in operations:
        assert "422" not in one["responses"]
        assert {"400", "401", "403", "404", "429", "500", "502", "503"} <= one["responses"].keys()
        done = one["responses"].get("200") or one["responses"]["202"]
        content = done.get("content", {})
        assert (
            not content
            or "application/json" not in content
            or content["application/json"].get("example")
            or (one["operationId"] in ("keep_alive", "delete_template", "delete_recording"))
        ), one["operationId"]


def test_webrtc_that_is_off_says_how_to_switch_it_on(http: httpx.Client) -> None:
    refused = http.post("/whep/demo", content="v=0", headers={"Content-Type": "application/sdp"})
    assert (refused.status_code, error_of(refused.json())) == (404, "NOT_FOUND")
    assert "gateway.webrtc: true" in refused.text
    assert not [path for path in ok(http.get("/openapi.json"))["paths"] if path.startswith(("/whep", "/offer"))]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "NOT_FOUND"),
        ("POST", "/nothing", 404, "NOT_FOUND"),
        ("GET", "/../../etc/passwd", 404, "NOT_FOUND"),
        ("GET", "/%2e%2e/gateway/app.py", 404, "NOT_FOUND"),
        ("DELETE", "/api/say", 405, "UNSUPPORTED"),
        ("POST", "/health", 405, "UNSUPPORTED"),
    ],
)
def test_what_the_framework_answers_has_the_same_shape(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    refused(http.request(method, path), status, code)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"session_id": "a", "text": "b"}', "text/plain"),
        (b'{"session_id": "a", "text": "b"}', None),
        (b"session_id=a&text=b", "application/x-www-form-urlencoded"),
        (b'{"session_id": "a", "te', "application/json"),
        (b"[]", "application/json"),
        (b"", "application/json"),
        (b'{"session_id": "a"}', "application/json"),
        (b'{"session_id": "a", "text": 5}', "application/json"),
        (b'{"session_id": "a/b", "text": "c"}', "application/json"),
        (b'{"session_id": "a", "text": "b", "x": 1e999}', "application/json"),
        (b'{"session_id": "a", "text": "b", "x": 99999999999999999999999}', "application/json"),
        (b'{"session_id": "a", "text": "\\ud800"}', "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_a_body_that_does_not_fit_is_400(http: httpx.Client, content: bytes, kind: str | None) -> None:
    response = http.post("/api/say", content=content, headers={"content-type": kind} if kind else {})
    if b"1e999" in content:  # infinity is a number that an unknown key may have
        refused(response, 404, "NOT_FOUND")
    else:
        refused(response, 400, "INVALID_ARGUMENT")


def test_keys_that_would_be_the_envelope_are_not_handed_on(http: httpx.Client) -> None:
    body = {"session_id": "nobody", "text": "b", "op": "health", "v": 7, "id": 1}
    refused(http.post("/api/say", json=body), 404, "NOT_FOUND")


def test_curl(gateway: GatewayProcess) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl on this machine")

    def run(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [curl, "-sS", *arguments], capture_output=True, text=True, timeout=WORK_S, check=True
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    json_type = ("-H", "Content-Type: application/json")
    sid = run(f"{gateway.url}/api/start_session", *json_type, "-d", "{}")["session_id"]
    assert run(f"{gateway.url}/api/say", *json_type, "-d", json.dumps({"session_id": sid, "text": "Hi."})) == {
        "turn": 1
    }
    path = gateway.directory / "speech.wav"
    path.write_bytes(speech(0.7))
    film = run(
        f"{gateway.url}/api/process_segment", "-F", f"session_id={sid}", "-F", f"audio=@{path}", "-F", "last=true"
    )
    assert film["turn"] == 2
    assert film["frames"] >= 16
    low, high = film["segments"][0], film["segments"][-1]
    media = f"{gateway.url}/api/sessions/{sid}"
    for address, of in (
        (f"{gateway.url}/", "text/html"),
        (f"{gateway.url}/docs", "text/html"),
        (f"{gateway.url}/openapi.json", "application/json"),
        (f"{gateway.url}/metrics", "text/plain"),
        (f"{gateway.url}/health", "application/json"),
        (f"{gateway.url}/api/status", "application/json"),
        (f"{gateway.url}/api/templates", "application/json"),
        (f"{gateway.url}/api/templates/default/picture.jpg", "image/jpeg"),
        (f"{gateway.url}/api/voices", "application/json"),
        (f"{media}/segments/{low}-{high}.mp4", "video/mp4"),
        (f"{media}/recording.mp4", "video/mp4"),
        (f"{media}/transcript.json", "application/json"),
        (f"{media}/transcript.vtt", "text/vtt"),
        (f"{media}/transcript.srt", "application/x-subrip"),
    ):
        told = subprocess.run(
            [curl, "-sSf", "-o", os.devnull, "-w", "%{http_code} %{content_type}", address],
            capture_output=True, text=True, timeout=WORK_S, check=True,
        ).stdout  # fmt: skip
        assert told.startswith(f"200 {of}"), (address, told)
    for op, more in (("chat", {"text": "Hi."}), ("interrupt", {}), ("update_session", {}), ("keep_alive", {})):
        run(f"{gateway.url}/api/{op}", *json_type, "-d", json.dumps({"session_id": sid, **more}))
    assert run(f"{media}/token", *json_type, "-d", "{}")["token"]
    assert run(f"{gateway.url}/api/initialize", "-X", "POST")["ready"]
    run(f"{gateway.url}/api/end_session", *json_type, "-d", json.dumps({"session_id": sid}))
