"""The template cache of a running daemon: one work for many requests, eviction, deletion, and a killed stage."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.client import Stranger
from tests.support.daemon import LIGHT, Daemon
from tests.support.harness import EQUALS
from tests.support.pictures import WEIGHTS, astronaut, encoded, film, moved, wander
from tests.support.processes import LIMIT_S, wait_until

PREPARE_S = 120.0
ROOTS = str(Path(WEIGHTS).parent)
TEMPLATE_MB = 43
"""Of the photo below: 248 frames of 320x320 and their boxes."""
OVERRIDES = (
    f"weights_dir={WEIGHTS}",
    f"template_roots=[{ROOTS}]",
    "engines.asr=[pocketsphinx]",
    "supervisor.beats_missed=60",
    *EQUALS,
    *LIGHT,
    f"templates.cache_bytes={(2 * TEMPLATE_MB + 20) * 1_000_000}",
    "templates.max_video_s=2",
)
"""Two templates fit, three do not; built-in ones do not count. A stage may stand still for a minute."""


@lru_cache(maxsize=8)
def photo(shift: int = 0) -> bytes:
    """The astronaut's head and shoulders, 320x320; a different file for each shift."""
    return encoded(moved(np.ascontiguousarray(astronaut()[0:320, 60:380]), shift))


@pytest.fixture
def client(own_daemon: Daemon) -> Any:
    """The cache begins empty, whatever other daemons of this worker have left in it, and is left so."""
    empty(own_daemon)
    stranger = Stranger(own_daemon.control, own_daemon.stream)
    yield stranger
    stranger.close()
    empty(own_daemon)


def empty(daemon: Daemon) -> None:
    """Delete what is not built in; nobody shows any of it."""
    client = Stranger(daemon.control, daemon.stream)
    for row in rows(client).values():
        if row["kind"] != "builtin":
            client.control.ok("delete_template", template_id=row["template_id"])
    client.close()


def rows(client: Stranger) -> dict[str, Any]:
    return {row["template_id"]: row for row in client.control.ok("list_templates")["templates"]}


def prepare(client: Stranger, name: str, shift: int = 0, **arguments: Any) -> dict[str, Any]:
    return client.control.ok("preprocess_template", PREPARE_S, template_id=name, image=photo(shift), **arguments)


def pid_of_prepare(client: Stranger) -> int:
    """Of the one that works; ``status`` tells of it a second later than its progress may."""

    def pid() -> int | None:
        stages = client.another_control().ok("status")["stages"]
        return next(row["pid"] for row in stages if row["stage"] == "prepare")

    wait_until(lambda: pid() is not None, what="a process that makes templates")
    found = pid()
    assert found is not None
    return found


def test_a_file_below_the_roots_by_its_path(client: Stranger, own_daemon: Daemon) -> None:
    source = Path(ROOTS) / f"photo-{os.getpid()}.png"
    source.write_bytes(photo())
    try:
        made = client.control.ok("preprocess_template", PREPARE_S, template_id="path", path=str(source))
    finally:
        source.unlink()
    assert (made["width"], made["height"], made["frames"]) == (320, 320, 248)
    assert prepare(client, "path")["cached"], "the same content, however it came"
    assert (own_daemon.state_dir / "templates/path/source").read_bytes() == photo(), "a copy: the file may go"


def refusal(client: Stranger, **arguments: Any) -> dict[str, Any]:
    reply = client.control.call("preprocess_template", PREPARE_S, **arguments)
    assert reply["ok"] is False
    error = reply["error"]
    assert isinstance(error, dict)
    return error


def test_a_source_that_is_at_fault_is_an_invalid_argument(client: Stranger) -> None:
    two = np.hstack([astronaut()[0:320, 60:380]] * 2)
    for source, said in (
        (b"hello, this is a text", "HEIC, AVIF, GIF, BMP or TIFF"),
        (encoded(two[:1, :1]), "1x1 pixels; at least 64x64"),
        (encoded(two[:1, :3]), "3x1 pixels; at least 64x64"),
        (encoded(two)[:60_000], "the PNG is damaged: it ends too early"),
        (encoded(two), "2 faces of similar size"),
        (encoded(np.full((320, 320, 3), 90, np.uint8)), "no face was found"),
    ):
        error = refusal(client, template_id="fault", image=source)
        assert error["code"] == "INVALID_ARGUMENT", error
        assert said in error["message"]


def test_a_path_is_read_below_the_roots_and_through_no_link(client: Stranger) -> None:
    folder = Path(tempfile.mkdtemp(dir=ROOTS))
    try:
        (folder / "link.png").symlink_to("/etc/hostname")
        (folder / "linked").symlink_to(folder)
        for path, code in (
            ("/etc/hostname", "INVALID_ARGUMENT"),
            (f"{ROOTS}/../etc/hostname", "INVALID_ARGUMENT"),
            (f"{folder}/link.png", "INVALID_ARGUMENT"),
            (f"{folder}/linked/link.png", "INVALID_ARGUMENT"),
            (f"{folder}", "INVALID_ARGUMENT"),
            (f"{folder}/nothing.png", "NOT_FOUND"),
        ):
            error = refusal(client, template_id="path", path=path)
            assert error["code"] == code, path
    finally:
        shutil.rmtree(folder)


def test_a_video_and_its_limit(client: Stranger, own_daemon: Daemon) -> None:
    picture = np.ascontiguousarray(astronaut()[0:320, 60:380])
    source = film(wander(picture, 22))
    made = client.control.ok("preprocess_template", PREPARE_S, template_id="film", video=source)
    assert made["frames"] == 40
    assert (own_daemon.state_dir / "templates/film/source").read_bytes() == source
    assert rows(client)["film"]["kind"] == "video"
    error = client.control.refused("preprocess_template", template_id="long", video=film(wander(picture, 75)))
    assert error["code"] == "TOO_LARGE"
    assert "the limit is 2 s" in error["message"]


