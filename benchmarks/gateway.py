"""What a WebSocket costs beside plain ZeroMQ, and fifty viewers of one session beside speaking ones."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import msgpack
import zmq
from websockets.asyncio.client import connect

from benchmarks._common import cpu_s, percentile, report
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.client import Client

TEXT = "This is a session that speaks for as long as the measurement lasts, and it tells of the coast. " * 60
ADDED_P50_MS, ADDED_P99_MS, FRAME_CPU_MS, OLDEST_S = 3.0, 10.0, 0.15, 1.0
VIEWER_NICE = 5
START_S = 30.0
Times = dict[tuple[str, int], float]
"""Session and ``seq`` -> ms from ``sent_ns`` to its receipt."""


def _since(header: dict[str, Any]) -> float:
    return (time.time_ns() - header["sent_ns"]) / 1e6


def _subscribe(stream: str, sids: list[str], stop: threading.Event) -> tuple[threading.Thread, Times]:
    times: Times = {}

    def run() -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(stream)
            for sid in sids:
                socket.setsockopt(zmq.SUBSCRIBE, f"seg.{sid}.".encode())
            while not stop.is_set():
                if socket.poll(100):
                    header = msgpack.unpackb(socket.recv_multipart()[1])
                    if header["kind"] == "media":
                        times[header["sid"], header["seq"]] = _since(header)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, times


async def _look(url: str, sid: str, seconds: float, found: dict[str, Any]) -> None:
    """One viewer: ms to the receipt of each segment, frames, and what it was told it did not get."""
    with contextlib.suppress(TimeoutError):
        address = f"ws{url.removeprefix('http')}/ws/{sid}"
        async with asyncio.timeout(seconds), connect(address, compression=None, max_size=None) as ws:
            async for data in ws:
                assert isinstance(data, bytes)
                size = int.from_bytes(data[:4])
                header = msgpack.unpackb(data[4 : 4 + size])
                if header.get("kind") == "media":
                    found["times"].append((sid, header["seq"], _since(header)))
                    found["frames"] += header["frames"]
                elif header.get("event") == "gateway.skipped":
                    found["skipped"] += 1


async def _look_all(url: str, sids: list[str], seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"times": [], "frames": 0, "skipped": 0}
    await asyncio.gather(*(_look(url, sid, seconds, found) for sid in sids))
    return found


def _viewers(url: str, sids: list[str], seconds: float, nice: int) -> subprocess.Popen[str]:
    """Viewers in a process of their own, as they would be."""
    order = json.dumps({"url": url, "sids": sids, "seconds": seconds, "nice": nice})
    command = [sys.executable, "-m", "benchmarks.gateway", "--viewers", order]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    found: dict[str, Any] = json.loads(out)
    return found


def _gateway(client: Client) -> tuple[str, int]:
    """Address and process."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        status = client.request("status")
        row = next((row for row in status["stages"] if row["stage"] == "gateway"), None)
        url = (status.get("endpoints") or {}).get("gateway")
        if row and url and row["state"] in ("idle", "busy"):
            return url, row["pid"]
        time.sleep(0.1)
    raise RuntimeError(f"no gateway within {START_S:g} s")


def _late(sessions: list[Session], client: Client) -> int:
    return sum(client.request("end_session", session_id=one.id, drain=False)["late"] for one in sessions)


def _run(client: Client, url: str, pid: int, speaking: int, viewers: int, seconds: float) -> dict[str, Any]:
    """Sessions that speak, one viewer of each, and ``viewers`` more of the first one."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(own_session(client)) for _ in range(speaking)]
        sids = [one.id for one in sessions]
        stop = threading.Event()
        thread, plain = _subscribe(client.stream, sids, stop)
        one_each = _viewers(url, sids, seconds, 0)
        many = _viewers(url, [sids[0]] * viewers, seconds, VIEWER_NICE) if viewers else None
        for one in sessions:
            one.request("say", text=TEXT)
        before = cpu_s(pid)
        each, more = _told(one_each), _told(many) if many else {"times": [], "frames": 0, "skipped": 0}
        spent = cpu_s(pid) - before
        stop.set()
        thread.join()
        late = _late(sessions, client)
    added = [ms - plain[sid, seq] for sid, seq, ms in each["times"] if (sid, seq) in plain]
    everyone = [one[2] for one in each["times"] + more["times"]]
    frames = each["frames"] + more["frames"]
    return {
        "segments": len(added),
        "added_p50_ms": percentile(added, 0.5),
        "added_p99_ms": percentile(added, 0.99),
        "plain_p50_ms": percentile(list(plain.values()), 0.5),
        "plain_p99_ms": percentile(list(plain.values()), 0.99),
        "cpu_ms_per_frame": spent * 1000 / frames,
        "oldest_s": max(everyone) / 1000,
        "skipped": each["skipped"] + more["skipped"],
        "late": late,
    }


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--many", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--viewers", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.viewers:
        order = json.loads(options.viewers)
        os.nice(order["nice"])
        print(json.dumps(asyncio.run(_look_all(order["url"], order["sids"], order["seconds"]))))
        return 0
    with private_daemon(None, ["endpoints.gateway=127.0.0.1:0"]) as client:
        url, pid = _gateway(client)
        few = _run(client, url, pid, options.sessions, 0, options.seconds)
        many = _run(client, url, pid, options.sessions, options.many, options.seconds)
    many_more = f"with {options.many} viewers more of one session"
    rows = [
        ("segments at both ends", f"{few['segments']}", ""),
        ("ZeroMQ, from publishing to receipt, p50", f"{few['plain_p50_ms']:.2f} ms", ""),
        ("ZeroMQ, from publishing to receipt, p99", f"{few['plain_p99_ms']:.2f} ms", ""),
        ("added by the WebSocket, p50", f"{few['added_p50_ms']:.2f} ms", f"{ADDED_P50_MS:g} ms"),
        ("added by the WebSocket, p99", f"{few['added_p99_ms']:.2f} ms", f"{ADDED_P99_MS:g} ms"),
        ("CPU of the gateway per frame and viewer", f"{few['cpu_ms_per_frame']:.3f} ms", f"{FRAME_CPU_MS:g} ms"),
        (f"the same {many_more}", f"{many['cpu_ms_per_frame']:.3f} ms", f"{FRAME_CPU_MS:g} ms"),
        ("their oldest segment at its receipt", f"{many['oldest_s']:.2f} s", f"{OLDEST_S:g} s"),
        ("segments that they were not given", f"{many['skipped']}", "0"),
        ("late segments without / with them", f"{few['late']} / {many['late']}", ""),
    ]
    report({"few": few, "many": many}, rows, options.json)
    good = few["added_p50_ms"] <= ADDED_P50_MS and few["added_p99_ms"] <= ADDED_P99_MS
    good = good and max(few["cpu_ms_per_frame"], many["cpu_ms_per_frame"]) <= FRAME_CPU_MS
    return int(not (good and many["oldest_s"] <= OLDEST_S and not many["skipped"]))


if __name__ == "__main__":
    sys.exit(main())
