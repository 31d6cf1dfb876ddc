"""The supervisor over real processes: deaths, hangs, fences, giving up, and the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import ROOT, Gate, SmallDaemon, Told
from tests.support.processes import LIMIT_S, alive, descendants, wait_until

TWO = "encode.0=FakeEncode encode.1=FakeEncode"
Start = Callable[..., SmallDaemon]


@pytest.fixture
def start() -> Iterator[Start]:
    daemons: list[SmallDaemon] = []
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:

        def make(stages: str = "tts.0=FakeStage", *sets: str, **env: Any) -> SmallDaemon:
            daemons.append(SmallDaemon(Path(name, "run"), stages, *sets, **env))
            return daemons[-1]

        yield make
        for daemon in daemons:
            daemon.close()


def seconds_between(first: Told, second: Told) -> float:
    """By the clock of who wrote these lines of the log."""
    begin, end = (datetime.fromisoformat(entry["timestamp"]) for entry in (first, second))
    return (end - begin).total_seconds()


def test_a_runtime_folder_that_is_deleted_ends_the_daemon_when_something_has_to_start(start: Start) -> None:
    """With 70, so that a service manager starts it anew: what lives needs the folder no more."""
    daemon = start("tts.0=FakeStage", "supervisor.intensity=1", "supervisor.backoff_s=[0]")
    rows = daemon.wait_idle()
    shutil.rmtree(daemon.folder)
    os.kill(rows["tts.0"]["pid"], signal.SIGKILL)
    assert daemon.process.wait(LIMIT_S) == 70
    assert "runtime_dir was deleted" in daemon.log().splitlines()[-1]


def test_a_killed_stage_is_fenced_before_its_successor_starts(start: Start) -> None:
    daemon = start(f"{TWO} tts.0=FakeStage")
    before = daemon.wait_idle()
    os.kill(before["tts.0"]["pid"], signal.SIGKILL)
    after = daemon.wait(lambda rows: rows["tts.0"]["epoch"] == 2 and rows["tts.0"]["state"] == "idle")
    assert after["tts.0"]["restarts"] == 1
    assert after["tts.0"]["pid"] != before["tts.0"]["pid"]
    for twin in ("encode.0", "encode.1", "broker"):
        assert after[twin]["pid"] == before[twin]["pid"]
    (down,) = daemon.messages("down", "tts.0")
    assert (down["epoch"], down["reason"], down["commanded"]) == (1, "SIGKILL", False), "found by its end"
    order = [(m["t"], m["epoch"]) for m in daemon.told() if m.get("instance") == "tts.0"]
    assert order == [("up", 1), ("down", 1), ("up", 2)]


def test_a_frozen_stage_is_found_by_its_silence(start: Start) -> None:
    daemon = start("tts.0=FakeStage", "supervisor.beats_missed=50")
    pid = daemon.wait_idle()["tts.0"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    daemon.wait(lambda rows: rows["tts.0"]["epoch"] == 2 and rows["tts.0"]["state"] == "idle")
    (down,) = daemon.messages("down", "tts.0")
    assert "no beat for 5 s" in down["reason"]
    assert not alive(pid)


def test_a_supervisor_that_was_frozen_itself_kills_nobody(start: Start) -> None:
    daemon = start(f"{TWO} tts.0=FakeStage", "supervisor.beats_missed=50")
    before = daemon.wait_idle()
    daemon.process.send_signal(signal.SIGSTOP)
    time.sleep(5.5)  # more than the silence that counts as a hang
    daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: bool(daemon.events("supervisor.stalled")))
    reports = len(daemon.told())
    wait_until(lambda: len(daemon.told()) > reports + 3)
    assert {i: r["pid"] for i, r in daemon.rows().items()} == {i: r["pid"] for i, r in before.items()}
    assert not daemon.events("child.hung")


def test_a_dead_stages_descendants_die_with_it_even_out_of_its_group(start: Start) -> None:
    daemon = start("tts.0=FakeStage@grandchild")
    pid = daemon.wait_idle()["tts.0"]["pid"]
    (grandchild,) = descendants(pid)
    os.kill(pid, signal.SIGKILL)
    daemon.wait(lambda rows: rows["tts.0"]["epoch"] == 2)
    assert not alive(grandchild)


def test_a_crash_loop_ends_the_daemon_with_70_after_one_crash_more_than_allowed(start: Start) -> None:
    daemon = start("tts.0=FakeStage@load_crash", "supervisor.intensity=2")
    assert daemon.process.wait(2 * LIMIT_S) == 70
    assert [m["epoch"] for m in daemon.messages("up", "tts.0")] == [1, 2, 3]
    assert "more than 2 unexpected ends before it was ever ready, the last: exit 9" in daemon.log()


def test_the_loss_of_one_twin_for_good_degrades_and_of_both_ends(start: Start) -> None:
    daemon = start("encode.0=FakeEncode@load_crash encode.1=FakeEncode", "supervisor.intensity=1")
    rows = daemon.wait(lambda rows: bool(rows) and rows["encode.0"]["state"] == "fatal")
    rows = daemon.wait(lambda rows: rows["encode.1"]["state"] == "idle")
    for _ in range(2):
        pid = rows["encode.1"]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda gone=pid: (
                daemon.process.poll() is not None or daemon.rows()["encode.1"]["pid"] not in (gone, None)
            )
        )
        rows = daemon.rows()
    assert daemon.process.wait(LIMIT_S) == 70


def test_a_twin_whose_device_is_gone_is_given_up_at_once(start: Start) -> None:
    daemon = start("encode.0=FakeEncode@load_gone encode.1=FakeEncode")
    daemon.wait(lambda rows: bool(rows) and rows["encode.0"]["state"] == "fatal")
    daemon.wait(lambda rows: rows["encode.1"]["state"] == "idle")
    assert [m["epoch"] for m in daemon.messages("up", "encode.0")] == [1]
    (fatal,) = daemon.events("child.fatal")
    assert "cuda:1 has fallen off the bus" in fatal["reason"]


def test_a_configuration_error_of_a_stage_is_not_retried_and_says_the_next_step(start: Start) -> None:
    daemon = start("tts.0=FakeStage@load_unsupported")
    assert daemon.process.wait(LIMIT_S) == 78
    assert [m["epoch"] for m in daemon.messages("up", "tts.0")] == [1]
    (fatal,) = daemon.events("child.fatal")
    assert "Choose another with engines.tts" in fatal["reason"]


def test_a_killed_broker_is_replaced_and_told_who_lives(start: Start) -> None:
    daemon = start(f"{TWO} tts.0=FakeStage")
    before = daemon.wait_idle()
    os.kill(before["broker"]["pid"], signal.SIGKILL)
    after = daemon.wait(lambda rows: rows["broker"]["epoch"] == 2 and rows["broker"]["state"] == "idle")
    for instance in ("encode.0", "encode.1", "tts.0"):
        assert after[instance]["pid"] == before[instance]["pid"], "stages live on"
    ups = {m["instance"]: m["epoch"] for m in daemon.told() if m["t"] == "up" and m["broker"] == 2}
    assert ups == {"encode.0": 1, "encode.1": 1, "tts.0": 1}


def test_a_stage_that_dies_without_a_broker_is_restarted_under_the_next_one(start: Start) -> None:
    daemon = start(f"{TWO} tts.0=FakeStage")
    rows = daemon.wait_idle()
    for instance in ("broker", "tts.0"):
        os.kill(rows[instance]["pid"], signal.SIGKILL)
    daemon.wait(lambda rows: rows["broker"]["epoch"] == 2 and rows["tts.0"]["epoch"] == 2)
    daemon.wait_idle()
    ups = {m["instance"]: m["epoch"] for m in daemon.told() if m["t"] == "up" and m["broker"] == 2}
    assert ups == {"encode.0": 1, "encode.1": 1, "tts.0": 2}


def test_a_broker_that_does_not_fence_counts_as_hung(start: Start) -> None:
    daemon = start("tts.0=FakeStage", "supervisor.fence_s=1", FAKE_BROKER="no_fence")
    rows = daemon.wait_idle()
    os.kill(rows["tts.0"]["pid"], signal.SIGKILL)
    daemon.wait(lambda rows: rows["broker"]["epoch"] == 2 and rows["tts.0"]["epoch"] == 2)
    (hung,) = daemon.events("child.hung")
    assert hung["child"] == "broker"
    assert "did not fence tts.0 within 1 s" in hung["reason"]


def test_a_stage_on_demand_starts_when_asked_for_and_its_end_is_no_failure(start: Start) -> None:
    daemon = start("prepare.0=FakePrepare", "stages.prepare.idle_exit_s=0.3", FAKE_BROKER="demand")
    wait_until(lambda: bool(daemon.messages("down", "prepare.0")))
    (down,) = daemon.messages("down", "prepare.0")
    assert down["commanded"]
    rows = daemon.wait(lambda rows: (rows["prepare.0"]["state"], rows["prepare.0"]["pid"]) == ("idle", None))
    assert (rows["prepare.0"]["restarts"], rows["prepare.0"]["required"]) == (0, False)
    assert len(daemon.messages("up", "prepare.0")) == 1


def test_a_stage_that_serves_what_it_was_asked_for_is_not_started_again_for_it(start: Start) -> None:
    # Long enough for its item to come before it thinks that there is none.
    daemon = start("prepare.0=FakePrepare", "stages.prepare.idle_exit_s=4", FAKE_BROKER="demand work")
    wait_until(lambda: bool(daemon.messages("down", "prepare.0")))
    reports = len(daemon.told())
    wait_until(lambda: len(daemon.told()) > reports + 2)
    assert daemon.rows()["prepare.0"]["pid"] is None
    assert len(daemon.messages("up", "prepare.0")) == 1


def test_a_stage_on_demand_that_was_given_up_is_tried_again_after_the_window(start: Start) -> None:
    daemon = start("prepare.0=FakePrepare@load_unsupported", "supervisor.window_s=1.5", FAKE_BROKER="nag")
    wait_until(lambda: len(daemon.messages("up", "prepare.0")) > 1)
    wait_until(lambda: len(daemon.events("child.spawned")) > 2)
    (ended, *_), spawned = daemon.events("child.exited"), daemon.events("child.spawned")
    (_, again, *_) = [event for event in spawned if event["child"] == "prepare.0"]
    assert seconds_between(ended, again) > 1.4
    assert daemon.process.poll() is None


def test_nothing_outlives_a_killed_supervisor(start: Start) -> None:
    daemon = start(f"{TWO} tts.0=FakeStage@deaf")
    rows = daemon.wait_idle()
    family = descendants(daemon.process.pid)
    assert len(family) == 4
    os.kill(rows["encode.0"]["pid"], signal.SIGSTOP)
    daemon.process.kill()
    wait_until(lambda: not any(map(alive, family)), what="the end of all descendants")


def test_sigterm_ends_everything_with_0_broker_first(start: Start) -> None:
    daemon = start(f"{TWO} tts.0=FakeStage")
    daemon.wait_idle()
    family = descendants(daemon.process.pid)
    assert daemon.end() == 0
    assert not any(map(alive, family))
    ended = daemon.events("child.exited")
    assert ended[0]["child"] == "broker"
    assert [event["code"] for event in ended] == [0] * 4, "nobody had to be killed"
    assert {path.name for path in daemon.folder.iterdir()} == {"lock", "state", "told.jsonl"}


def test_the_time_to_stop_is_bounded_whoever_ignores_sigterm(start: Start) -> None:
    daemon = start("tts.0=FakeStage@deaf encode.0=FakeEncode", "supervisor.stop_s=3", FAKE_BROKER="deaf")
    daemon.wait_idle()
    family = descendants(daemon.process.pid)
    assert daemon.end() == 0
    # Where the supervisor stood still meanwhile, its time was over before it was found.
    told = [(event["child"], event["reason"]) for event in daemon.events("child.hung")]
    assert told in ([], [("broker", "goes on as if it had not been told to stop")])
    assert told or daemon.events("broker.undrained")
    assert not any(map(alive, family))


def test_a_second_signal_means_now(start: Start) -> None:
    daemon = start("tts.0=FakeStage@deaf", "supervisor.stop_s=600", FAKE_BROKER="deaf")
    daemon.wait_idle()
    daemon.process.terminate()
    wait_until(lambda: bool(daemon.events("daemon.stopping")))
    daemon.process.send_signal(signal.SIGINT)
    assert daemon.process.wait(LIMIT_S) == 0, "and not after the minutes that they may take"


def test_a_second_daemon_on_the_same_directory_is_refused_and_the_first_undisturbed(start: Start) -> None:
    first = start()
    before = first.wait_idle()
    second = start()
    assert second.process.wait(LIMIT_S) == 75
    assert f"in use by process {first.process.pid}" in first.log()
    reports = len(first.told())
    wait_until(lambda: len(first.told()) > reports)
    assert first.rows()["tts.0"]["pid"] == before["tts.0"]["pid"]
    assert first.rows()["tts.0"]["state"] == "idle"


def test_a_daemon_starts_on_what_a_killed_one_left(start: Start) -> None:
    first = start()
    first.wait_idle()
    first.process.kill()
    first.process.wait()
    first.told_path.unlink()
    second = start()
    second.wait_idle()
    assert second.end() == 0


def test_a_bad_configuration_ends_with_78_and_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("log: {level: info}\nsupervisor:\n  beats: 3\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "--config", str(path)],
        stderr=subprocess.PIPE,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 78
    assert f"{path}, line 3: supervisor.beats: unknown key" in done.stderr.decode()


def test_wrong_arguments_end_with_2() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "--nonsense"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2


def test_a_runtime_dir_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "--set", f"runtime_dir={tmp_path}/file"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 78
    assert b"choose another" in done.stderr


def test_a_shared_folder_is_not_taken_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "something").write_text("")
    done = subprocess.run(
        [sys.executable, str(ROOT / "supervisor.py"), "--set", f"runtime_dir={tmp_path}"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 78
    assert b"open to other users" in done.stderr
    assert tmp_path.stat().st_mode & 0o777 == 0o777


def test_the_loss_of_the_logs_reader_ends_nothing(start: Start) -> None:
    daemon = start("tts.0=FakeStage", through_pipe=True)
    pid = daemon.wait_idle()["tts.0"]["pid"]
    assert daemon.process.stderr is not None
    daemon.process.stderr.close()
    os.kill(pid, signal.SIGKILL)
    daemon.wait(lambda rows: rows["tts.0"]["epoch"] == 2 and rows["tts.0"]["state"] == "idle")
    assert daemon.end() == 0


def test_systemd_hears_of_loading_readiness_watchdog_and_the_end(start: Start) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        manager.bind(f"{name}/notify")
        manager.settimeout(LIMIT_S)
        gate = Gate(Path(name))
        stage = f"tts.0=FakeStage@load_until={gate}"
        daemon = start(stage, NOTIFY_SOCKET=f"{name}/notify", WATCHDOG_USEC="1500000")
        heard: list[str] = []
        while not any(line.startswith("STATUS=") and "tts.0 loading" in line for line in heard):
            heard += manager.recv(4096).decode().splitlines()
        assert "EXTEND_TIMEOUT_USEC=30000000" in heard
        gate.open()
        while "READY=1" not in heard:
            heard += manager.recv(4096).decode().splitlines()
        fed = 0
        while fed < 3:
            fed += "WATCHDOG=1" in manager.recv(4096).decode().splitlines()
        daemon.process.terminate()
        heard = []
        while "STOPPING=1" not in heard:
            heard += manager.recv(4096).decode().splitlines()
        assert daemon.process.wait(LIMIT_S) == 0


def test_a_stage_that_hangs_while_loading_shows_its_stack_and_in_a_journal_every_line_is_an_object(
    start: Start,
) -> None:
    """Each line with its priority."""
    daemon = start(
        "tts.0=FakeStage@load_hang",
        "stages.tts.load_timeout_s=12",  # the interpreter has to start within it
        "supervisor.intensity=1",
        journal=True,
    )
    assert daemon.process.wait(LIMIT_S) == 70
    found = {}
    for line in daemon.log_path.read_text().splitlines():
        assert re.match(r"<[2-7]>\{", line), line
        entry = json.loads(line[3:])
        found[entry["event"]] = (line[1], entry)
    assert "not ready 12 s after its start" in found["child.hung"][1]["reason"]
    assert found["daemon.refused"][0] == "3"
    assert found["daemon.refused"][1]["code"] == 70
    assert "tts.0 was given up" in found["daemon.refused"][1]["reason"]
    assert found["child.spawned"][0] == "6"
    assert "in pause" in found["child.stacks"][1]["stacks"], "faulthandler's dump"
    assert not list(daemon.folder.glob("stacks.*"))


def test_a_hangup_reloads_the_configuration_under_a_service_manager(start: Start) -> None:
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:
        file = Path(name, "musecast.yaml")
        file.write_text("supervisor: {intensity: 5}\n")
        service = start("tts.0=FakeStage", config=file, NOTIFY_SOCKET=f"{name}/nobody")
        service.wait_idle()
        file.write_text("supervisor: {intensity: 7}\nlimits: {sessions: 3}\n")
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(service.events("config.reloaded")))
        (event,) = service.events("config.reloaded")
        assert (event["taken"], event["needs_restart"]) == (["supervisor.intensity"], ["limits.sessions"])
        file.write_text("supervisor: {intensity: many}\n")
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: bool(service.events("config.refused")))
        assert service.rows()["tts.0"]["epoch"] == 1
        assert service.end() == 0


def test_a_closed_terminal_stops_a_daemon_in_the_foreground_in_order(start: Start) -> None:
    daemon = start("tts.0=FakeStage")
    daemon.wait_idle()
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.process.wait(LIMIT_S) == 0
