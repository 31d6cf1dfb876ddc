"""Two MuseTalk processes behind a whole daemon, each with a GPU of its own: deaths, fallback, shared batches.

Networks are tiny and random. GPUs are doubles in place of CUDA and NVML (``tests/support/gpus``): the CPU works.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.client import Session, Stranger
from tests.support.daemon import LIGHT, Daemon, stage_row
from tests.support.limits import BEAT_S, LOAD_S, WORK_S
from tests.support.segments import assert_continuous, assert_seamless, decode, pictures, speech_like, wav

pytest.importorskip("torch")
pytest.importorskip("diffusers")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEMPLATE = "scene-256"
PATIENT_S = 600.0
"""Of an item: on a CPU it limits the batches, and how fast the machine is now is not what is tested."""
QUANTUM = 15_360
"""Samples of 0.32 s at 48 kHz."""
INSTANCES = ("lipsync.0", "lipsync.1")
GPUS = ("GPU-8f0c7ac6-2f5d-4d6e-9d55-6b3c1f0e7a01", "MIG-9a1d2b44-71c3-5e0f-8a35-0c9b77d1e602")
DOUBLES = Path(__file__).resolve().parents[1] / "support" / "gpus"
ROUNDS = 4
Start = Callable[..., Daemon]


@pytest.fixture(scope="module")
def places(small: Path) -> Iterator[tuple[Path, Path]]:
    """Weights, and a state directory with a template prepared by them."""
    from tests.engines.musetalk import scene

    root = Path(tempfile.mkdtemp(prefix="mc-musetalk-", dir="/tmp"))
    state = root / "state"
    scene.write(state / "templates", scene.config(small), frames=8, warp=True)
    yield small, state
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def start(places: tuple[Path, Path], start_daemon_for_module: Start) -> Start:
    """Start a daemon with two MuseTalk processes."""
    weights, state = places

    def begin(*overrides: str, chain: str = "musetalk,warp", fault: str = "") -> Daemon:
        return start_daemon_for_module(
            state,
            f"engines.lipsync=[{chain}]",
            "stages.lipsync.instances=2",
            f"weights_dir={weights}",
            "musetalk.max_batch=16",
            "musetalk.encoder_steps=160",
            f"stages.lipsync.item_timeout_s={PATIENT_S}",
            "supervisor.beats_missed=60",  # nobody is to be taken for hung
            "musetalk.preparation=strict",  # built-in templates are prepared for warp alone, at once
            "log.format=json",
            *LIGHT,
            *overrides,
            fault=fault,
            limit_s=LOAD_S,
        )

    return begin


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder: GPUs with a file of their name in it are lost."""
    return tmp_path_factory.mktemp("lost")


