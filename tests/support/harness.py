"""Real sockets around one stage process: the broker's and the supervisor's ends, in the test's hands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import zmq

from broker.ipc import wire
from broker.ipc.messages import Beat, Greeting, Hello, Message, Ready, TtsItem
from broker.ipc.sockets import Endpoints, SocketFactory
from configs.load import load, resolve, write_resolved
from configs.schema import Config
from tests.support.leash import leashed
from tests.support.processes import LIMIT_S

ROOT = Path(__file__).parents[2]
UNHURRIED = "supervisor.beats_missed=60"
"""For daemons in which nobody is to be taken for hung: a busy machine may keep a process still for seconds."""
EQUALS = tuple(f"stages.{stage}.nice=0" for stage in ("lipsync", "fallback", "encode", "prepare"))
"""For daemons in which the order of events is tested: what has to step back beside other load may stand still."""
PATIENT = "stages.lipsync.item_timeout_s=3600"
"""For networks on a CPU: it limits their batches, and how fast the machine is now is not what is tested."""
QUICK = (
    "supervisor.beat_s=0.1",
    "supervisor.beats_missed=150",
    "supervisor.backoff_s=[0, 0.1]",
    "supervisor.fence_s=20",
    "supervisor.stop_s=20",
    "log.format=json",
    "log.level=debug",
)
"""Quick to tell, slow to judge: on a busy machine nobody may be taken for hung who is not meant to be."""
Told = dict[str, Any]
M = TypeVar("M", bound=Message)


def make_config(folder: Path, *sets: str) -> tuple[Config, str]:
    """A resolved configuration with its own folders, written for children."""
    own = [f"runtime_dir={folder}", f"state_dir={folder}/state", "log.format=json"]
    config = resolve(load(None, [*own, *sets], {}), {"HOME": str(folder)})
    return config, write_resolved(config)


def environment(**extra: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **extra}


class Gate:
    """A file that scripted work waits for (``until``, ``load_until``): the test says when it goes on, no clock."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self._path = folder / name

    def __str__(self) -> str:
        return str(self._path)

    def open(self) -> None:
        self._path.touch()


class Bench:
    """Stands in for broker and supervisor around stage processes."""

    def __init__(self, folder: Path, *sets: str) -> None:
        self.config, self.config_path = make_config(folder, *sets)
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.make = SocketFactory(self.context)
        self.endpoints = Endpoints(str(folder))
        self.health = self.make.pull_bind(self.endpoints.health, hwm=1000)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.gate = Gate(folder)
        self.bind_broker()

    def bind_broker(self, instance: str = "tts.0", epoch: int = 1) -> None:
        self.ingress = self.make.pull_bind(self.endpoints.ingress)
        # Sending to a process that is gone must end the test, not hang it.
        self.work = self.make.push_bind(self.endpoints.work(instance, epoch))
        self.orders = self.make.push_bind(self.endpoints.orders(instance, epoch))
        for socket in (self.work, self.orders):
            socket.sndtimeo = int(LIMIT_S * 1000)

    def lose_broker(self) -> None:
        for socket in (self.ingress, self.work, self.orders):
            socket.close(linger=0)

    def spawn(
        self, stage: str = "FakeStage", instance: str = "tts.0", epoch: int = 1, **env: str
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "stages", f"tests.processes.fakes:{stage}"),
                *("--instance", instance, "--epoch", str(epoch), "--config", self.config_path),
                *("--boot", "test", "--parent", str(os.getpid())),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(**env),
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def greet(self, broker: int = 1) -> None:
        self.send(self.orders, Greeting(broker=broker))

    def serve(self, stage: str = "FakeStage", instance: str = "tts.0", **env: str) -> subprocess.Popen[bytes]:
        """Spawn, greet, and wait until it is ready."""
        process = self.spawn(stage, instance, **env)
        self.expect(Hello)
        self.greet()
        self.expect(Hello)
        self.expect(Ready)
        return process

    def give(self, text: str, item_id: str = "s/1/tts/0", attempt: int = 1, broker: int = 1) -> None:
        item = TtsItem(id=item_id, attempt=attempt, broker=broker, sid="s", turn=1, text=text)
        self.send(self.work, item)

    def send(self, socket: zmq.Socket[bytes], message: Message, *buffers: bytes) -> None:
        assert socket.poll(int(LIMIT_S * 1000), zmq.POLLOUT), "nobody reads this socket"
        socket.send_multipart(wire.pack(message, buffers))

    def receive(self, socket: zmq.Socket[bytes] | None = None, limit_s: float = LIMIT_S) -> Message:
        socket = self.ingress if socket is None else socket
        assert socket.poll(int(limit_s * 1000)), f"nothing came within {limit_s} s"
        return wire.unpack(socket.recv_multipart())[0]

    def expect(self, kind: type[M]) -> M:
        """The next message from a stage, which has to be of this kind."""
        message = self.receive()
        assert isinstance(message, kind), message
        return message

    def beat(self, wanted: Callable[[Beat], bool], limit_s: float = LIMIT_S) -> Beat:
        """The next beat of which ``wanted`` is true."""
        deadline = time.monotonic() + limit_s
        while True:
            beat = self.receive(self.health, max(0.0, deadline - time.monotonic()))
            assert isinstance(beat, Beat)
            if wanted(beat):
                return beat

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stderr):
                if pipe is not None:
                    pipe.close()
        self.context.destroy(linger=0)


