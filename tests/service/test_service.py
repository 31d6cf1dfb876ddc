"""musecast as a service of a real systemd, installed by the document and treated as machines and operators do."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.service.box import HOME, Box
from tests.service.service import SLOW_S, Service, documented
from tests.support.processes import wait_until

SHIPPED, HARDENED = 3.3, 2.0
"""Most exposure by `systemd-analyze security`, as it is and with the drop-in."""
LONG = "One two three four five six seven eight nine ten. " * 3
START_LIMIT = "10"
ENDED = "turn.ended"
STOPPED = ("inactive", "success")
"""Not "timeout", which is what systemd says after TimeoutStopSec."""
HOLD = "import socket; s = socket.create_server(('127.0.0.1', 28880)); print('bound', flush=True); input()"


@pytest.fixture(scope="module")
def installed(machine: Box) -> Service:
    """Installed and started by the document's own commands."""
    for line in documented():
        machine.run(line)
    return Service(machine)


@pytest.fixture
def service(installed: Service) -> Service:
    """One that runs."""
    if installed.show("ActiveState") != "active":
        installed.systemctl("start")
    return installed


@pytest.fixture
def stopped(installed: Service) -> Service:
    """One that does not; nothing that it has done counts any more."""
    installed.systemctl("stop")
    installed.systemctl("reset-failed", check=False)
    return installed


def exposure(service: Service) -> float:
    text = service.box.run(f"systemd-analyze security --no-pager {service.unit} | tail -1").stdout
    found = re.search(r"level for \S+: ([\d.]+)", text)
    assert found, text
    return float(found[1])


def speaking(service: Service) -> subprocess.Popen[str]:
    """`musecast say` in the middle of a long text."""
    command = service.box.command(f"{HOME}/.venv/bin/musecast say '{LONG}' --json --config {service.config}")
    say = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: any(row["turn"] for row in service.status()["sessions"]), SLOW_S, "it speaks")
    return say


def test_it_is_active_and_says_what_is_ready(service: Service) -> None:
    assert service.show("ActiveState") == "active"
    assert re.fullmatch(r"(\d+) of \1 processes ready", service.show("StatusText"))
    assert service.show("UnitFileState") == "enabled"
    assert service.show("StartLimitBurst") == START_LIMIT


def test_root_and_nobody_have_it_speak(service: Service) -> None:
    for user in ("root", "nobody"):
        assert service.say("Hello from a service.", user) == ENDED
    assert service.box.run("stat -L -c %a /run/musecast /var/lib/musecast").stdout.split() == ["700", "700"]
    open_to_others = "find /run/musecast/ /var/lib/musecast/ -perm /077 ! -type l"
    assert service.box.run(open_to_others).stdout == ""
    environ = service.box.run(f"cat /proc/{service.stages()['lipsync.0']}/environ").stdout.split("\0")
    assert {"HOME=/var/lib/musecast", "TRITON_CACHE_DIR=/var/lib/musecast/cache/triton"} <= set(environ)


def test_weights_are_pulled_to_where_the_service_looks(service: Service) -> None:
    command = "STATE_DIRECTORY=/var/lib/musecast .venv/bin/musecast weights list --json"
    assert "/var/lib/musecast/weights" in service.box.run(f"{command} --config {service.config}").stdout


def test_the_journal_has_json_with_priorities(service: Service) -> None:
    wait_until(lambda: bool(service.lines("daemon.ready")), SLOW_S, "the journal has its beginning")
    (ready, *_) = service.lines("daemon.ready")
    assert ready["PRIORITY"] == "6"
    assert ready["SYSLOG_IDENTIFIER"] == "musecast"
    text = service.box.run("journalctl -u musecast -t musecast -o cat --no-pager").stdout
    assert [line for line in text.splitlines() if not line.startswith("{")] == []


