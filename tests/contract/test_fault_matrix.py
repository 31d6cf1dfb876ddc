"""Every process x every kind of failure, each at a random moment of a speaking turn: nobody hears it.

The broker's own failures are in test_broker_death.py; only that it may be deaf is seen here.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Session, Stranger
from tests.support.daemon import Daemon, stage_row
from tests.support.limits import RECOVERY_S, START_S, WORK_S
from tests.support.processes import alive, is_deaf, wait_until
from tests.support.survival import check_last_words
from tests.support.whole import check_whole

SEED = random.randrange(1 << 30)
STOP_S = 12
"""Time for one more broker to be started and to end the sessions, also on a busy machine."""
DEAF = signal.SIGWINCH
KINDS = {
    "kill": signal.SIGKILL,
    "stop": signal.SIGSTOP,
    "abort": signal.SIGABRT,
    "exit": signal.SIGHUP,
    "spin": signal.SIGUSR2,
}
"""How a process is told to fail; the last two, and to be deaf, are armed by ``MUSECAST_FAULT``."""
SPEAKING = ("asr.0", "llm.0", "tts.0", "lipsync.0", "encode.0", "encode.1")
VICTIMS = (*SPEAKING, "prepare.0", "gateway")
ARMED = ",".join(
    [
        *(f"{stage}:{KINDS[kind].name}:1:{kind}:*" for kind in ("exit", "spin") for stage in VICTIMS),
        *(f"{stage}:{DEAF.name}:1:deaf:*" for stage in VICTIMS),
        "broker:published@deaf:1:deaf:*",
    ]
)
OVERRIDES = (
    "endpoints.gateway=http://127.0.0.1:0",
    "engines.tts=[espeak]",  # its successor is there at once
    "supervisor.beat_s=0.5",
    "supervisor.beats_missed=12",
    "supervisor.intensity=100",
    "supervisor.backoff_s=[0]",
    f"supervisor.stop_s={STOP_S}",
    "stages.prepare.idle_exit_s=3600",
    *(f"stages.{stage}.nice=5" for stage in ("lipsync", "encode", "prepare")),  # who spins leaves others some time
)
AT_BIRTH = ("broker", "tts.0", "lipsync.0", "gateway")
"""Killed before anybody is ready."""
TEXT = (
    "This is a speech about nothing in particular, so that something may break in it. "
    "Nobody notices. In the end every word has been said exactly once."
)
SPAN_S = 4.0
"""From the first segment on, somewhere in here; the speech takes longer."""


@pytest.fixture(scope="module")
def faulty(start_daemon_for_module: Callable[..., Daemon], state_dir: Path) -> Daemon:
    print(f"seed {SEED}")
    return start_daemon_for_module(state_dir, *OVERRIDES, fault=ARMED, meanwhile=kill_at_birth)


def kill_at_birth(daemon: Daemon) -> None:
    wait_until(lambda: {*AT_BIRTH} <= first_born(daemon).keys(), START_S, "processes")
    for instance in AT_BIRTH:
        os.kill(first_born(daemon)[instance], signal.SIGKILL)


def first_born(daemon: Daemon) -> dict[str, int]:
    """The first process of each instance."""
    spawned = daemon.logged("child.spawned")
    return {line["child"]: line["child_pid"] for line in spawned if line["child_epoch"] == 1}


@pytest.fixture
def client(faulty: Daemon, connect: Callable[[Daemon], Stranger]) -> Stranger:
    """Once every process is warm; that which prepares is started by a request that it refuses."""
    client = connect(faulty)
    for instance in (*SPEAKING, "gateway"):
        wait_until(lambda: warm(client, instance), RECOVERY_S, instance)  # noqa: B023 - called at once
    prepares(client)
    wait_until(lambda: warm(client, "prepare.0"), RECOVERY_S, "prepare.0")
    return client


@pytest.fixture(scope="module")
def undisturbed(faulty: Daemon) -> Session:
    client = Stranger(faulty.control, faulty.stream)
    session = client.session(mode="offline")
    session.speak(TEXT)
    return session


def row_of(client: Stranger, instance: str) -> dict[str, Any]:
    return stage_row(client.control.ok("status"), instance)


def warm(client: Stranger, instance: str, after: int = 0) -> bool:
    row = row_of(client, instance)
    return bool(row["epoch"] > after and row["pid"] and row["state"] in ("idle", "busy"))


def prepares(client: Stranger) -> None:
    reply = client.control.call("preprocess_template", WORK_S, template_id="no-picture", image=b"x")
    assert reply["error"]["code"] == "INVALID_ARGUMENT", reply


def test_a_daemon_is_healthy_whose_processes_died_while_it_started(faulty: Daemon) -> None:
    ends = [line for line in faulty.logged("child.exited") if line["child_epoch"] == 1]
    assert {*AT_BIRTH} <= {line["child"] for line in ends if line["reason"].startswith("SIGKILL")}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_fails_in_one_turn(faulty: Daemon, client: Stranger, undisturbed: Session, kind: str) -> None:
    chance = random.Random(f"{SEED} {kind}")
    before = {instance: row_of(client, instance) for instance in VICTIMS}
    session = client.session()
    turn = session.say(TEXT)
    trace = session.wait_event("turn.started", turn=turn)["data"]["trace"]
    session.wait_media(1, turn)
    begun = time.monotonic()
    for at, instance in sorted((chance.random() * SPAN_S, instance) for instance in VICTIMS):
        time.sleep(max(0.0, begun + at - time.monotonic()))  # the moment itself is what is random
        with contextlib.suppress(ProcessLookupError):  # a busy machine has had it taken for hung
            os.kill(before[instance]["pid"], KINDS[kind])
    check_whole(session, turn, undisturbed)
    for instance in (*SPEAKING, "gateway"):
        epoch = before[instance]["epoch"]
        wait_until(lambda: warm(client, instance, epoch), RECOVERY_S, instance)  # noqa: B023 - called at once
    wait_until(lambda: row_of(client, "prepare.0")["pid"] != before["prepare.0"]["pid"], RECOVERY_S, "its end")
    prepares(client)
    # Whichever process writes of the turn, its lines are found by one id.
    assert [line["trace"] for line in faulty.logged("turn.ended") if session.sid in line["item"]] == [trace]
    fenced = [line for line in faulty.logged("stage.fenced") if any(session.sid in id for id in line["requeued"])]
    assert all(trace in (line.get("trace"), *line.get("traces", ())) for line in fenced)


def test_a_daemon_whose_processes_are_deaf_stops_in_time(faulty: Daemon, client: Stranger) -> None:
    """The time is that of ``stop``."""
    family = faulty.descendants()
    for instance in VICTIMS:
        pid = row_of(client, instance)["pid"]
        os.kill(pid, DEAF)
        wait_until(lambda: is_deaf(pid), RECOVERY_S, f"{instance} to be deaf")  # noqa: B023 - called at once
    session = client.session(session_id="deaf")
    session.wait_media(1, session.say(TEXT))
    faulty.stop()
    check_last_words(session, faulty)
    assert not [pid for pid in family if alive(pid)]
    ends = {line["child"]: line["reason"] for line in faulty.logged("child.state") if line["now"] == "stopped"}
    assert all(ends[instance] != "exit 0" for instance in VICTIMS), "they have heard SIGTERM"