class SmallDaemon:
    """``tests.processes.small_daemon``: a supervisor with fake stages, and what its broker was told."""

    def __init__(
        self,
        folder: Path,
        stages: str,
        *sets: str,
        through_pipe: bool = False,
        journal: bool = False,
        config: Path | None = None,
        **env: str,
    ) -> None:
        self.folder = folder
        self.told_path = folder / "told.jsonl"
        self.log_path = folder.with_name(folder.name + ".log")
        command = [sys.executable, "-m", "tests.processes.small_daemon", "--set", f"runtime_dir={folder}"]
        if config is not None:
            command += ["--config", str(config)]
        for setting in (f"state_dir={folder}/state", *QUICK, *sets):
            command += ["--set", setting]
        with self.log_path.open("ab") as log:
            if journal:  # the file plays systemd's journal: JOURNAL_STREAM names its device and inode
                status = os.fstat(log.fileno())
                env["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
            self.process = subprocess.Popen(
                leashed(command),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE if through_pipe else log,
                env=environment(FAKE_STAGES=stages, **env),
                start_new_session=True,
            )

    def told(self) -> list[Told]:
        """Everything the broker was told so far."""
        if not self.told_path.exists():
            return []
        return [json.loads(line) for line in self.told_path.read_text().splitlines(keepends=True) if "\n" in line]

    def messages(self, kind: str, instance: str) -> list[Told]:
        return [m for m in self.told() if m["t"] == kind and m["instance"] == instance]

    def rows(self) -> dict[str, Told]:
        """The latest report, by instance."""
        reports = [message for message in self.told() if message["t"] == "report"]
        return {row["instance"]: row for row in reports[-1]["rows"]} if reports else {}

    def wait(self, condition: Callable[[dict[str, Told]], bool]) -> dict[str, Told]:
        """Until a report satisfies this."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None and not condition(self.rows()):
            assert time.monotonic() < deadline, f"{self.rows()} {self.log()}"
            time.sleep(0.01)
        assert self.process.poll() is None, self.log()
        return self.rows()

    def wait_idle(self) -> dict[str, Told]:
        """Until everything that is required is warm."""
        return self.wait(lambda rows: bool(rows) and all(row["state"] == "idle" for row in rows.values()))

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(LIMIT_S)

    def log(self) -> str:
        return self.log_path.read_text()[-6000:]

    def events(self, name: str) -> list[Told]:
        lines = self.log_path.read_text().splitlines(keepends=True)
        entries = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
        return [entry for entry in entries if entry["event"] == name]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log_path.unlink(missing_ok=True)
