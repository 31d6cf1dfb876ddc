"""Media, recordings, transcripts and renderings over HTTP: every file is read by PyAV or ffmpeg."""

from __future__ import annotations

import io
import itertools
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import httpx
import pytest

from tests.support.client import Session, Stranger
from tests.support.daemon import LIGHT, Daemon, stage_row
from tests.support.gateway import OVERRIDE, Patient, url_of
from tests.support.limits import REPLY_S, WORK_S
from tests.support.segments import assert_continuous, decode, speech_like, wav

OVERRIDES = (OVERRIDE, *LIGHT)
LONG = "One two three four five six seven eight nine ten. " * 5
"""It is always cut."""


@pytest.fixture(scope="module")
def web(own_daemon: Daemon) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url_of(own_daemon), timeout=WORK_S, transport=Patient()) as client:
        yield client


@pytest.fixture
def stranger(own_daemon: Daemon, connect: Callable[[Daemon], Stranger]) -> Stranger:
    return connect(own_daemon)


def eventually(ask: Callable[[], httpx.Response], wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
    deadline = time.monotonic() + WORK_S
    while not wanted(response := ask()):
        assert time.monotonic() < deadline, response.text[:500]
        time.sleep(0.1)
    return response


def cut_session(stranger: Stranger, **arguments: object) -> Session:
    """A session in which one turn was cut and another one said."""
    session = stranger.session(**arguments)
    turn = session.say(LONG)
    session.wait_media(3, turn)
    session.ok("interrupt", turn=turn)
    session.wait_event("turn.interrupted", turn=turn)
    session.speak("And something else.")
    return session


def visible(session: Session) -> int:
    """Frames of the session that no cut made void."""
    ends: list[int] = []
    begin = end = 1 << 62
    gen = None
    for header in (m.header for m in reversed(session.media)):
        if gen is not None and header["gen"] != gen:
            end = min(end, begin)
        gen, begin = header["gen"], header["pts"]
        ends.append(max(0, min(header["pts"] + header["dur"], end) - header["pts"]))
    return sum(ends) // 40_000


def test_segments_are_a_file_that_begins_at_0(web: httpx.Client, stranger: Stranger) -> None:
    session = stranger.session()
    session.speak("One two three four five six seven.")
    wanted = [m.header for m in session.media[1:3]]
    response = web.get(f"/api/sessions/{session.sid}/segments/1-2.mp4")
    assert response.status_code == 200
    assert response.headers["content-type"] == "video/mp4"
    assert_continuous(decode(response.content), 0, sum(h["frames"] for h in wanted))
    for path, status, code in (
        ("segments/2-1.mp4", 400, "INVALID_ARGUMENT"),
        ("segments/1-99.mp4", 404, "NOT_FOUND"),
        ("segments/a-b.mp4", 404, "NOT_FOUND"),
    ):
        refused = web.get(f"/api/sessions/{session.sid}/{path}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
    for name in ("segments/0-0.mp4", "stream.mp4", "recording.mp4", "transcript.json", "transcript.vtt"):
        refused = web.get(f"/api/sessions/nobody/{name}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_the_endless_film_goes_on_over_a_cut_and_ends_with_the_session(
    web: httpx.Client, stranger: Stranger
) -> None:
    session = stranger.session()
    received = bytearray()
    began = threading.Event()

    def read() -> None:
        with web.stream("GET", f"/api/sessions/{session.sid}/stream.mp4") as response:
            assert response.headers["content-type"] == "video/mp4"
            for piece in response.iter_raw():
                received.extend(piece)
                began.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert began.wait(REPLY_S)
    turn = session.say(LONG)
    session.wait_media(3, turn)
    session.ok("interrupt", turn=turn)
    session.speak("And something else.")
    session.end()
    reader.join(WORK_S)
    assert not reader.is_alive(), "the film does not end with its session"
    with av.open(io.BytesIO(bytes(received))) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([n * 0.04 for n in range(len(times))])
    assert len(times) >= visible(session)


def test_a_recording_of_what_is_still_there_has_no_cut_in_it(web: httpx.Client, stranger: Stranger) -> None:
    session = cut_session(stranger)
    response = web.get(f"/api/sessions/{session.sid}/recording.mp4")
    assert response.status_code == 200
    assert_continuous(decode(response.content), 0, visible(session))
    refused = web.delete(f"/api/sessions/{session.sid}/recording.mp4")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_a_recorded_session_is_kept_whole_through_the_gateways_death_and_can_be_deleted(
    web: httpx.Client, stranger: Stranger, own_daemon: Daemon
) -> None:
    path = Path(own_daemon.state_dir, "recordings")
    before = {p.stem for p in path.glob("*.mp4")}  # of other daemons with these folders
    session = stranger.session(record=True)
    turn = session.say(LONG)
    session.wait_media(3, turn)
    os.kill(stage_row(stranger.control.ok("status"), "gateway")["pid"], signal.SIGKILL)
    session.ok("interrupt", turn=turn)
    session.speak("And something else.")
    while_it_lasts = eventually(lambda: again(web, f"/api/sessions/{session.sid}/recording.mp4"), playable)
    assert decode(while_it_lasts.content).frames
    session.end()
    whole = visible(session)
    response = eventually(
        lambda: again(web, f"/api/sessions/{session.sid}/recording.mp4"),
        lambda r: playable(r) and decode(r.content).frames == whole,
    )
    assert_continuous(decode(response.content), 0, whole)
    file = path / f"{session.sid}.mp4"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    part = web.get(f"/api/sessions/{session.sid}/recording.mp4", headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert web.delete(f"/api/sessions/{session.sid}/recording.mp4").status_code == 200
    assert not file.exists()
    others = {p.stem for p in path.glob("*.mp4")} - before
    assert not others, f"recorded without being asked: {others}"


def playable(response: httpx.Response) -> bool:
    return response.status_code == 200 and b"moof" in response.content


def again(web: httpx.Client, url: str) -> httpx.Response:
    """While the gateway is away a connection is refused."""
    for _ in itertools.repeat(None, 600):
        try:
            return web.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("no gateway")


def test_transcripts_have_what_was_said_and_when(web: httpx.Client, stranger: Stranger) -> None:
    session = cut_session(stranger)
    session.end()
    response = web.get(f"/api/sessions/{session.sid}/transcript.json")
    document = response.json()
    assert document["complete"]
    assert document["ended"]
    sentence = session.events("sentence")[0]["data"]
    assert document["lines"][0]["text"] == sentence["text"]
    assert document["lines"][0]["pts"] == sentence["pts"]
    assert document["lines"][-1]["text"] == "And something else."
    assert document["interrupted"] == [
        {"turn": 1, "spoken_text": session.events("turn.interrupted")[0]["data"]["spoken_text"]}
    ]
    for name, mime in (("vtt", "text/vtt"), ("srt", "application/x-subrip")):
        response = web.get(f"/api/sessions/{session.sid}/transcript.{name}")
        assert response.headers["content-type"].startswith(mime)
        with av.open(io.BytesIO(response.content)) as container:
            cues = [p for p in container.demux(subtitles=0) if p.size]
        assert len(cues) >= 2
        assert "And something else." in response.text


def test_a_rendering_is_a_job_with_a_file(web: httpx.Client) -> None:
    sound = wav(speech_like(1.0), 48_000)
    made = web.post("/api/render", data={"template_id": "default"}, files={"audio": ("a.wav", sound)})
    assert made.status_code == 202
    spoken = web.post("/api/render", data={"text": "Hello there."})
    gone = web.post("/api/render", data={"text": "Never said. " * 100})
    deleted = web.delete(f"/api/render/{gone.json()['job']}")
    assert deleted.json()["state"] == "cancelled"
    broken = web.post("/api/render", files={"audio": ("a.wav", b"no sound at all")})
    for response, frames in ((made, 25), (spoken, None)):
        job = f"/api/render/{response.json()['job']}"
        done = eventually(lambda job=job: web.get(job), lambda r: r.json()["state"] not in ("queued", "running"))
        assert done.json()["state"] == "done", done.text
        assert done.json()["progress"] == 1
        film = web.get(f"{job}.mp4")
        assert film.status_code == 200
        count = decode(film.content).frames
        assert count == done.json()["frames"]
        assert frames in (None, count)
        assert web.delete(job).json()["state"] == "done"
        assert web.get(job).status_code == 404
    failed = eventually(
        lambda: web.get(f"/api/render/{broken.json()['job']}"),
        lambda r: r.json()["state"] not in ("queued", "running"),
    )
    assert failed.json()["state"] == "failed"
    assert "sound" in failed.json()["error"]["message"]
    assert web.get(f"/api/render/{broken.json()['job']}.mp4").status_code == 404
    for form, status in (({}, 400), ({"text": "x", "template_id": "nobody"}, 404), ({"text": " "}, 400)):
        assert web.post("/api/render", data=form).status_code == status