def test_a_reload_takes_what_it_can_and_harms_nothing(service: Service) -> None:
    main = service.main
    service.box.run(f"sed -i 's/^  stop_s: .*/  stop_s: 9.0/; s/^  sessions: .*/  sessions: 7/' {service.config}")
    service.systemctl("reload")
    wait_until(lambda: bool(service.lines("config.reloaded")), limit_s=SLOW_S, what="the reload is told")
    (told,) = (entry["told"] for entry in service.lines("config.reloaded"))
    assert (told["taken"], told["needs_restart"]) == (["supervisor.stop_s"], ["limits.sessions"])
    service.box.run(f"echo 'nonsense: 1' >>{service.config}")
    service.systemctl("reload")
    wait_until(lambda: bool(service.lines("config.refused")), limit_s=SLOW_S, what="the refusal is told")
    assert service.lines("config.refused")[0]["PRIORITY"] == "3"
    service.box.run(f"install -m 644 configs/default.yaml {service.config}")
    assert service.main == main


def test_a_killed_stage_is_not_heard_by_who_listens(service: Service) -> None:
    main, restarts = service.main, service.show("NRestarts")
    say = speaking(service)
    stages = service.stages()
    service.box.run(f"kill -9 {stages['lipsync.0']} {stages['encode.0']}")
    said, _ = say.communicate(timeout=SLOW_S)
    assert say.returncode == 0, said
    assert (service.main, service.show("NRestarts")) == (main, restarts)

    def killed() -> list[str]:
        found = [entry for entry in service.lines("child.exited") if entry["told"]["reason"].startswith("SIGKILL")]
        return [entry["PRIORITY"] for entry in found]

    wait_until(lambda: len(killed()) == 2, SLOW_S, "the journal has both")
    assert killed() == ["3", "3"]


def test_a_killed_supervisor_leaves_nothing_and_comes_back(service: Service) -> None:
    main, restarts = service.main, int(service.show("NRestarts"))
    group = service.show("ControlGroup")
    before = set(service.box.run(f"cat /sys/fs/cgroup{group}/cgroup.procs").stdout.split())
    service.box.run(f"kill -9 {main}")
    service.wait_serving(main)
    assert not before & set(service.box.run(f"cat /sys/fs/cgroup{group}/cgroup.procs").stdout.split())
    assert int(service.show("NRestarts")) == restarts + 1
    assert service.say("Back again.") == ENDED


def test_a_supervisor_that_stands_still_is_found_by_the_watchdog(service: Service) -> None:
    main = service.main
    service.box.run(f"kill -STOP {main}")
    service.wait_serving(main)
    journal = service.box.run("journalctl -u musecast -o cat --no-pager").stdout
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal, "the stack of what stood still"


def test_a_stop_ends_a_turn_in_order_and_within_its_limit(service: Service) -> None:
    say = speaking(service)
    service.systemctl("stop")
    say.communicate(timeout=SLOW_S)
    assert (service.show("ActiveState"), service.show("Result")) == STOPPED
    assert service.box.run("ls /run/musecast", check=False).returncode != 0


def test_a_stop_while_it_still_imports_is_no_failure(stopped: Service) -> None:
    stopped.systemctl("start --no-block")
    wait_until(lambda: stopped.main != 0, what="a process")
    stopped.systemctl("stop")
    assert (stopped.show("ActiveState"), stopped.show("Result")) == STOPPED


@pytest.mark.parametrize(
    ("code", "option", "said"),
    [
        (78, "--set nonsense=1", "nonsense"),
        (2, "--nonsense", "unrecognized arguments"),
    ],
)
def test_what_another_start_cannot_mend_is_tried_once(stopped: Service, code: int, option: str, said: str) -> None:
    start = f"{HOME}/.venv/bin/musecast up --config {stopped.config} {option}"
    stopped.override("ExecStart=", f"ExecStart={start}")
    try:
        assert stopped.systemctl("start", check=False).returncode != 0
        assert (stopped.show("ExecMainStatus"), stopped.show("ActiveState")) == (str(code), "failed")
        assert stopped.show("NRestarts") == "0"
        wait_until(lambda: said in stopped.tail(), SLOW_S, "the journal says why")
    finally:
        stopped.override()


