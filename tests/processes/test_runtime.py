"""The stage runtime, as a real process behind real sockets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.ipc.messages import (
    AsrAudio,
    AsrMark,
    AsrSpeechStarted,
    Cancel,
    Cancelled,
    Done,
    Failed,
    Hello,
    Ready,
    Started,
    TtsChunk,
)
from stages import recorder
from tests.support.harness import ROOT, Bench, Gate, environment
from tests.support.hearing import recording, room
from tests.support.processes import LIMIT_S, alive, wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, because socket paths are limited."""
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def bench(folder: Path) -> Iterator[Bench]:
    bench = Bench(folder, "supervisor.beat_s=0.2", "stages.tts.concurrency=2", "stages.tts.nice=3")
    yield bench
    bench.close()


def test_life_begins_with_hello_then_loading_beats_then_ready(bench: Bench) -> None:
    begun = time.monotonic()
    process = bench.spawn(FAKE_TEMPER=f"load_until={bench.gate}")
    hello = bench.expect(Hello)
    assert (hello.src, hello.ep, hello.stage, hello.pid, hello.ready) == (
        "tts.0",
        1,
        "tts",
        process.pid,
        False,
    )
    first = bench.beat(lambda b: b.state == "loading" and b.phase != "")
    assert bench.beat(lambda b: b.state == "loading" and b.phase != first.phase)
    bench.greet()
    assert not bench.expect(Hello).ready
    bench.gate.open()
    ready = bench.expect(Ready)
    assert (ready.engine, ready.device, ready.credit) == ("fake", "cpu", 4)
    assert 0.05 <= ready.load_s < time.monotonic() - begun
    assert bench.beat(lambda b: b.state == "idle").busy_ms == 0
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 3


def test_outputs_are_stamped_in_order_and_done_is_last(bench: Bench) -> None:
    bench.serve()
    bench.give("emit=3", "s/1/tts/7", attempt=2)
    assert bench.expect(Started).attempt == 2
    for index in range(3):
        output = bench.expect(TtsChunk)
        assert (output.src, output.ep, output.broker) == ("tts.0", 1, 1)
        assert (output.id, output.attempt, output.index) == ("s/1/tts/7", 2, index)
    done = bench.expect(Done)
    assert (done.id, done.attempt) == ("s/1/tts/7", 2)


def test_beats_tell_what_was_done_and_what_could_not_be(bench: Bench) -> None:
    bench.serve()
    for text in ("emit=1", "sleep=0.02", "fail=FAILED"):
        bench.give(text)
    # Two handlers: one of them may have counted its item and not yet how long it took.
    found = bench.beat(
        lambda b: (b.metrics.get("items"), b.metrics.get("failed")) == (2, 1) and b.metrics.get("ms.item", 0) >= 5
    ).metrics
    assert set(found) == {"items", "failed", "ms.item"}


def test_beats_tell_how_busy_the_gpu_is(bench: Bench) -> None:
    bench.serve(FAKE_TEMPER="gpu=75")
    beat = bench.beat(lambda b: b.gpu_util is not None)
    assert (beat.gpu_mem_mb, beat.gpu_util) == (100, 75)
    assert beat.metrics == {"gpu_device_used_mb": 300, "gpu_device_mb": 1000}


def test_a_gpu_that_does_not_answer_costs_neither_beat_nor_work(bench: Bench) -> None:
    process = bench.serve(FAKE_TEMPER="gpu=hang")
    bench.give("emit=1")
    beat = bench.beat(lambda b: b.metrics.get("items") == 1)
    assert (beat.gpu_mem_mb, beat.gpu_util) == (None, None)
    process.terminate()
    assert process.wait(LIMIT_S) == 0


def test_one_bad_item_fails_and_the_process_serves_the_next(bench: Bench) -> None:
    bench.serve()
    for text, code, retryable in (("fail=UNSUPPORTED", "UNSUPPORTED", False), ("raise", "FAILED", True)):
        bench.give(text)
        bench.expect(Started)
        failed = bench.expect(Failed)
        assert (failed.code, failed.retryable) == (code, retryable)
    bench.give("emit=0")
    bench.expect(Started)
    bench.expect(Done)


def test_garbage_on_the_work_socket_is_skipped(bench: Bench) -> None:
    bench.serve()
    for frames in ([b""], [b"\xc1garbage"], [b"\x81\xa1t\xa3xyz"], [b"x" * 100, b"y" * 1000]):
        bench.work.send_multipart(frames)
        bench.orders.send_multipart(frames)
    bench.give("emit=1")
    bench.expect(Started)
    bench.expect(TtsChunk)
    bench.expect(Done)


