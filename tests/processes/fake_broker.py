"""The broker's side of membership and nothing else, as a process: ``python -m tests.processes.fake_broker``.

Every message of the supervisor is appended as one JSON line to ``runtime_dir/told.jsonl``. Words in
``FAKE_BROKER``: ``no_fence`` (never answers Down), ``demand`` (asks for prepare at start),
``work`` (gives prepare an item once it is warm, and asks for it again), ``nag`` (asks for prepare all the time),
``deaf`` (ignores
SIGTERM), ``config`` (exit 78 at once), ``crash`` (exit 1 at once).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from broker.ipc import guards

guards.arm(int(sys.argv[sys.argv.index("--parent") + 1]))

import msgspec  # noqa: E402
import zmq  # noqa: E402

from broker.ipc import wire  # noqa: E402
from broker.ipc.messages import Beat, Demand, Down, Fenced, Greeting, Message, Ready, TtsItem, Up  # noqa: E402
from broker.ipc.sockets import Endpoints, SocketFactory  # noqa: E402
from configs.load import read_resolved  # noqa: E402

TEMPER = os.environ.get("FAKE_BROKER", "").split()


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--config", "--boot", "--epoch", "--parent"):
        parser.add_argument(name)
    options = parser.parse_args()
    config = read_resolved(options.config)
    epoch = int(options.epoch)
    if "config" in TEMPER:
        return 78
    if "crash" in TEMPER:
        return 1
    told = Path(config.runtime_dir, "told.jsonl").open("a")  # noqa: SIM115 - until the end
    ends = Endpoints(config.runtime_dir)
    make = SocketFactory(zmq.Context())
    ingress, members = make.pull_bind(ends.ingress), make.pull_bind(ends.members, hwm=1000)
    health = make.push_connect(ends.health)
    orders: dict[str, zmq.Socket[bytes]] = {}
    works: dict[str, zmq.Socket[bytes]] = {}
    ungreeted: set[str] = set()
    stopping = False

    def on_term(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in TEMPER else on_term)
    poller = zmq.Poller()
    poller.register(ingress, zmq.POLLIN)
    poller.register(members, zmq.POLLIN)

    def say(message: Message) -> None:
        health.send_multipart(wire.pack(message))

    def note(message: Message) -> None:
        told.write(json.dumps({"broker": epoch, "at": time.monotonic(), **msgspec.to_builtins(message)}) + "\n")
        told.flush()

    if "demand" in TEMPER and epoch == 1:
        say(Demand(stage="prepare"))
    last = False
    while not last:
        last = stopping  # what it was told before is still written down
        if not last:
            say(Beat(src="broker", ep=epoch, stage="broker", pid=os.getpid(), state="idle"))
        ready = dict(poller.poll(0 if last else 50))
        if "nag" in TEMPER:
            say(Demand(stage="prepare"))
        if ingress in ready:
            message, _ = wire.unpack(ingress.recv_multipart())
            if "work" in TEMPER and isinstance(message, Ready) and message.stage == "prepare":
                item = TtsItem(id="p", attempt=1, broker=epoch, sid="s", turn=1, text="sleep=0.5")
                works[message.src].send_multipart(wire.pack(item))
                say(Demand(stage="prepare"))
        while members.poll(0):
            message, _ = wire.unpack(members.recv_multipart())
            note(message)
            if isinstance(message, Up):
                instance = message.instance
                works[instance] = make.push_bind(ends.work(instance, message.epoch))
                orders[instance] = make.push_bind(ends.orders(instance, message.epoch))
                ungreeted.add(instance)
            elif isinstance(message, Down) and "no_fence" not in TEMPER:
                say(Fenced(instance=message.instance, epoch=message.epoch))
        for instance in list(ungreeted):
            if orders[instance].poll(0, zmq.POLLOUT):
                orders[instance].send_multipart(wire.pack(Greeting(broker=epoch)))
                ungreeted.discard(instance)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
