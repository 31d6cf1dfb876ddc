"""A template for MuseTalk is made by two processes: ``prepare`` leads, ``lipsync`` runs the networks."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.support.client import Message, Stranger, Stream
from tests.support.daemon import LIGHT, Daemon, stage_row
from tests.support.harness import EQUALS, PATIENT
from tests.support.pictures import astronaut, film, give_face_models, wander

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("diffusers") is None:
    pytest.skip("the extra musetalk is not installed", allow_module_level=True)

pytestmark = pytest.mark.timeout(900)
PREPARE_S = 300.0
BATCH = 4
"""Pictures per ask."""
LIMIT_S = 60.0
TRIES = 4
"""A machine that keeps the test, or a process that it looks at, still for a second, does not so each time."""
TEXT = "While I speak somebody else gets a face. That is the whole point."
OVERRIDES = (
    "engines.lipsync=[musetalk,warp]",
    "engines.asr=[pocketsphinx]",
    "musetalk.max_batch=8",
    "musetalk.encoder_steps=160",
    "supervisor.beats_missed=60",
    "supervisor.intensity=30",
    PATIENT,
    *EQUALS,
    *LIGHT,
)


@pytest.fixture(scope="module")
def weights(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random networks, converted, beside the face mesh's files."""
    root = tmp_path_factory.mktemp("asks") / "weights"
    shutil.copytree(small, root)
    give_face_models(root)
    return root


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="mc-asks-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def daemon(weights: Path, state: Path) -> Iterator[Daemon]:
    started = Daemon(state, f"weights_dir={weights}", *OVERRIDES)
    try:
        stranger = Stranger(started.control, started.stream)
        stranger.control.ok("initialize", 2 * PREPARE_S)
        stranger.close()
        yield started
    finally:
        started.stop()
        started.remove()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Stranger]:
    stranger = Stranger(daemon.control, daemon.stream)
    yield stranger
    stranger.close()


@lru_cache(maxsize=1)
def source() -> bytes:
    """A film of 33 frames that becomes a loop of 64: nine asks, for the way back is not looked at again."""
    return film(wander(np.ascontiguousarray(astronaut()[0:320, 60:380]), 34))


class Preparation:
    """One ``preprocess_template`` on its way, and its progress."""

    def __init__(self, client: Stranger, name: str, *topics: str) -> None:
        self.stream: Stream = client.subscribe(f"tpl.{name}.", *topics, "sys.")
        self.stream.wait(lambda m: m.topic == "sys.", LIMIT_S, "sys. message")
        self._control = client.another_control()
        self._number = self._control.send("preprocess_template", template_id=name, video=source(), force=True)

    def wait_latents(self, share: float = 0.1) -> None:
        """Until the networks have done this share of their work."""

        def far(message: Message) -> bool:
            header = message.header
            return header.get("phase") == "latents" and header["done"] >= share * header["total"]

        self.stream.wait(far, PREPARE_S, "latents")

    def reply(self) -> dict[str, Any]:
        reply = self._control.take(self._number, PREPARE_S)
        assert reply["ok"], reply
        return reply


def engines(client: Stranger, name: str) -> list[str]:
    rows = client.control.ok("list_templates")["templates"]
    return next(row["engines"] for row in rows if row["template_id"] == name)


def files_of(daemon: Daemon, name: str) -> dict[str, str]:
    """Digests of the template's files, taken anew."""
    from models.templates.writer import damaged_files

    folder = daemon.state_dir / "templates" / name
    assert damaged_files(folder) == []
    found: dict[str, str] = json.loads((folder / "manifest.json").read_text())["files"]
    return found


def process(client: Stranger, stage: str) -> dict[str, Any]:
    return next(row for row in client.another_control().ok("status")["stages"] if row["stage"] == stage)


def mapped(pid: int, library: str) -> bool:
    return library in Path(f"/proc/{pid}/maps").read_text()