def test_cancel_overtakes_work_in_hand_and_in_the_queue(bench: Bench) -> None:
    bench.serve()
    for n in range(3):  # two handlers: the third waits
        bench.give("patient emit=5", f"i{n}")
    assert {bench.expect(Started).id for _ in range(2)} == {"i0", "i1"}
    bench.send(bench.orders, Cancel(items=["i2", "i0"]))
    assert {bench.expect(Cancelled).id for _ in range(2)} == {"i0", "i2"}
    bench.send(bench.orders, Cancel(items=["i1", "unknown"]))
    assert bench.expect(Cancelled).id == "i1"


def test_a_cancel_that_overtakes_its_item_is_kept_for_it(bench: Bench) -> None:
    bench.serve()
    bench.give("patient", "before")
    bench.expect(Started)
    for item in ("i0", "before"):  # one socket: what the second has done, the first has, too
        bench.send(bench.orders, Cancel(items=[item]))
    assert bench.expect(Cancelled).id == "before"
    bench.give("emit=5", "i0", attempt=3)
    cancelled = bench.expect(Cancelled)
    assert (cancelled.id, cancelled.attempt) == ("i0", 3)
    bench.give("emit=0", "i0", attempt=4)  # the order was for one item only
    bench.expect(Started)
    assert bench.expect(Done).attempt == 4


def test_beats_tell_the_oldest_item_and_its_time_without_progress(bench: Bench) -> None:
    bench.serve()
    bench.give("patient", "stuck")
    beat = bench.beat(lambda b: b.busy_ms > 500)
    assert (beat.state, beat.item) == ("busy", "stuck")
    bench.send(bench.orders, Cancel(items=["stuck"]))
    bench.beat(lambda b: b.state == "idle")
    bench.give(f"moving={bench.gate}", "moving")
    bench.beat(lambda b: b.item == "moving")
    begun = time.monotonic()
    # A busy machine may keep it from moving now and then; without progress it would be older than all that time.
    bench.beat(lambda b: b.item == "moving" and time.monotonic() - begun > 1.5 and b.busy_ms < 1000)
    bench.gate.open()
    bench.beat(lambda b: b.state == "idle")


def test_sigterm_finishes_what_is_in_hand_leaves_the_rest_and_exits_0(bench: Bench) -> None:
    process = bench.serve()
    for n in range(3):
        bench.give(f"until={bench.gate} emit=2", f"i{n}")
    assert {bench.expect(Started).id for _ in range(2)} == {"i0", "i1"}
    process.terminate()
    bench.beat(lambda b: b.state == "draining")
    bench.gate.open()
    messages = [bench.receive() for _ in range(6)]
    assert sum(isinstance(m, Done) for m in messages) == 2
    assert process.wait(LIMIT_S) == 0
    assert process.stderr is not None
    assert b"torn down" in process.stderr.read()
    assert not bench.ingress.poll(100)


def test_a_second_sigterm_cancels_what_is_in_hand(bench: Bench) -> None:
    process = bench.serve()
    bench.give("patient")
    bench.expect(Started)
    process.terminate()
    bench.beat(lambda b: b.state == "draining")
    process.terminate()
    bench.expect(Cancelled)
    assert process.wait(LIMIT_S) == 0


def test_sigterm_while_loading_ends_at_once(bench: Bench) -> None:
    process = bench.spawn(FAKE_TEMPER="load_hang")
    bench.beat(lambda b: b.state == "loading")
    process.terminate()
    assert process.wait(LIMIT_S) == 0


def test_a_new_broker_voids_the_old_ones_items_and_hears_who_is_there(bench: Bench) -> None:
    bench.serve()
    for n in range(3):
        bench.give(f"until={bench.gate} emit=3", f"old{n}")
    assert {bench.expect(Started).id for _ in range(2)} == {"old0", "old1"}
    bench.lose_broker()
    bench.bind_broker()
    bench.greet(broker=2)
    hello = bench.expect(Hello)
    assert (hello.ready, sorted(hello.held), hello.broker) == (True, ["old0", "old1"], 2)
    bench.gate.open()
    bench.expect(Ready)
    bench.give("emit=9", "late", broker=1)
    bench.give("emit=1", "new", broker=2)
    bench.greet(broker=2)  # repeated: needs no second answer
    bench.greet(broker=1)  # a leftover
    assert bench.expect(Started).id == "new"
    assert bench.expect(TtsChunk).broker == 2
    assert bench.expect(Done).id == "new"
    assert not bench.ingress.poll(300)


