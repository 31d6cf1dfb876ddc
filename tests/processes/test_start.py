"""What a person sees of a start, and what is said when it fails, over real processes."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq

from broker.ipc.sockets import BindError, SocketFactory
from clients.client import Client
from tests.support.harness import ROOT, Bench, environment
from tests.support.processes import LIMIT_S, free_ports


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:
        yield Path(name)


ENTRIES = ("broker.__main__", "clients.gateway.__main__", "stages.__main__", "supervision.app")


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_process_of_the_daemon_loads_what_draws_on_terminals(entry: str) -> None:
    """structlog would, in each of them: see configs/logs.py."""
    code = f"import sys, {entry}; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=LIMIT_S, check=False).returncode == 0


class Terminal:
    """A daemon with fake stages whose stderr is a terminal."""

    def __init__(self, folder: Path, stages: str, *sets: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "tests.processes.small_daemon"]
        for setting in (f"runtime_dir={folder}/run", f"state_dir={folder}/state", *sets):
            command += ["--set", setting]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=theirs,
            stderr=theirs,
            env=environment(FAKE_STAGES=stages),
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def read(self, until: str = "") -> str:
        """What stands on it once ``until`` does; "": once the process has ended."""
        deadline = time.monotonic() + LIMIT_S
        while not until or until not in self.shown:
            assert time.monotonic() < deadline, self.shown
            try:
                part = os.read(self._ours, 65536)
            except OSError:  # EIO: the last process has closed it
                assert not until, self.shown
                break
            self.shown += part.decode()
        return self.shown

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


def test_a_terminal_shows_five_lines_until_it_is_told_to_stop(folder: Path) -> None:
    terminal = Terminal(folder, "tts.0=FakeStage", "supervisor.beat_s=20")  # a moment of standing still is no news
    try:
        lines = terminal.read("stop      Ctrl-C").splitlines()
        assert lines[0] == "loading pocketsphinx, faq, hibari, warp"
        assert lines[1].startswith("ready in ")
        assert "tcp://127.0.0.1:28880" in lines[2]
        assert "tcp://127.0.0.1:28881" in lines[2]
        assert "musecast say" in lines[3]
        assert len(lines) == 5
        assert max(map(len, lines)) <= 80
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.read().splitlines()[5] == "stopping; Ctrl-C again ends it at once"
        assert terminal.process.wait(LIMIT_S) == 0
    finally:
        terminal.close()


def test_the_last_line_of_a_failed_start_is_its_cause_and_the_next_step(folder: Path) -> None:
    terminal = Terminal(folder, "tts.0=FakeStage@load_unsupported")
    try:
        last = terminal.read().splitlines()[-1]
        assert terminal.process.wait(LIMIT_S) == 78
        assert last.startswith("musecast: tts.0 was given up: exit 78: ")
        assert "Choose another with engines.tts" in last
    finally:
        terminal.close()


def test_a_broker_whose_port_is_taken_meanwhile_says_so_and_may_be_tried_again(folder: Path) -> None:
    """The look before the start cannot see what happens after it; a restarted broker binds anew."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        address = f"tcp://127.0.0.1:{holder.getsockname()[1]}"
        bench = Bench(folder, f"endpoints.control={address}")
        try:
            bench.lose_broker()
            command = [sys.executable, "-m", "broker", "--config", bench.config_path]
            command += ["--boot", "x", "--epoch", "1"]
            code = subprocess.run(command, check=False, env=environment(), cwd=ROOT, timeout=LIMIT_S).returncode
            assert code == 1, "another start may help"
            told = bench.beat(lambda beat: bool(beat.error)).error
            assert f"cannot bind {address}: Address already in use" in told
        finally:
            bench.close()


def test_both_public_sockets_can_be_bound_to_ipv6_and_a_client_finds_them() -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    control, stream = (f"tcp://[::1]:{port}" for port in free_ports(2))
    with zmq.Context() as context:
        factory = SocketFactory(context)
        with factory.router_bind(control) as router, factory.xpub_bind(stream) as xpub:
            with Client(control, stream) as client:
                client.send("health")
                assert router.poll(LIMIT_S * 1000)
                assert msgpack.unpackb(router.recv_multipart()[-1])["op"] == "health"
                subscription = client.subscribe("sys.")
                assert xpub.poll(LIMIT_S * 1000)
                assert xpub.recv() == b"\x01sys."
                subscription.close()
            with pytest.raises(BindError, match=r"cannot bind tcp://\[::1\]"):
                factory.router_bind(control)


@pytest.mark.parametrize(
    "command",
    [
        [str(ROOT / "supervisor.py")],
        ["-c", "import sys; from clients.cli.main import main; sys.exit(main(['up']))"],
    ],
)
def test_ctrl_c_while_modules_load_ends_the_start_without_a_word(folder: Path, command: list[str]) -> None:
    (folder / "structlog.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    path = os.pathsep.join((str(folder), str(ROOT)))
    found = subprocess.run(
        [sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment(MUSECAST_RUNTIME_DIR=f"{folder}/run") | {"PYTHONPATH": path},
    )
    assert (found.returncode, found.stdout, found.stderr) == (-signal.SIGINT, "", "")