def until(there: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
    deadline = time.monotonic() + limit_s
    while not there():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Calm(NamedTuple):
    """A preparation to which nothing happens."""

    files: dict[str, str]
    """What the film becomes."""
    torch: dict[str, bool]
    """Whether a stage's process held torch while the networks ran."""
    reply: dict[str, Any]


@pytest.fixture(scope="module")
def calm(daemon: Daemon) -> Calm:
    stranger = Stranger(daemon.control, daemon.stream)
    making = Preparation(stranger, "calm")
    making.wait_latents()
    torch = {stage: mapped(process(stranger, stage)["pid"], "libtorch") for stage in ("lipsync", "prepare")}
    reply = making.reply()
    assert engines(stranger, "calm") == ["warp", "musetalk"]
    stranger.close()
    return Calm(files_of(daemon, "calm"), torch, reply)


@pytest.fixture
def undisturbed(calm: Calm) -> dict[str, str]:
    return calm.files


def test_the_default_template_is_made_for_the_network_too(client: Stranger) -> None:
    assert engines(client, "default") == ["warp", "musetalk"]


def test_the_networks_run_in_the_lipsync_process_alone(calm: Calm) -> None:
    assert calm.torch == {"lipsync": True, "prepare": False}
    assert calm.reply["bbox_shift"] == {"asked": 0, "used": 0}


def test_a_session_that_speaks_meanwhile_goes_first(
    client: Stranger, daemon: Daemon, undisturbed: dict[str, str]
) -> None:
    """Unpaced, for these networks are slower than speech: lip-sync always has frames to do until the turn ends.

    Progress and segments are put in their order by coming on one socket.
    """

    def asked(sid: str) -> tuple[int, int]:
        """Batches that were done between the first and the last segment, and the segments."""
        making = Preparation(client, "meanwhile", f"seg.{sid}.")
        making.wait_latents()
        session = client.session(session_id=sid, mode="offline")
        session.speak(TEXT, PREPARE_S)
        segments = session.media
        last = segments[-1].header["seq"]
        making.stream.wait(lambda m: m.header.get("seq") == last, LIMIT_S, "the last segment")
        assert {m.header["degraded"] for m in segments} == {None}
        seen = [
            m
            for m in making.stream.messages
            if m.header.get("kind") == "media" or m.header.get("phase") == "latents"
        ]
        places = [k for k, m in enumerate(seen) if "seq" in m.header]
        making.reply()
        assert files_of(daemon, "meanwhile") == undisturbed
        return places[-1] - places[0] - (len(segments) - 1), len(segments)

    # Whoever speaks or encodes may stand still, and lip-sync is free meanwhile.
    tries = (asked(f"meanwhile-{n}-{os.getpid()}") for n in range(TRIES))
    assert any(batches <= segments for batches, segments in tries), "at most one batch between two segments"


def test_a_killed_lipsync_process_costs_a_preparation_nothing_but_time(
    client: Stranger, daemon: Daemon, undisturbed: dict[str, str]
) -> None:
    making = Preparation(client, "survivor")
    making.wait_latents()
    before = stage_row(client.control.ok("status"), "lipsync.0")
    os.kill(before["pid"], signal.SIGKILL)
    making.reply()
    until(lambda: stage_row(client.control.ok("status"), "lipsync.0")["epoch"] > before["epoch"], "a successor")
    assert engines(client, "survivor") == ["warp", "musetalk"]
    assert files_of(daemon, "survivor") == undisturbed


def test_a_killed_prepare_process_leaves_nothing_half(
    client: Stranger, daemon: Daemon, undisturbed: dict[str, str]
) -> None:
    root = daemon.state_dir / "templates"

    def half() -> list[str]:
        return [path.name for path in root.glob(".victim*") if path.is_dir()]

    for _ in range(TRIES):
        making = Preparation(client, "victim")
        making.wait_latents()
        until(lambda: process(client, "prepare")["pid"] is not None, "status tells of it a second later")
        before = process(client, "prepare")
        os.kill(before["pid"], signal.SIGSTOP)
        until(lambda pid=before["pid"]: "(stopped)" in Path(f"/proc/{pid}/status").read_text(), "it stands still")
        if half():
            break
        os.kill(before["pid"], signal.SIGCONT)  # it has made all of it meanwhile
        making.reply()
    assert half(), "never met at work"
    os.kill(before["pid"], signal.SIGKILL)
    making.reply()
    until(lambda: process(client, "prepare")["epoch"] > before["epoch"], "a successor")
    until(lambda: half() == [], "something half is left")
    assert files_of(daemon, "victim") == undisturbed
    until(lambda: client.control.ok("status")["queues"]["lipsync"]["items"] == 0, "asks are left in the queue")


def test_without_its_process_an_engine_is_left_out_and_the_daemon_lives(
    weights: Path, tmp_path: Path, state: Path
) -> None:
    """The weights that preparation needs are there, those of the mouth are not: nobody runs the networks."""
    broken = tmp_path / "weights"
    shutil.copytree(weights, broken)
    (broken / "converted" / "unet-v15.safetensors").unlink()
    folder = tmp_path / "state"
    more = ("supervisor.intensity=1", "supervisor.backoff_s=[0]", "log.format=json")
    daemon = Daemon(folder, f"weights_dir={broken}", *OVERRIDES, *more)
    stranger = Stranger(daemon.control, daemon.stream)
    try:
        stranger.control.ok("initialize", 2 * PREPARE_S)
        assert engines(stranger, "default") == ["warp"]
        (line,) = [one for one in daemon.log.read_text().splitlines() if "template.unprepared" in one]
        assert "lipsync was given up" in line
        assert "unet-v15 are not converted" in line
        session = stranger.session()
        session.speak("I speak all the same.", PREPARE_S)
    finally:
        stranger.close()
        daemon.stop()
        daemon.remove()