def test_work_of_a_broker_that_was_never_told_ready_is_void(bench: Bench) -> None:
    bench.serve()
    bench.give("emit=0", "early", broker=2)
    bench.give("emit=0", "mine", broker=1)
    assert bench.expect(Started).id == "mine"
    assert bench.expect(Done).id == "mine"
    bench.greet(broker=2)
    bench.expect(Hello)
    bench.expect(Ready)
    assert not bench.ingress.poll(200)


def test_a_broker_that_reads_nothing_blocks_the_handler_but_not_the_beats(bench: Bench) -> None:
    process = bench.serve()
    bench.give("flood=100", "big")  # 100 MB against an outbox of 32
    bench.beat(lambda b: b.item == "big")
    begun = time.monotonic()
    # Waiting for the broker is not a hang of the stage, which would be older than all that time.
    bench.beat(lambda b: b.item == "big" and time.monotonic() - begun > 3.0 and b.busy_ms < 2000)
    rss = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096
    assert rss < 300 << 20
    bench.expect(Started)
    assert [bench.expect(TtsChunk).index for _ in range(100)] == list(range(100))
    bench.expect(Done)


def test_stream_messages_go_to_the_handler_and_its_answers_back(folder: Path) -> None:
    bench = Bench(folder)
    try:
        bench.lose_broker()
        bench.bind_broker("asr.0")
        bench.serve("FakeEar", "asr.0")
        for n in range(20):
            bench.send(bench.work, AsrAudio(broker=1, sid="s", sample_rate=16000, at=n * 8), bytes(16))
        assert [bench.expect(AsrMark).consumed for n in range(20)] == [8 * (n + 1) for n in range(20)]
    finally:
        bench.close()


