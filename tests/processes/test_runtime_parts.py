"""The runtime's parts by themselves: the outbox's bounds, the record of what is in hand, fault points."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from broker.ipc.faults import Faults
from stages import recorder
from stages.outbox import Outbox
from tests.support.limits import REPLY_S
from tests.support.processes import cpu_s, wait_until

ROOT = Path(__file__).resolve().parents[2]


def quiet() -> None:
    pass


def always() -> bool:
    return True


def test_a_message_waits_for_room_and_gets_it_in_order() -> None:
    box = Outbox(quiet, max_messages=2, max_bytes=1000)
    assert box.put([b"a"], 1, always)
    assert box.put([b"b"], 1, always)
    assert not box.put([b"c"], 1, always, wait_s=0.05)
    thread = threading.Thread(target=lambda: box.put([b"d"], 1, always))
    thread.start()
    head = box.head()
    assert head is not None
    assert head.frames == [b"a"]
    box.shift()
    thread.join(60)
    assert not thread.is_alive()
    assert len(box) == 2


def test_bytes_are_bounded_but_one_large_message_may_leave() -> None:
    box = Outbox(quiet, max_messages=100, max_bytes=100)
    assert box.put([bytes(5000)], 1, always)
    assert not box.put([b"x"], 1, always, wait_s=0.05)
    box.shift()
    assert box.put([b"x"], 1, always)


def test_what_is_meant_for_an_older_broker_is_dropped_and_makes_room() -> None:
    box = Outbox(quiet, max_messages=2, max_bytes=1000)
    box.put([b"old"], 1, always)
    box.post([b"new"], 2)
    assert box.purge(2) == 1
    head = box.head()
    assert head is not None
    assert head.frames == [b"new"]
    assert box.put([b"x"], 2, always, wait_s=0)


def test_a_waiting_handler_gives_up_when_its_item_is_void() -> None:
    box = Outbox(quiet, max_messages=1, max_bytes=1000)
    box.put([b"a"], 1, always)
    assert not box.put([b"b"], 1, lambda: False)


def test_the_record_holds_what_is_in_progress_and_nothing_else(tmp_path: Path) -> None:
    path = str(tmp_path / "hand")
    notes = recorder.Recorder(path)
    for name in ("s/1/tts/0", "s/1/tts/1", "ü" * 200):
        notes.begin(name)
    notes.begin("s/1/tts/0")
    notes.end("s/1/tts/1")
    notes.end("unknown")
    first, second = recorder.read(path)
    assert first == "s/1/tts/0"
    assert second.startswith("ü" * 127)
    for n in range(2 * recorder.SLOTS):
        notes.begin(f"many{n}")
    assert len(recorder.read(path)) == recorder.SLOTS
    assert recorder.read(str(tmp_path / "nothing")) == []


@pytest.mark.parametrize(
    "text",
    [
        "tts", "tts:before_done", "tts:before_done:x", "tts:before_done:1:2", ":::", "tts:x:1:kill:exit",
        "tts:x:1:*:kill",
    ],
)  # fmt: skip
def test_a_malformed_fault_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="MUSECAST_FAULT"):
        Faults("tts", "tts.0", 1, {"MUSECAST_FAULT": text})


def test_faults_of_others_and_of_other_incarnations_are_not_armed() -> None:
    environ = {"MUSECAST_FAULT": "encode:before_done:1, tts.1:before_done:1, tts:before_done@s/1/tts/1:1:*"}
    Faults("tts", "tts.0", 1, environ).passing("before_done", "s/1/tts/0")
    Faults("encode", "encode.0", 2, environ).passing("before_done", "s/1/tts/0")
    Faults("encode", "encode.0", 1, environ).passing("elsewhere", "s/1/tts/0")


ARMED_BY_SIGNAL = """
import os, signal
from broker.ipc.faults import Faults
Faults("b", "b", 3, {"MUSECAST_FAULT": "b:SIGUSR2:2:exit:*,a:SIGHUP:1:exit:*"})
os.kill(os.getpid(), signal.SIGUSR2)
print("once", flush=True)
os.kill(os.getpid(), signal.SIGUSR2)
print("twice", flush=True)
"""


def test_a_signal_is_a_point() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ARMED_BY_SIGNAL], stdout=subprocess.PIPE, text=True, timeout=REPLY_S, check=True
    )
    assert done.stdout.split() == ["once"]


FAILING = """
import os, signal, sys, threading
from broker.ipc.faults import Faults
faults = Faults("b", "b", int(sys.argv[2]), {"MUSECAST_FAULT": "b:p@s*:2:" + sys.argv[1]})
faults.passing("p", "s1"); faults.passing("p", "other"); faults.passing("elsewhere", "s1")
threading.Thread(target=lambda: print(sys.stdin.readline(), flush=True)).start()
print("here", flush=True)
faults.passing("p", "s2")
os.kill(os.getpid(), signal.SIGTERM)
print("lives", flush=True)
"""
"""A thread beside says what it is told; the order of the two is not known."""


@pytest.mark.parametrize(
    ("kind", "epoch", "code", "said"),
    [
        ("kill", 1, -signal.SIGKILL, ["here"]),
        ("exit", 1, 0, ["here"]),
        ("abort", 1, -signal.SIGABRT, ["here"]),
        ("deaf", 1, 0, ["beat", "here", "lives"]),
        ("kill", 2, -signal.SIGTERM, ["here"]),
        ("exit:*", 2, 0, ["here"]),
    ],
)
def test_kinds_of_failure(kind: str, epoch: int, code: int, said: list[str]) -> None:
    command = [sys.executable, "-c", FAILING, kind, str(epoch)]
    told = "beat\n" if kind == "deaf" else ""
    done = subprocess.run(
        command, cwd=ROOT, input=told, stdout=subprocess.PIPE, text=True, check=False, timeout=REPLY_S
    )
    assert (done.returncode, sorted(done.stdout.split())) == (code, said)


def test_while_one_thread_spins_no_other_runs() -> None:
    command = [sys.executable, "-c", FAILING, "spin", "1"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        began = cpu_s(process.pid)
        wait_until(lambda: cpu_s(process.pid) > began + 0.2, what="it spins")
        process.stdin.write("beat\n")
        assert select.select([process.stdout], [], [], 1.0)[0] == []
        assert process.poll() is None
        process.kill()


def test_a_slow_stage_takes_longer_for_every_frame_and_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("broker.ipc.faults.time.sleep", slept.append)
    environ = {"MUSECAST_FAULT": "lipsync:slow@s/*:45, lipsync:before_done:2"}
    faults = Faults("lipsync", "lipsync.0", 1, environ)
    faults.delay("s/1/lipsync/0", 8)
    faults.delay("other/1/lipsync/0", 8)
    faults.passing("slow", "other/1/lipsync/0")
    assert slept == [0.36]
    Faults("lipsync", "lipsync.0", 2, environ).delay("s/1/lipsync/0", 8)
    Faults("encode", "encode.0", 1, environ).delay("s/1/lipsync/0", 8)
    assert slept == [0.36]
