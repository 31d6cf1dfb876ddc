"""The control socket: envelopes, pipelining, health, status, templates."""

from __future__ import annotations

import itertools

import msgpack
import zmq

from tests.support.client import Stranger
from tests.support.daemon import Daemon
from tests.support.limits import BEAT_S, REPLY_S, START_S, WORK_S

STATES = {"starting", "loading", "idle", "busy", "draining", "backoff", "fatal"}


def test_req_socket_gets_its_delimiter_back(daemon: Daemon, stranger: Stranger) -> None:
    socket = stranger.context.socket(zmq.REQ)
    socket.connect(daemon.control)
    socket.send(msgpack.packb({"v": 1, "id": "a-string-id", "op": "health"}))
    assert socket.poll(int(REPLY_S * 1000))
    reply = msgpack.unpackb(socket.recv())
    assert (reply["v"], reply["id"], reply["ok"]) == (1, "a-string-id", True)
    socket.close(0)


def test_frames_before_the_request_are_echoed(stranger: Stranger) -> None:
    socket = stranger.control.socket
    socket.send_multipart([b"correlation", b"", msgpack.packb({"v": 1, "id": 9, "op": "health"})])
    assert socket.poll(int(REPLY_S * 1000))
    *before, reply = socket.recv_multipart()
    assert before == [b"correlation", b""]
    assert msgpack.unpackb(reply)["id"] == 9


def test_requests_may_be_pipelined(stranger: Stranger) -> None:
    control = stranger.control
    slow = control.send("initialize")
    numbers = [control.send("health" if i % 2 else "list_templates") for i in range(100)]
    for number in reversed(numbers):
        assert control.take(number)["ok"] is True
    assert control.take(slow, START_S)["ready"] is True


def test_health_says_who_and_since_when(stranger: Stranger) -> None:
    one, two = stranger.control.ok("health"), stranger.control.ok("health")
    assert one["status"] == "ok"
    assert one["boot"] == two["boot"]
    assert isinstance(one["boot"], str)
    assert 0 < one["uptime_s"] <= two["uptime_s"]


def test_sys_is_sent_once_a_second(stranger: Stranger) -> None:
    stream = stranger.subscribe("sys.")

    def gaps() -> list[float]:
        return [b.header["uptime_s"] - a.header["uptime_s"] for a, b in itertools.pairwise(stream.messages)]

    # A busy machine delays some, not all.
    stream.wait(lambda _: len(gaps()) >= 3 and min(gaps()) < 1.5, WORK_S, "sys. messages a second apart")
    header = stream.messages[0].header
    assert header["boot"] == stranger.control.ok("health")["boot"]
    assert header["status"] in ("ok", "degraded")
    assert isinstance(header["sessions"], int)
    assert header["uptime_s"] > 0


def test_initialize_is_idempotent(stranger: Stranger) -> None:
    one = stranger.control.ok("initialize", START_S)
    two = stranger.control.ok("initialize", START_S)
    assert one["ready"] is True
    assert one["load_s"] == two["load_s"]
    assert {instance.split(".")[0] for instance in one["load_s"]} >= {"asr", "llm", "tts", "lipsync", "encode"}


def test_status_lists_every_process(stranger: Stranger) -> None:
    status = stranger.control.ok("status")
    rows = {row["instance"]: row for row in status["stages"]}
    assert set(rows) >= {"asr.0", "llm.0", "tts.0", "lipsync.0", "encode.0", "encode.1"}
    assert any(row["stage"] == "broker" for row in rows.values())
    keys = {
        "stage", "instance", "epoch", "pid", "state", "engine", "device", "busy_ms", "restarts", "rss_mb",
        "gpu_mem_mb", "gpu_util", "metrics",
    }  # fmt: skip
    for row in rows.values():
        assert set(row) >= keys
        assert row["state"] in STATES
    for stage in ("asr", "llm", "tts", "lipsync", "encode"):
        assert rows[f"{stage}.0"]["pid"] > 1
        assert rows[f"{stage}.0"]["engine"]
        assert rows[f"{stage}.0"]["rss_mb"] > 1
    assert status["supervisor_pid"] > 1
    assert isinstance(status["limits"], dict)
    assert isinstance(status["versions"], dict)
    assert set(status["queues"]) >= {"asr", "llm", "tts", "lipsync", "encode"}
    for queue in status["queues"].values():
        assert set(queue) >= {"items", "media_ms"}