def speak_to(bench: Bench, temper: str) -> subprocess.Popen[bytes]:
    """Start the asr stage and let it hear somebody; returns once it has told so."""
    bench.lose_broker()
    bench.bind_broker("asr.0")
    process = bench.serve("RealEar", "asr.0", FAKE_TEMPER=temper)
    pcm = room(0.3, recording("question_00_rms.flac")).tobytes()
    for at in range(0, len(pcm), 3200):
        audio = AsrAudio(broker=1, sid="s", sample_rate=16000, at=at // 2, reset=at == 0)
        bench.send(bench.work, audio, pcm[at : at + 3200])
    while not isinstance(bench.receive(), AsrSpeechStarted):
        pass
    return process


def test_a_recogniser_that_never_returns_is_seen_without_progress(bench: Bench) -> None:
    speak_to(bench, "ear_hang")
    beat = bench.beat(lambda b: b.busy_ms > 700)
    assert (beat.state, beat.item) == ("busy", "words of s")


def test_a_recogniser_that_ends_its_thread_ends_the_process(bench: Bench) -> None:
    process = speak_to(bench, "ear_break")
    assert process.wait(LIMIT_S) == 1
    assert process.stderr is not None
    assert b"a native library's way to give up" in process.stderr.read()


@pytest.mark.parametrize(
    ("temper", "code", "text"),
    [
        ("load_unsupported", 78, "Choose another with engines.tts"),
        ("load_failed", 1, "the model is not there. Pull it"),
        ("load_gone", 69, "cuda:1 has fallen off the bus. See nvidia-smi"),
        ("broken", 1, "RuntimeError: a defect"),
    ],
)
def test_a_failed_load_says_why_and_whether_a_restart_can_help(
    bench: Bench, temper: str, code: int, text: str
) -> None:
    process = bench.spawn(FAKE_TEMPER=temper)
    assert text in bench.beat(lambda b: b.error != "").error
    assert process.wait(LIMIT_S) == code


def test_a_stage_that_cannot_be_constructed_says_why(bench: Bench) -> None:
    process = bench.spawn("UnbuiltStage")
    assert bench.beat(lambda b: b.error != "").error == "ImportError: no such library"
    assert process.wait(LIMIT_S) == 1


def test_a_handler_that_ends_by_itself_ends_the_process(bench: Bench) -> None:
    assert bench.spawn("ReturningStage").wait(LIMIT_S) == 1


def test_a_stage_on_demand_with_an_item_in_hand_is_not_idle_and_without_one_ends_with_0(folder: Path) -> None:
    """However soon after its last beat the item has come; it lies there before the stage is ready."""
    bench = Bench(folder, "stages.prepare.idle_exit_s=1", "supervisor.beat_s=0.05")
    loaded, done = Gate(folder, "loaded"), Gate(folder, "done")
    try:
        bench.lose_broker()
        bench.bind_broker("prepare.0")
        process = bench.spawn("FakePrepare", "prepare.0", FAKE_TEMPER=f"load_until={loaded}")
        bench.expect(Hello)
        bench.greet()
        bench.expect(Hello)
        bench.give(f"until={done}", "long")
        bench.give("emit=0", "next")
        loaded.open()
        bench.expect(Ready)
        bench.beat(lambda b: (b.state, b.item) == ("busy", "long") and b.busy_ms > 1500)
        done.open()
        assert [bench.expect(kind).id for kind in (Started, Done, Started, Done)] == ["long"] * 2 + ["next"] * 2
        assert process.wait(LIMIT_S) == 0
    finally:
        bench.close()


def test_the_end_of_stdin_ends_the_process(bench: Bench) -> None:
    process = bench.serve()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(LIMIT_S) == 3


def test_a_stage_dies_with_its_parent_even_in_a_native_call(bench: Bench) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "p = subprocess.Popen([*sys.argv[1:], '--parent', str(os.getpid())], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    stage = [sys.executable, "-m", "stages", "tests.processes.fakes:FakeStage", "--instance", "tts.0"]
    stage += ["--epoch", "1", "--config", bench.config_path, "--boot", "b"]
    parent = subprocess.Popen(
        [sys.executable, "-c", script, *stage], stdout=subprocess.PIPE, env=environment(), cwd=ROOT
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    bench.expect(Hello)
    os.kill(pid, signal.SIGSTOP)  # cannot run a line of its own any more
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not alive(pid), what="death of the orphan")


def test_sigusr1_shows_all_stacks_and_harms_nothing(bench: Bench) -> None:
    process = bench.serve()
    bench.give("patient", "x")
    bench.expect(Started)
    bench.beat(lambda b: b.busy_ms > 200)
    process.send_signal(signal.SIGUSR1)
    # Where the log is JSON they go into a file, of which the supervisor makes one line.
    stacks = Path(bench.config_path).with_name("stacks.tts.0.1")
    wait_until(lambda: "in handle\n" in stacks.read_text())
    bench.send(bench.orders, Cancel(items=["x"]))
    bench.expect(Cancelled)
    bench.give("emit=0", "y")
    bench.expect(Started)
    bench.expect(Done)
    process.terminate()
    assert process.wait(LIMIT_S) == 0


def test_an_armed_fault_kills_between_the_outputs_and_done_once(bench: Bench) -> None:
    process = bench.serve(MUSECAST_FAULT="tts:before_done:2")
    bench.give("emit=1", "a")
    bench.expect(Started)
    bench.expect(TtsChunk)
    bench.expect(Done)
    bench.give("emit=1", "b")
    assert process.wait(LIMIT_S) == -signal.SIGKILL
    bench.lose_broker()
    bench.bind_broker("tts.0", 2)
    bench.spawn(epoch=2, MUSECAST_FAULT="tts:before_done:2")
    bench.expect(Hello)
    bench.greet()
    bench.expect(Hello)
    bench.expect(Ready)
    for _ in range(3):
        bench.give("emit=0", "b", attempt=2)
        bench.expect(Started)
        bench.expect(Done)
    assert recorder.read(recorder.path_of(bench.config.runtime_dir, "tts.0", 1)) == ["b"]
    # It is noted once the DONE is on its way.
    wait_until(lambda: recorder.read(recorder.path_of(bench.config.runtime_dir, "tts.0", 2)) == [])


def test_a_fault_of_one_item_spares_the_others_and_comes_before_its_output(bench: Bench) -> None:
    process = bench.serve(MUSECAST_FAULT="tts.0:before_output@guilty/*/tts/1:2:*")
    for item_id in ("innocent/1.1/tts/1", "guilty/1.1/tts/0"):
        bench.give("emit=2", item_id)
        for kind in (Started, TtsChunk, TtsChunk, Done):
            bench.expect(kind)
    bench.give("emit=2", "guilty/2.1/tts/1")
    assert process.wait(LIMIT_S) == -signal.SIGKILL
    assert recorder.read(recorder.path_of(bench.config.runtime_dir, "tts.0", 1)) == ["guilty/2.1/tts/1"]


def test_what_was_in_hand_survives_the_process(bench: Bench) -> None:
    process = bench.serve()
    bench.give("crash", "poison")
    assert process.wait(LIMIT_S) == -signal.SIGKILL
    assert recorder.read(recorder.path_of(bench.config.runtime_dir, "tts.0", 1)) == ["poison"]


def test_an_unknown_stage_is_a_configuration_error(bench: Bench) -> None:
    process = bench.spawn("NoSuchStage")
    assert process.wait(LIMIT_S) == 78
    assert process.stderr is not None
    assert b"is not a stage" in process.stderr.read()