def test_a_taken_port_is_tried_again_until_it_is_free(stopped: Service) -> None:
    taken = stopped.box.command(f'exec .venv/bin/python -c "{HOLD}"')
    holder = subprocess.Popen(taken, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "bound\n"
        stopped.systemctl("start --no-block")
        wait_until(lambda: int(stopped.show("NRestarts")) >= 1, SLOW_S, stopped.tail())
        assert stopped.show("ExecMainStatus") in ("0", "70")
        refused = "daemon.refused"
        wait_until(lambda: any(entry["told"]["code"] == 70 for entry in stopped.lines(refused)), SLOW_S, refused)
    finally:
        holder.communicate(timeout=SLOW_S)
    stopped.wait_serving()


def test_a_full_state_folder_shows_in_the_status(stopped: Service) -> None:
    state = "/var/lib/private/musecast"
    stopped.box.run(f"mount -t tmpfs -o size=64k,mode=700 tmpfs {state}")
    try:
        stopped.systemctl("start")
        wait_until(lambda: "No space left" in stopped.show("StatusText"), SLOW_S, stopped.show("StatusText"))
    finally:
        stopped.systemctl("stop")
        stopped.box.run(f"umount {state}")


def test_the_hardened_service_speaks(stopped: Service) -> None:
    assert exposure(stopped) <= SHIPPED
    folder = "/etc/systemd/system/musecast.service.d"
    stopped.box.run(f"install -D -m 644 systemd/hardening.conf {folder}/hardening.conf && systemctl daemon-reload")
    try:
        stopped.systemctl("start")
        assert stopped.say("Under a filter of system calls.") == ENDED
        assert exposure(stopped) <= HARDENED
    finally:
        stopped.box.run(f"rm {folder}/hardening.conf && systemctl daemon-reload")


def test_a_service_with_keys_speaks_with_who_has_one(stopped: Service) -> None:
    config, musecast = stopped.config, f"{HOME}/.venv/bin/musecast"
    stopped.box.run(f"cp {config} {config}.open && sed -i 's/^  curve: false/  curve: true/' {config}")
    try:
        stopped.systemctl("start")
        say = f"STATE_DIRECTORY=/var/lib/musecast {musecast} say 'Only for friends.' --json --config {config}"
        assert json.loads(stopped.box.run(say).stdout.splitlines()[-1])["event"] == ENDED
        refused = stopped.box.run(say, "nobody", check=False)
        assert refused.returncode != 0
        assert "key" in json.loads(refused.stdout.splitlines()[-1])["error"]["message"]
    finally:
        stopped.systemctl("stop")
        stopped.box.run(f"mv {config}.open {config}")


def test_a_second_instance_speaks_beside_the_first_and_not_in_its_folder(service: Service) -> None:
    two = Service(service.box, "musecast@two")
    ports = "s/28880/28980/; s/28881/28981/"
    service.box.run(
        "install -m 644 systemd/musecast@.service /etc/systemd/system/ && systemctl daemon-reload &&"
        f" sed '{ports}' configs/default.yaml >{two.config}"
    )
    try:
        two.systemctl("start")
        assert two.say("The second one.") == ENDED
        assert service.show("ActiveState") == "active"
        two.systemctl("stop")
        # the same user, in the folder of the first
        service.box.run(f"sed -i 's#^runtime_dir: .*#runtime_dir: /run/musecast#' {two.config}")
        two.override("User=musecast", "ReadWritePaths=/run/musecast")
        assert two.systemctl("start", check=False).returncode != 0
        assert (two.show("ExecMainStatus"), two.show("NRestarts")) == ("75", "0")
        assert service.say("The first one is undisturbed.") == ENDED
    finally:
        two.systemctl("stop", check=False)


def test_it_is_there_after_a_boot(service: Service) -> None:
    service.box.off()
    service.box.boot()
    assert service.show("ActiveState") == "active", "multi-user.target waits for it"
    assert service.say("Good morning.") == ENDED


def test_a_stop_does_not_wait_for_a_frozen_stage(service: Service) -> None:
    service.box.run(f"kill -STOP {service.stages()['encode.0']}")
    service.systemctl("stop")
    assert (service.show("ActiveState"), service.show("Result")) == STOPPED
