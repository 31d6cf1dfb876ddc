"""The broker may be killed or frozen at any moment: sessions, numbers and what was published are there again."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clients import liveness
from clients.cli.session import own_session
from clients.client import Client
from clients.follower import Published
from tests.support.client import TERMINAL, Session, Stranger
from tests.support.daemon import LIGHT, Daemon
from tests.support.limits import RECOVERY_S, WORK_S
from tests.support.processes import alive, wait_until
from tests.support.survival import again, check, check_last_words, joined, told

SEED = random.randrange(1 << 30)
STOP_S = 18
"""Time for one more broker to be started and to end the sessions, also on a busy machine."""
OVERRIDES = (
    "supervisor.beat_s=0.5",
    "supervisor.beats_missed=12",
    "supervisor.intensity=100",
    "supervisor.backoff_s=[0]",
    f"supervisor.stop_s={STOP_S}",
    *LIGHT,
)
TEXT = (
    "This is a speech about nothing in particular, so that something may break in it. "
    "Nobody notices. In the end every word has been said exactly once."
)
LONG = f"{TEXT} " * 3
"""Still under way when it is to be cut off, however late that comes."""


@pytest.fixture(scope="module")
def seed() -> int:
    print(f"seed {SEED}")
    return SEED


FAULTS = [("journaled", "kill"), ("journaled", "spin"), ("published", "exit"), ("published", "abort")]
ARMED = ",".join(f"broker:{point}@{point}-{kind}:14:{kind}:*" for point, kind in FAULTS)
"""In every incarnation; the session of one fault makes fewer messages afterwards."""


@pytest.fixture(scope="module")
def armed(start_daemon_for_module: Callable[..., Daemon], state_dir: Path) -> Daemon:
    """The broker dies again and again; the last test stops it without one."""
    return start_daemon_for_module(state_dir, *OVERRIDES, fault=ARMED)


@pytest.fixture
def listener(armed: Daemon, seed: int) -> Iterator[Stranger]:
    client = Stranger(armed.control, armed.stream)
    yield client
    client.close()


def table(client: Stranger) -> list[dict[str, Any]]:
    """``stages`` of ``status``, once the broker has heard of the supervisor."""
    deadline = time.monotonic() + RECOVERY_S
    while True:
        control = client.another_control()
        found = control.ok("status", RECOVERY_S)["stages"]
        control.socket.close(0)
        if found:
            return list(found)
        assert time.monotonic() < deadline, "a new broker has not heard of the supervisor"
        time.sleep(0.05)


def rows(client: Stranger) -> dict[str, tuple[int, int]]:
    """Process and incarnation of every stage but ``prepare``, which goes by itself when it has had no work."""
    others = ("broker", "prepare")
    return {row["instance"]: (row["pid"], row["epoch"]) for row in table(client) if row["stage"] not in others}


def broker(client: Stranger) -> dict[str, Any]:
    return next(row for row in table(client) if row["stage"] == "broker")


def goes_on(session: Session, turns: int, stages: dict[str, tuple[int, int]], client: Stranger) -> None:
    """The subscriber has connected again by itself, the session speaks, no stage was loaded anew."""
    if "turn.failed" not in session.stream.names():  # which this broker has said
        joined(session)
    turn = again(session, "say", text="It goes on.")["turn"]
    assert turn == turns + 1
    session.wait_ended(turn)
    media, _ = check(session, turn)
    seen = {m.header["seq"] for m in session.media}
    assert {h["seq"] for h in media if h["turn"] == turn} <= seen
    assert rows(client) == stages


def test_the_broker_killed_at_a_random_moment_of_a_turn(listener: Stranger, seed: int) -> None:
    chance = random.Random(seed)
    stages = rows(listener)
    session = listener.session()
    session.speak("One.")
    turn = session.say(LONG)
    session.wait_media(chance.randint(1, 4), turn)
    time.sleep(chance.random() * 0.3)  # the moment itself is what is random
    sent = max(m.header["seq"] for m in session.media)
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    reply = again(session, from_seq=sent, max=1)
    assert reply["newest_seq"] >= sent
    failed = told(session, *TERMINAL, turn=turn)
    assert failed["event"] == "turn.failed"
    assert failed["data"]["code"] == "FAILED"
    assert "restarted" in failed["data"]["message"]
    goes_on(session, turn, stages, listener)


def test_several_sessions_and_turns_that_wait(listener: Stranger) -> None:
    stages = rows(listener)
    sessions = [listener.session(mode=mode) for mode in ("realtime", "offline", "realtime")]
    for session in sessions[:2]:
        session.say(TEXT)
        session.say("And this one waits.")
    idle = sessions[2]
    idle.speak("Said before.")
    sessions[0].wait_media(1)
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    for session in sessions[:2]:
        for turn in (1, 2):
            event = told(session, *TERMINAL, turn=turn)
            assert event["event"] in ("turn.failed", "turn.ended")
        goes_on(session, 2, stages, listener)
    goes_on(idle, 1, stages, listener)
    assert "turn.failed" not in [e["event"] for e in check(idle, 2)[1]]


def test_what_is_over_stays_as_it_was(listener: Stranger) -> None:
    session = listener.session(mode="offline")
    session.speak("One.")
    before = again(session, "events", from_n=0)["events"]
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    assert again(session, "events", from_n=0)["events"] == before
    check(session, 1)


def test_a_frozen_broker_is_replaced(listener: Stranger) -> None:
    stages = rows(listener)
    session = listener.session()
    turn = session.say(LONG)
    session.wait_media(1, turn)
    os.kill(broker(listener)["pid"], signal.SIGSTOP)
    assert told(session, *TERMINAL, turn=turn)["event"] == "turn.failed"
    goes_on(session, turn, stages, listener)


def test_idle_video_goes_on(listener: Stranger) -> None:
    session = listener.session(idle="loop")
    session.wait_media(3)
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    newest = again(session, from_seq=0)["newest_seq"]
    session.stream.wait(lambda m: (m.header.get("seq") or 0) > newest + 2, WORK_S, "more idle video")
    check(session, 0)


def test_a_session_that_ends_and_one_that_has_ended(listener: Stranger) -> None:
    ended, ending = listener.session(), listener.session()
    ended.speak("One.")
    totals = ended.end()
    ending.say(TEXT)
    ending.wait_media(1)
    ending.control.send("end_session", session_id=ending.sid)
    ending.ok("segments", from_seq=0)  # requests are handled in order
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    assert told(ending, "session.ended", turn=0)["data"]["reason"] == "ended"
    media, events = check(ending, 1)
    assert events[-1]["event"] == "session.ended"
    media, events = check(ended, 1)
    assert sum(h["frames"] for h in media) == totals["frames"]
    assert again(ended, from_seq=len(media) - 1)["end"] is True
    assert ended.refused("say", text="More.")["code"] == "NOT_FOUND"


def test_a_cut_stays_a_cut(listener: Stranger) -> None:
    session = listener.session()
    turn = session.say(LONG)
    session.wait_media(2, turn)
    cut = session.ok("interrupt")
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    after = again(session, "say", text="It goes on.")["turn"]
    assert told(session, *TERMINAL, turn=after)["event"] == "turn.ended"
    media, _ = check(session, after)
    new = [h for h in media if h["gen"] == cut["gen"]]
    assert new[0]["pts"] == cut["flush_from"]


def test_the_broker_and_a_stage_killed_at_once_while_a_turn_is_cut(listener: Stranger) -> None:
    session = listener.session()
    turn = session.say(LONG)
    session.wait_media(1, turn)
    pids = {row["instance"]: row["pid"] for row in table(listener)}
    session.control.send("interrupt", session_id=session.sid)  # nobody knows how far it gets
    for victim in ("lipsync.0", "broker"):
        os.kill(pids[victim], signal.SIGKILL)
    after = again(session, "say", text="It goes on.")["turn"]
    assert told(session, *TERMINAL, turn=after)["event"] == "turn.ended"
    _, events = check(session, after)
    ends = [e["event"] for e in events if e["turn"] == turn and e["event"] in TERMINAL]
    assert ends in (["turn.failed"], ["turn.interrupted"])


def test_frames_before_the_death_and_after_it_are_one_film(listener: Stranger) -> None:
    """The clock goes on, too: what is published after the death begins where the last segment ended."""
    session = listener.session()
    session.speak("One.")
    clock = session.say(LONG)
    session.wait_media(2, clock)
    os.kill(broker(listener)["pid"], signal.SIGKILL)
    assert told(session, *TERMINAL, turn=clock)["event"] == "turn.failed"
    after = again(session, "say", text="Two.")["turn"]
    assert told(session, *TERMINAL, turn=after)["event"] == "turn.ended"
    media, _ = check(session, after)
    assert all(a["pts"] + a["dur"] == b["pts"] for a, b in itertools.pairwise(media))
    assert {h["gen"] for h in media} == {0}


@pytest.mark.parametrize(("point", "kind"), FAULTS)
def test_every_fault_point(armed: Daemon, connect: Callable[[Daemon], Stranger], point: str, kind: str) -> None:
    client = connect(armed)
    stages, epoch = rows(client), broker(client)["epoch"]
    session = client.session(session_id=f"{point}-{kind}", mode="offline")
    session.say(TEXT)
    assert told(session, *TERMINAL, turn=1)["event"] == "turn.failed"
    goes_on(session, 1, stages, client)
    assert broker(client)["epoch"] == epoch + 1


def test_our_own_follower_notices_nothing_but_a_pause(
    armed: Daemon, listener: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "RESTART_S", RECOVERY_S)  # a start takes as long as the machine lets it
    with Client(armed.control, armed.stream) as client, own_session(client, mode="offline") as session:
        turns = [session.request("say", text=LONG * 5)["turn"]]
        found: list[Published] = []
        for message in session.follower.until("speech.started", timeout_s=WORK_S):
            found.append(message)
        os.kill(broker(listener)["pid"], signal.SIGKILL)
        found += session.follower.until("turn.failed", timeout_s=RECOVERY_S)
        turns.append(session.request("say", text="It goes on.")["turn"])
        found += session.follower.until("turn.ended", timeout_s=WORK_S)
    assert turns == [1, 2]
    for number in ("n", "seq"):
        numbers = [m.header[number] for m in found if m.header.get(number) is not None]
        assert numbers == list(range(len(numbers)))


def test_a_session_beyond_the_limit_is_served_and_said_to_be_lost(
    start_daemon: Callable[..., Daemon], connect: Callable[[Daemon], Stranger]
) -> None:
    daemon = start_daemon(*OVERRIDES, "journal.max_bytes=1")
    client = connect(daemon)
    session = client.session(mode="offline")
    session.speak("One.")
    status = client.control.ok("status")
    assert status["journal"]["would_be_lost"] == [session.sid]
    assert "journal.max_bytes" in status["journal"]["reason"]
    assert [row["survives"] for row in status["sessions"]] == [False]
    assert client.control.ok("health")["status"] == "ok"
    check(session, 1)
    os.kill(broker(client)["pid"], signal.SIGKILL)
    wait_until(lambda: broker(client)["epoch"] > 1, RECOVERY_S)
    assert session.control.another().refused("say", session_id=session.sid, text="More.")["code"] == "NOT_FOUND"
    another = client.session(mode="offline")
    another.speak("Two.")


@pytest.mark.parametrize("how", ["dead", "frozen"])
def test_a_daemon_that_stops_without_its_broker_and_with_a_frozen_stage_ends_its_sessions(
    start_daemon_for_module: Callable[..., Daemon],
    armed: Daemon,
    connect: Callable[[Daemon], Stranger],
    state_dir: Path,
    how: str,
) -> None:
    """A deaf broker, beside deaf stages, is in test_fault_matrix.py. The end itself has a limit, in ``stop``."""
    slow = ["supervisor.backoff_s=[3600]"]  # dead, and not there again when it stops
    daemon = armed if how == "frozen" else start_daemon_for_module(state_dir, *OVERRIDES, *slow)
    client = connect(daemon)
    session = client.session()
    turn = session.say(LONG)
    session.wait_media(1, turn)
    family = daemon.descendants()
    stages = {row["instance"]: row["pid"] for row in table(client)}
    os.kill(stages["broker"], signal.SIGSTOP if how == "frozen" else signal.SIGKILL)
    os.kill(stages["lipsync.0"], signal.SIGSTOP)
    if how == "dead":
        wait_until(lambda: bool(daemon.logged("child.exited")), RECOVERY_S)
        daemon.process.terminate()
        wait_until(lambda: bool(daemon.logged("session.ended")), RECOVERY_S)
        os.kill(stages["lipsync.0"], signal.SIGCONT)  # nobody has waited for it; how it ends is seen the other way
    else:
        daemon.process.terminate()
    assert daemon.process.wait(RECOVERY_S) == 0, "another broker has ended the sessions in order"
    check_last_words(session, daemon)
    assert not [pid for pid in family if alive(pid)]