def test_requests_for_the_same_thing_at_the_same_time_share_the_work(client: Stranger) -> None:
    prepare(client, "before", 2)  # so that there is a process that makes templates
    progress = client.subscribe("tpl.crowd.", "sys.")
    progress.wait(lambda m: m.topic == "sys.", LIMIT_S, "sys. message")
    controls = [client.another_control() for _ in range(4)]
    maker = pid_of_prepare(client)
    os.kill(maker, signal.SIGSTOP)  # the work cannot end before all have come
    try:
        numbers = [one.send("preprocess_template", template_id="crowd", image=photo(3)) for one in controls]
        for one in controls:
            one.ok("health")  # answered after what was asked before on the same socket
        other = client.control.refused("preprocess_template", template_id="crowd", image=photo(4))
    finally:
        os.kill(maker, signal.SIGCONT)
    assert other["code"] == "BUSY"
    assert other["retry_after_ms"] > 0
    replies = [one.take(number, PREPARE_S) for one, number in zip(controls, numbers, strict=True)]
    assert all(reply["ok"] and not reply["cached"] for reply in replies)
    assert len({reply["seconds"] for reply in replies}) == 1, "one piece of work"
    progress.wait(lambda m: m.header.get("phase") == "ready", LIMIT_S, "the end of the progress")
    said = [(m.header["done"], m.header["total"]) for m in progress.messages if m.header.get("phase") == "frames"]
    assert said == sorted(said)
    assert said[-1] == (248, 248)


def test_a_template_in_use_stays_what_it_is(client: Stranger) -> None:
    prepare(client, "shown")
    session = client.session(template_id="shown", mode="offline")
    assert prepare(client, "shown")["cached"]
    error = client.control.refused("preprocess_template", template_id="shown", image=photo(9))
    assert error["code"] == "FAILED"
    assert "shown by a session" in error["message"]
    session.speak("I am still here.")
    session.end()
    assert not prepare(client, "shown", 9)["cached"]
    later = client.session(template_id="shown", mode="offline")
    later.speak("And now I am somebody else.")
    assert {m.header["degraded"] for m in later.media} == {None}
    later.end()


def test_what_was_not_shown_for_longest_goes_first(client: Stranger) -> None:
    prepare(client, "first", 11)
    prepare(client, "second", 12)
    session = client.session(template_id="first", mode="offline")
    session.end()
    prepare(client, "third", 13)
    assert set(rows(client)) >= {"default", "first", "third"}
    assert "second" not in rows(client), "first was shown since"

    session = client.session(template_id="first", mode="offline")
    prepare(client, "fourth", 14)
    prepare(client, "fifth", 15)
    left = set(rows(client))
    assert {"default", "first", "fifth"} <= left, "in use, built in, and the newest stay"
    assert not {"third", "fourth"} & left
    session.speak("I was never in danger.")
    session.end()


def test_kept_templates_stay_and_the_next_one_is_refused(client: Stranger) -> None:
    prepare(client, "anna", 16, keep=True)
    prepare(client, "idle", 17)
    prepare(client, "ben", 18, keep=True)
    assert "idle" not in rows(client), "it was the only one that could go"
    sizes = {name: f"{name} ({row['bytes'] / 1e6:.1f} MB)" for name, row in rows(client).items()}
    for more in ({}, {"keep": True}):
        error = client.control.refused("preprocess_template", template_id="carl", image=photo(19), **more)
        assert error["code"] == "FAILED"
        assert sizes["anna"] in error["message"]
        assert sizes["ben"] in error["message"]
        assert "cache_bytes" in error["message"]
    assert {"anna", "ben"} <= set(rows(client))
    assert "carl" not in rows(client)
    assert prepare(client, "anna", 16)["cached"], "what is in place is confirmed"
    assert prepare(client, "ben", 20)["replaced"], "and what takes its own place finds room"
    client.control.ok("delete_template", template_id="anna")
    assert not prepare(client, "carl", 19, keep=True)["cached"]


def test_a_deleted_template_is_gone_from_the_disk(client: Stranger, own_daemon: Daemon) -> None:
    prepare(client, "gone", 21)
    root = own_daemon.state_dir / "templates"
    assert (root / "gone").is_dir()
    client.control.ok("delete_template", template_id="gone")
    wait_until(lambda: not [path for path in root.glob("*gone*") if path.is_dir()])
    assert not prepare(client, "gone", 21)["cached"]


def test_a_killed_prepare_stage_is_replaced_and_the_work_done_again(client: Stranger, own_daemon: Daemon) -> None:
    progress = client.subscribe("tpl.victim.", "sys.")
    progress.wait(lambda m: m.topic == "sys.", LIMIT_S, "sys. message")
    number = client.control.send("preprocess_template", template_id="victim", image=photo(31))
    progress.wait(lambda m: m.header.get("phase") == "frames", PREPARE_S, "frames")
    os.kill(pid_of_prepare(client), signal.SIGKILL)
    reply = client.control.take(number, PREPARE_S)
    assert reply["ok"], reply
    root = own_daemon.state_dir / "templates"
    wait_until(lambda: [path.name for path in root.glob(".victim*") if path.is_dir()] == [])
    session = client.session(template_id="victim", mode="offline")
    session.speak("Nothing is missing.")
    assert {m.header["degraded"] for m in session.media} == {None}