@pytest.fixture(scope="module")
def pair(start: Start, lost: Path) -> Daemon:
    """Two processes that stay away for a moment after a death; one dies of its work for the session ``mortal``."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CUDA_VISIBLE_DEVICES", ",".join(GPUS))
        environment.setenv("CUDA_DOUBLE_LOST", str(lost))
        environment.setenv("PYTHONPATH", str(DOUBLES), prepend=os.pathsep)
        return start(
            "stages.lipsync.devices=auto",
            "stages.lipsync.instances=1",
            "musetalk.graphs=false",
            "musetalk.dtype=float32",
            "supervisor.backoff_s=[2]",
            "supervisor.intensity=30",
            fault="lipsync.0:before_output@mortal/*:2",
        )


@contextmanager
def connected(daemon: Daemon) -> Iterator[Stranger]:
    stranger = Stranger(daemon.control, daemon.stream)
    try:
        yield stranger
    finally:
        stranger.close()


@pytest.fixture
def stranger(pair: Daemon) -> Iterator[Stranger]:
    with connected(pair) as one:
        yield one


def open_session(stranger: Stranger, **arguments: Any) -> Session:
    return stranger.session(**{"template_id": TEMPLATE, "mode": "offline", "quality": "lossless", **arguments})


def ask(session: Session, sound: NDArray[np.int16]) -> int:
    """Ask for a turn without waiting for the reply; returns the number of the request."""
    return session.control.send("process_segment", session_id=session.sid, audio=wav(sound, 48_000), last=True)


def begin(session: Session, sound: NDArray[np.int16]) -> int:
    return int(session.control.take(ask(session, sound))["turn"])


def check_whole(session: Session, turn: int, sound: NDArray[np.int16]) -> NDArray[np.uint8]:
    """All that the contract promises about a turn of a client's own audio; returns its pictures."""
    session.wait_ended(turn, LOAD_S)  # it may wait for a process that is started anew, thrice
    headers = [m.header for m in session.media]
    assert_seamless(headers)
    frames = sum(h["frames"] for h in headers)
    assert frames == -(-len(sound) // QUANTUM) * 8
    decoded = decode(session.blob())
    assert_continuous(decoded, headers[0]["pts"], frames)
    heard = decoded.sound[: len(sound)].astype(np.float64)
    assert np.corrcoef(heard, sound)[0, 1] > 0.95, "not the same speech"
    assert [e["event"] for e in session.events(turn=turn)].count("turn.ended") == 1
    return pictures(session.blob())


def wait_status(stranger: Stranger, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """The first ``status`` of which ``wanted`` is true; ``sys.`` once a second is the event to look again at."""
    beats, seen = stranger.subscribe("sys."), 0
    deadline = time.monotonic() + LOAD_S
    while not wanted(status := stranger.control.ok("status")):
        assert time.monotonic() < deadline, f"{what}: {status['stages']}"
        beats.wait(lambda _: True, BEAT_S, "sys. message", start=seen)
        seen = len(beats.messages)
    return status


def warm(status: dict[str, Any], instance: str, epoch: int = 0) -> bool:
    row = stage_row(status, instance)
    return row["epoch"] > epoch and row["state"] in ("idle", "busy")


def idle(status: dict[str, Any]) -> bool:
    """Whether nobody is at work, as they have told with their figures."""
    return all(stage_row(status, instance)["state"] == "idle" for instance in INSTANCES)


def undegraded(session: Session) -> bool:
    return all(m.header["degraded"] is None for m in session.media) and not session.events("degraded")


def apart(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(np.int16) - b).max())


def test_one_process_killed_in_mid_turn_and_the_other_finishes_its_work(pair: Daemon, stranger: Stranger) -> None:
    """The same audio gives the same pictures afterwards: in other processes and other batches.

    Of the first 2 s, which come at once, each process gets two segments, however fast it is.
    """
    sound = speech_like(8 * QUANTUM / 48_000)
    session = open_session(stranger, session_id="mortal")
    shown = check_whole(session, begin(session, sound), sound)
    died = [entry for entry in pair.logged("stage.fenced") if entry["src"] == "lipsync.0"]
    assert [entry["reason"] for entry in died] == ["SIGKILL"]
    assert died[0]["requeued"], "it had nothing in hand"
    assert undegraded(session)
    wait_status(stranger, lambda status: warm(status, "lipsync.0", 1), "lipsync.0 did not come back")
    calm = open_session(stranger)
    undisturbed = check_whole(calm, begin(calm, sound), sound)
    assert apart(shown, undisturbed) <= 1
    assert apart(shown[1:], shown[:-1]) > 1, "a picture that stands: the comparison proves nothing"


def figures(stranger: Stranger) -> dict[str, dict[str, float]]:
    return {row["instance"]: row["metrics"] for row in stranger.control.ok("status")["stages"]}


def speak_together(
    stranger: Stranger, sounds: list[NDArray[np.int16]]
) -> tuple[list[Session], list[NDArray[np.uint8]], list[float], float]:
    """A session for each sound, what it showed, and the processes' shares of the frames and of common batches."""
    wait_status(stranger, idle, "somebody is still at work")  # the figures are those of all that was done
    before = figures(stranger)
    together = [open_session(stranger) for _ in sounds]
    asked = [ask(session, sound) for session, sound in zip(together, sounds, strict=True)]
    turns = [int(session.control.take(n)["turn"]) for session, n in zip(together, asked, strict=True)]
    shown = [check_whole(*three) for three in zip(together, turns, sounds, strict=True)]
    total = sum(len(one) for one in shown)

    def since(name: str) -> list[float]:
        after = figures(stranger)
        return [after[i].get(name, 0) - before[i].get(name, 0) for i in INSTANCES]

    wait_status(stranger, lambda _: sum(since("frames")) >= total, "frames are missing in status")
    assert sum(since("frames")) == total
    return together, shown, since("frames"), sum(since("batches.shared"))


def test_sessions_share_processes_and_batches_and_nobodys_pixels_change(stranger: Stranger) -> None:
    short = 4 * QUANTUM / 48_000
    sounds = [speech_like(seconds, seed=seed) for seed, seconds in enumerate((short, short, short, 2.2))]
    for _ in range(ROUNDS):  # who meets whom in a batch is a matter of when they come
        together, shown, shares, shared = speak_together(stranger, sounds)
        if shared and min(shares) >= sum(shares) / 4:
            break
    assert shared, "no batch had frames of two sessions"
    assert min(shares) >= sum(shares) / 4, "one process did nearly all of it"
    assert all(undegraded(session) for session in together)
    alone = open_session(stranger)
    assert apart(check_whole(alone, begin(alone, sounds[0]), sounds[0]), shown[0]) <= 1
    assert apart(shown[0], shown[1]) > 1, "two voices, one face: the comparison proves nothing"
    found = figures(stranger)
    status = stranger.control.ok("status")
    for instance, gpu in zip(INSTANCES, GPUS, strict=True):
        assert stage_row(status, instance)["device"] == f"cuda:{gpu}"
        assert stage_row(status, instance)["gpu_mem_mb"] > 0
        assert found[instance]["templates"] == 1, "a template went to a device more than once"
        assert found[instance]["oom"] == found[instance]["not_finite"] == 0
        assert 0.5 < found[instance]["batch_fill"] <= 1
    best = open_session(stranger, quality="max")
    heard_whole = check_whole(best, begin(best, sounds[3]), sounds[3])
    assert apart(heard_whole, shown[3]) > 20, "features of whole speech make other mouths"


def test_both_processes_dead_and_the_fallback_speaks_until_they_are_back(stranger: Stranger) -> None:
    """Unpaced, so that nothing is late on a slow machine; turn after turn, so that the session sees it all."""
    status = wait_status(stranger, lambda s: all(warm(s, i) for i in INSTANCES), "not warm")
    epochs = {instance: stage_row(status, instance)["epoch"] for instance in INSTANCES}
    session = open_session(stranger)
    beats = stranger.subscribe("sys.")
    sounds = [speech_like(16 * QUANTUM / 48_000)]
    turn = begin(session, sounds[0])
    session.wait_media(2, turn)
    seen = len(beats.messages)
    for instance in INSTANCES:
        os.kill(stage_row(status, instance)["pid"], signal.SIGKILL)
    beats.wait(lambda m: m.header["status"] == "degraded", WORK_S, "status degraded", start=seen)
    assert stranger.control.ok("health")["status"] == "degraded"
    deadline = time.monotonic() + LOAD_S
    back = False
    while not back:
        assert time.monotonic() < deadline, "they did not come back"
        back = all(warm(stranger.control.ok("status"), i, epoch) for i, epoch in epochs.items())
        sounds.append(speech_like(2 * QUANTUM / 48_000, seed=len(sounds)))
        session.wait_ended(turn)
        seen = len(beats.messages)
        turn = begin(session, sounds[-1])
        beats.wait(lambda _: True, BEAT_S, "sys. message", start=seen)
    check_whole(session, turn, np.concatenate(sounds))
    levels = [m.header["degraded"] for m in session.media]
    assert levels[:2] == [None, None]
    assert set(levels) == {None, "fallback"}
    assert {m.header["degraded"] for m in session.of_turn(turn)} == {None}, "back, and the fallback still speaks"
    assert len(session.events("turn.ended")) == len(sounds)
    shown = ([m.header["degraded"] for m in session.of_turn(n)] for n in range(1, len(sounds) + 1))
    steps = (step for one in shown for step in pairwise([None, *one, None]))  # a turn's end recovers
    changes = [("recovered" if now is None else "degraded", now) for was, now in steps if was != now]
    told = [
        (e["event"], e["data"].get("level")) for e in session.events() if e["event"] in ("degraded", "recovered")
    ]
    assert told == changes
    beats.wait(lambda m: m.header["status"] == "ok", WORK_S, "status ok", start=len(beats.messages))


def operate(stranger: Stranger, op: str) -> None:
    asked = stranger.control.send(op, instance="lipsync.1", timeout_s=LOAD_S)
    assert stranger.control.take(asked, LOAD_S)["ok"]


def given_up(stranger: Stranger) -> dict[str, Any]:
    """The line of ``lipsync.1``, once it is tried no more."""
    wait_status(stranger, lambda s: stage_row(s, "lipsync.1")["state"] == "fatal", "it is tried again")
    health = stranger.control.ok("health")
    row = stage_row(stranger.control.ok("status"), "lipsync.1")
    assert health["status"] == "degraded"
    assert [one for one in health["warnings"] if "lipsync.1" in one and row["reason"] in one]
    return row


def test_a_gpu_is_taken_out_for_maintenance_while_the_other_serves(stranger: Stranger, lost: Path) -> None:
    """Put back the wrong way first, of which the operator is told at once."""
    sound = speech_like(8 * QUANTUM / 48_000)
    session = open_session(stranger)
    turn = begin(session, sound)
    session.wait_media(1, turn)
    operate(stranger, "drain_instance")
    drained = stage_row(stranger.control.ok("status"), "lipsync.1")
    assert drained["pid"] is None
    assert stranger.control.ok("health")["status"] == "degraded"
    check_whole(session, turn, sound)
    alone = open_session(stranger)
    check_whole(alone, begin(alone, sound[: 3 * QUANTUM]), sound[: 3 * QUANTUM])
    assert undegraded(session)
    assert undegraded(alone)
    (lost / GPUS[1]).touch()
    operate(stranger, "resume_instance")
    row = given_up(stranger)
    assert (row["epoch"], "PyTorch sees no GPU" in row["reason"]) == (drained["epoch"] + 1, True)
    (lost / GPUS[1]).unlink()
    operate(stranger, "resume_instance")
    wait_status(stranger, lambda s: warm(s, "lipsync.1", row["epoch"]), "lipsync.1 is not in use again")
    # Its own word for it may come here after the supervisor's.
    wait_status(stranger, lambda _: stranger.control.ok("health")["status"] == "ok", "health is not ok")


def test_a_gpu_falls_off_the_bus_and_the_rest_serves(stranger: Stranger, lost: Path) -> None:
    """Its process is given up at once: neither started again, nor missed. Last of ``pair``: it stays so."""
    before = stage_row(stranger.control.ok("status"), "lipsync.1")
    sounds = [speech_like(quanta * QUANTUM / 48_000, seed=quanta) for quanta in (8, 4)]
    sessions = [open_session(stranger) for _ in sounds]
    turn = begin(sessions[0], sounds[0])
    sessions[0].wait_media(1, turn)
    (lost / GPUS[1]).touch()
    check_whole(sessions[0], turn, sounds[0])
    check_whole(sessions[1], begin(sessions[1], sounds[1]), sounds[1])  # perhaps the first to need that GPU
    row = given_up(stranger)
    assert (row["epoch"], row["restarts"], row["pid"]) == (before["epoch"], before["restarts"], None)
    assert f"cuda:{GPUS[1]} is gone" in row["reason"]
    assert all(undegraded(session) for session in sessions)


def test_an_item_that_kills_its_worker_harms_nobody_beside_it(start: Start) -> None:
    daemon = start(chain="musetalk", fault="lipsync:progress@guilty/*/lipsync/1:1:*")
    short = 4 * QUANTUM / 48_000
    sounds = {
        "guilty": speech_like(short, seed=7), "innocent": speech_like(short, seed=8), "busy": speech_like(4.5)
    }  # fmt: skip
    with connected(daemon) as stranger:
        sessions = {name: open_session(stranger, session_id=name) for name in sounds}
        turns = {"busy": begin(sessions["busy"], sounds["busy"])}
        sessions["busy"].wait_media(1, turns["busy"])
        asked = {name: ask(sessions[name], sounds[name]) for name in ("guilty", "innocent")}
        turns |= {name: int(sessions[name].control.take(number)["turn"]) for name, number in asked.items()}
        shown = {name: check_whole(sessions[name], turns[name], sound) for name, sound in sounds.items()}
        wait_status(stranger, lambda s: all(warm(s, i) for i in INSTANCES), "they did not come back")
        calm = open_session(stranger)
        undisturbed = check_whole(calm, begin(calm, sounds["innocent"]), sounds["innocent"])
    daemon.stop()
    levels = [m.header["degraded"] for m in sessions["guilty"].media]
    assert levels == [None, "audio_only", *[None] * (len(levels) - 2)]
    assert undegraded(sessions["innocent"])
    assert undegraded(sessions["busy"])
    assert apart(shown["innocent"], undisturbed) <= 1
    first, *alone = [entry for entry in daemon.logged("stage.fenced") if entry["poisoned"] or entry["requeued"]]
    (item,) = alone[-1]["poisoned"]
    assert item.startswith("guilty/")
    assert item in first["in_hand"]
    assert len(first["in_hand"]) > 1, "nobody was beside it"
    assert all(entry["in_hand"] == [item] for entry in alone)
    assert len(alone) in (2, 3), "two that die at once, standing side by side, count once"
