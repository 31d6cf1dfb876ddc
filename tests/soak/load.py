"""Who speaks and who kills: clients that come and go and check every promise, and one that ends processes."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack

from tests.support.client import TERMINAL, Header, Message, Session, Stranger
from tests.support.limits import BEAT_S, RECOVERY_S
from tests.support.segments import decode
from tests.support.survival import again, answer, check

TEXTS = (
    "Somebody speaks, and somebody else listens.",
    "This is a speech about nothing in particular, so that something may break in it. Nobody notices.",
    "In the end every word has been said exactly once.",
)
DRIFT_S = 0.040
"""Sound and picture of a session are of one length, up to this."""
KILL_EVERY_S = (2.0, 7.0)
AROUND_S = 30.0
"""A turn may fail when the broker has died so long before its end, or while it was under way."""


@dataclass(frozen=True, slots=True)
class Death:
    """One process was made to fail. Times are monotonic seconds."""

    at: float
    instance: str
    kind: str
    back_s: float


class Killer(threading.Thread):
    """Ends a process at random, waits until its successor is warm, and again.

    Args:
        kinds: name of a failure -> the signal that brings it about.
    """

    def __init__(self, client: Stranger, instances: list[str], kinds: dict[str, int], seed: int) -> None:
        super().__init__(name="killer", daemon=True)
        self.deaths: list[Death] = []
        self.begun: list[float] = []
        """When the broker was made to fail, also the time that nobody has come back from yet."""
        self.problems: list[str] = []
        self.over = threading.Event()
        self._client, self._instances, self._kinds = client, instances, kinds
        self._chance = random.Random(f"{seed} killer")
        self._next: list[str] = []

    def run(self) -> None:
        while not self.over.wait(self._chance.uniform(*KILL_EVERY_S)):
            try:
                self._one()
            except Exception as error:  # a report says more than a thread that is gone
                self.problems.append(f"killer: {type(error).__name__}: {error}"[:500])

    def _one(self) -> None:
        if not self._next:  # the broker among the first two: the last is the next
            first, *rest = self._chance.sample(self._instances, len(self._instances))
            self._next = [*rest, *self._chance.sample([first, "broker"], 2)]
        instance = self._next.pop()
        broker = instance == "broker"
        kind = self._chance.choice([*self._kinds][:3] if broker else [*self._kinds])
        row = rows(self._client)[instance]
        if not row["pid"]:
            return
        at = time.monotonic()
        if broker:
            self.begun.append(at)
        with contextlib.suppress(ProcessLookupError):  # somebody was quicker
            os.kill(row["pid"], self._kinds[kind])
        while True:
            found = rows(self._client)[instance]
            if found["epoch"] > row["epoch"] and found["state"] in ("idle", "busy"):
                break
            if time.monotonic() - at > RECOVERY_S:
                self.problems.append(f"{instance} is not back from {kind} within {RECOVERY_S:.0f} s: {found}")
                return
            time.sleep(0.1)
        self.deaths.append(Death(at, instance, kind, time.monotonic() - at))


def rows(client: Stranger) -> dict[str, dict[str, Any]]:
    """``stages`` of ``status`` by instance, once a broker is there that has heard of the supervisor."""
    deadline = time.monotonic() + RECOVERY_S
    while True:
        control = client.another_control()
        try:
            number = control.send("status")
            if control.socket.poll(1000) and (found := control.take(number).get("stages")):
                return {row["instance"]: row for row in found}
        finally:
            control.socket.close(0)
        assert time.monotonic() < deadline, "nobody answers"
        time.sleep(0.05)


def start(client: Stranger, mode: str) -> Session | None:
    """A session, watched from before its start; None when the broker died before it answered."""
    sid = f"soak-{uuid.uuid4().hex}"
    stream = client.subscribe(f"seg.{sid}.", f"evt.{sid}.", "sys.")
    stream.wait(lambda m: m.topic.startswith("sys."), BEAT_S, "sys. message")
    control = client.another_control()
    deadline = time.monotonic() + RECOVERY_S
    while True:
        reply = answer(client.another_control(), deadline, "start_session", session_id=sid, mode=mode)
        if reply is None:
            return None
        if reply["ok"]:
            return Session(sid, control, stream, reply)
        assert reply["error"]["code"] == "BUSY", reply
        assert time.monotonic() < deadline, reply
        time.sleep(reply["error"]["retry_after_ms"] / 1000)


def end(session: Session) -> int:
    """End it; how many segments were late. 0 where that went to a request that nobody waits for any more."""
    deadline = time.monotonic() + RECOVERY_S
    asked = 0
    while True:
        asked += 1
        arguments = {"session_id": session.sid, "drain": False}
        reply = answer(session.control.another(), deadline, "end_session", **arguments)
        if reply is not None and reply["ok"]:
            return int(reply["late"])
        if reply is not None:
            assert asked > 1, reply
            assert reply["error"]["code"] == "NOT_FOUND", reply
            return 0
        assert time.monotonic() < deadline, "end_session is not answered"


def events(session: Session) -> list[Header]:
    """What the ring has, the newest 256 at least."""
    found = again(session, "events", from_n=0, max=256)
    more = found["events"]
    if more and found["newest_n"] >= 256:
        more = again(session, "events", from_n=found["newest_n"] - 255, max=256)["events"]
    return [*map(msgpack.unpackb, more)]


class Visitor(threading.Thread):
    """One session after the other until it is told to stop; each is checked when its last turn is over."""

    def __init__(
        self, connect: Callable[[], Stranger], died: Callable[[], list[float]], seed: int, name: str
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.problems: list[str] = []
        self.sessions = self.turns = self.failed = self.frames = 0
        self.late = 0
        self.drift_s = 0.0
        self.over = threading.Event()
        self._connect, self._died = connect, died
        self._chance = random.Random(f"{seed} {name}")

    def run(self) -> None:
        while not self.over.is_set():
            client = self._connect()
            try:
                self._visit(client)
            except Exception as error:
                self.problems.append(f"{self.name}: {type(error).__name__}: {error}"[:1000])
            finally:
                client.close(end=False)

    def _visit(self, client: Stranger) -> None:
        rows(client)  # a broker is there
        asked = time.monotonic()
        session = start(client, self._chance.choice(["realtime", "realtime", "offline"]))
        if session is None:
            if not self._broker_died(asked):
                self.problems.append(f"{self.name}: no answer to start_session")
            return
        self.sessions += 1
        turn = 0
        for _ in range(self._chance.randint(1, 3)):
            asked = time.monotonic()
            turn = again(session, "say", text=self._chance.choice(TEXTS))["turn"]
            if self._chance.random() < 0.2:
                self._wait_media(session, turn, asked)
                again(session, "interrupt")
            self._over(session, turn, asked)
        media, _ = check(session, turn)
        self.frames += sum(header["frames"] for header in media)
        self._measure(session, media)
        self.late += end(session)

    def _wait_media(self, session: Session, turn: int, asked: float) -> None:
        """Until something is shown, or the turn is over; a broker that dies may take the word of either along."""

        def shown(message: Message) -> bool:
            header = message.header
            over = header.get("turn") == turn and header.get("event") in TERMINAL
            return over or header.get("kind") == "media"

        try:
            session.stream.wait(shown, RECOVERY_S, f"media of turn {turn}, or its end")
        except AssertionError:
            if not self._broker_died(asked):
                raise

    def _over(self, session: Session, turn: int, asked: float) -> None:
        """Look at the ring: an event may be lost on its way while the broker is replaced."""
        while not (ends := [e for e in events(session) if e["turn"] == turn and e["event"] in TERMINAL]):
            assert time.monotonic() < asked + RECOVERY_S, f"turn {turn} does not end"
            time.sleep(0.25)
        end = ends[0]
        self.turns += 1
        if end["event"] == "turn.failed":
            self.failed += 1
            if not self._broker_died(asked):
                self.problems.append(f"{self.name}: a turn failed and the broker lived: {end['data']}")

    def _broker_died(self, since: float) -> bool:
        return any(at > since - AROUND_S for at in self._died())

    def _measure(self, session: Session, media: list[Header]) -> None:
        """What the last generation's files have of sound, of picture and of time."""
        last = [header for header in media if header["gen"] == media[-1]["gen"]] if media else []
        if not last:
            return
        payloads: list[bytes] = []
        while len(payloads) < len(last):
            reply = again(session, from_seq=last[len(payloads)]["seq"], max=64)
            payloads += [payload for _, payload in reply["segments"]]
        decoded = decode(bytes(session.reply["init"]) + b"".join(payloads))
        sound_s = decoded.audio_s + len(decoded.sound) / 48_000
        picture_s = float(decoded.video_s[-1]) + 0.04
        drift = max(abs(sound_s - picture_s), abs(decoded.audio_s - float(decoded.video_s[0])))
        self.drift_s = max(self.drift_s, drift)
        if drift > DRIFT_S:
            self.problems.append(f"{self.name}: sound and picture differ by {drift * 1000:.0f} ms")
        if decoded.frames != sum(header["frames"] for header in last):
            self.problems.append(f"{self.name}: {decoded.frames} frames, and the headers tell of others")