def test_status_tells_what_the_broker_was_asked(stranger: Stranger) -> None:
    def figures() -> dict[str, float]:
        rows = stranger.control.ok("status")["stages"]
        metrics: dict[str, float] = next(row["metrics"] for row in rows if row["stage"] == "broker")
        return metrics

    before = figures()
    for _ in range(3):
        stranger.control.refused("say", session_id="nobody", text="x")
    beats = stranger.subscribe("sys.")
    seen = 0
    while figures().get("requests.refused", 0) < before.get("requests.refused", 0) + 3:
        beats.wait(lambda _: True, BEAT_S, "figures of the broker", start=seen)
        seen = len(beats.messages)
        assert seen < WORK_S, figures()
    assert figures()["requests"] >= before.get("requests", 0) + 3


def test_status_tells_what_the_processes_have_done(stranger: Stranger) -> None:
    def total(name: str, stage: str) -> float:
        rows = [row for row in stranger.control.ok("status")["stages"] if row["stage"] == stage]
        return sum(row["metrics"].get(name, 0) for row in rows)

    before = {stage: (total("items", stage), total("frames", stage)) for stage in ("tts", "lipsync", "encode")}
    session = stranger.session(mode="offline")
    session.speak("What is done is counted.")
    frames = sum(m.header["frames"] for m in session.media)
    beats = stranger.subscribe("sys.")
    for stage, (items, made) in before.items():
        seen = 0
        while total("items", stage) == items or (stage != "tts" and total("frames", stage) < made + frames):
            beats.wait(lambda _: True, BEAT_S, f"figures of {stage}", start=seen)
            seen = len(beats.messages)
            assert seen < WORK_S, f"{stage}: {total('items', stage)} items, {total('frames', stage)} frames"
    rows = {row["instance"]: row for row in stranger.control.ok("status")["stages"]}
    assert rows["lipsync.0"]["metrics"]["ms.render"] > 0
    assert rows["lipsync.0"]["metrics"]["ms.item"] > 0
    worked = next(row for row in rows.values() if row["stage"] == "encode" and "frames" in row["metrics"])
    assert set(worked["metrics"]) >= {"ms.paste", "ms.x264", "ms.aac", "ms.item"}
    assert all(isinstance(value, int | float) for row in rows.values() for value in row["metrics"].values())
    assert rows["lipsync.0"]["gpu_mem_mb"] is None
    assert rows["lipsync.0"]["gpu_util"] is None


def test_status_lists_every_session(stranger: Stranger) -> None:
    session = stranger.session()
    turn = session.say("I am to be seen in the status, and I go on until somebody has seen me. " * 8)
    session.wait_media(1, turn)
    row = next(s for s in stranger.control.ok("status")["sessions"] if s["session_id"] == session.sid)
    assert (row["template_id"], row["mode"], row["gen"], row["turn"]) == ("default", "realtime", 0, turn)
    assert row["newest_seq"] >= 0
    assert row["clock"] >= 0
    assert isinstance(row["lead_ms"], int | float)
    session.ok("interrupt", turn=turn)


def test_built_in_templates_are_there_and_stay(stranger: Stranger) -> None:
    templates = {t["template_id"]: t for t in stranger.control.ok("list_templates")["templates"]}
    assert (templates["default"]["width"], templates["default"]["height"]) == (512, 512)
    assert (templates["default-portrait"]["width"], templates["default-portrait"]["height"]) == (720, 1280)
    for one in templates.values():
        assert set(one) >= {"kind", "frames", "width", "height", "engines", "bytes", "in_use"}
    assert templates["default"]["frames"] % 8 == 0
    error = stranger.control.refused("delete_template", template_id="default")
    assert error["code"] == "FAILED"
    assert error["message"]


def test_a_session_id_cannot_be_taken_twice(stranger: Stranger) -> None:
    session = stranger.session()
    error = stranger.control.refused("start_session", session_id=session.sid)
    assert error["code"] == "ALREADY_EXISTS"


def test_ids_that_are_not_given_are_random(stranger: Stranger) -> None:
    ids = {stranger.control.ok("start_session", mode="offline")["session_id"] for _ in range(2)}
    assert len(ids) == 2
    for sid in ids:
        assert len(sid) >= 22, "128 bits are at least 22 characters"
        stranger.control.ok("end_session", session_id=sid)


def test_voices_are_listed_by_engine_and_language(stranger: Stranger) -> None:
    voices = stranger.control.ok("list_voices")["voices"]
    assert {"name": "heart", "engine": "hibari", "language": "en-US", "gender": "female"} in voices
    chinese = stranger.control.ok("list_voices", language="zh")["voices"]
    assert {voice["language"] for voice in chinese} == {"zh-CN", "zh-HK"}
    assert {voice["engine"] for voice in chinese} == {"espeak"}
    assert stranger.control.ok("list_voices", language="tlh")["voices"] == []
