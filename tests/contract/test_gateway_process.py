"""The gateway as a process of the daemon: watched, restarted, optional."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.client import TERMINAL, Stranger
from tests.support.daemon import LIGHT, Daemon, stage_row
from tests.support.gateway import OVERRIDE, WebSocket
from tests.support.gateway_process import error_of
from tests.support.limits import GONE_S, RECOVERY_S, REPLY_S
from tests.support.processes import wait_until
from tests.support.survival import again

OVERRIDES = (
    "supervisor.beats_missed=6",
    OVERRIDE,
    "supervisor.intensity=3",
    "supervisor.backoff_s=[0]",
    *LIGHT,
)


@pytest.fixture(scope="module")
def admin(own_daemon: Daemon) -> Iterator[Stranger]:
    client = Stranger(own_daemon.control, own_daemon.stream)
    yield client
    client.close()


def row_of(admin: Stranger) -> dict[str, Any]:
    return stage_row(admin.control.ok("status"), "gateway")


def healthy(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/health", timeout=REPLY_S).status_code == 200
    return False


def test_its_address_is_in_status(own_daemon: Daemon, admin: Stranger) -> None:
    wait_until(lambda: row_of(admin)["state"] in ("idle", "busy"), RECOVERY_S, "the gateway to be ready")
    status = admin.control.ok("status")
    url = status["endpoints"]["gateway"]
    assert status["endpoints"] == {"control": own_daemon.control, "stream": own_daemon.stream, "gateway": url}
    wait_until(lambda: healthy(url), RECOVERY_S, "an answer")
    row = row_of(admin)
    assert (row["stage"], row["address"], row["required"]) == ("gateway", url, False)
    assert status["warnings"] == admin.control.ok("health")["warnings"] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_one_that_dies_or_hangs_is_replaced_at_the_same_address(admin: Stranger, how: int) -> None:
    before = row_of(admin)
    session = admin.session()
    session.say("Nobody notices.")
    os.kill(before["pid"], how)
    wait_until(lambda: row_of(admin)["epoch"] > before["epoch"], RECOVERY_S, "a successor")
    wait_until(lambda: healthy(before["address"]), RECOVERY_S, "an answer of the successor")
    assert row_of(admin)["address"] == before["address"]
    assert session.end()["turns"] == 1


def test_without_a_broker_it_says_so_and_a_viewer_sees_a_pause(own_daemon: Daemon, admin: Stranger) -> None:
    """The supervisor stands still meanwhile: nobody starts another broker before the answer is there."""
    url = row_of(admin)["address"]
    session = admin.session()
    with contextlib.closing(WebSocket(url, session.sid)) as viewer:
        viewer.until(lambda: viewer.messages, "init")
        session.say("Somebody watches while this is being said, and the broker dies in the middle of it. " * 2)
        viewer.until(lambda: viewer.media, "a segment")
        broker = stage_row(admin.control.ok("status"), "broker")["pid"]
        own_daemon.process.send_signal(signal.SIGSTOP)
        try:
            os.kill(broker, signal.SIGKILL)
            answer = httpx.get(f"{url}/health", timeout=REPLY_S)
        finally:
            own_daemon.process.send_signal(signal.SIGCONT)
        assert (answer.status_code, error_of(answer.json())) == (503, "NOT_READY")
        assert int(answer.headers["retry-after"]) >= 1
        wait_until(lambda: healthy(url), RECOVERY_S, "the next broker")
        viewer.until(lambda: {*viewer.names} & {*TERMINAL}, "the end of the turn", RECOVERY_S)
        assert viewer.ask("keep_alive")["ok"]
        assert again(session, "say", text="It goes on.")["turn"] == 2
        viewer.until(lambda: sum(name in TERMINAL for name in viewer.names) == 2, "another turn")
        assert viewer.code is None
        for name in ("seq", "n"):
            numbers = [m.header[name] for m in [*viewer.messages] if m.header.get(name) is not None]
            assert numbers == [*range(numbers[0], numbers[0] + len(numbers))], name


def test_given_up_it_degrades_the_daemon_and_no_more(admin: Stranger) -> None:
    def kill() -> bool:
        row = row_of(admin)
        if row["pid"]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)
        return bool(row["state"] == "fatal")

    wait_until(kill, RECOVERY_S, "the supervisor to give it up")
    assert admin.control.ok("health")["status"] == "degraded"
    assert admin.control.ok("status")["endpoints"]["gateway"] is None
    assert admin.control.ok("initialize")["ready"] is True


def test_auto_does_without_where_the_port_is_taken(
    start_daemon: Callable[..., Daemon], connect: Callable[[Daemon], Stranger]
) -> None:
    with socket.socket() as holder:

        def held() -> bool:
            with contextlib.suppress(OSError):
                holder.bind(("127.0.0.1", 28888))
                holder.listen()
                return True
            return False

        # Another daemon of this run may have it for a while; one of somebody else keeps it.
        with contextlib.suppress(AssertionError):
            wait_until(held, GONE_S, "the port")
        daemon = start_daemon("endpoints.gateway=auto", *LIGHT)
        admin = connect(daemon)
        health, status = admin.control.ok("health"), admin.control.ok("status")
        (warning,) = [one for one in health["warnings"] if "endpoints.gateway" in one]
        assert "28888 is taken by another program" in warning
        assert health["status"] == "ok"
        assert warning in status["warnings"]
        assert status["endpoints"]["gateway"] is None
        assert all(row["stage"] != "gateway" for row in status["stages"])
        assert len(daemon.logged("start.without")) == 1
