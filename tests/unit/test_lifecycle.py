"""The phases of the daemon's life: which follow which, who is told, and that nobody waits in vain."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.errors import ControlError, ErrorCode
from broker.lifecycle import DEFAULT_RETRY_S, Lifecycle, Phase
from broker.timers import Timers
from configs.schema import Config


class World:
    """Stages that are warm when told so, a template that comes when told so, sessions that end when told so."""

    def __init__(self) -> None:
        self.time = 1_000_000
        self.timers = Timers()
        self.workers = SimpleNamespace(serving=False, complete=False, rows=[])
        self.found: Any = None
        self.asked: list[Callable[[Any, Any], None]] = []
        self.live: dict[str, Any] = {}
        self.ended: list[tuple[str, str, bool]] = []
        self._then: dict[str, Callable[[Any], None]] = {}
        config = Config()
        self.lifecycle = Lifecycle(
            config,
            self.timers,
            lambda: self.time,
            cast(Any, self.workers),
            cast(Any, SimpleNamespace(find=lambda template_id: self.found)),
            cast(Any, SimpleNamespace(template=lambda template_id, then: self.asked.append(then))),
            cast(Any, self),
        )

    def session(self, sid: str) -> None:
        self.live[sid] = SimpleNamespace(id=sid, output=SimpleNamespace(degraded=False))

    def end(self, session: Any, reason: str, *, drain: bool, then: Any = None) -> None:
        self.ended.append((session.id, reason, drain))
        self._then[session.id] = then

    def over(self, sid: str) -> None:
        del self.live[sid]
        self._then[sid]({})

    def warm(self) -> None:
        self.workers.serving = self.workers.complete = True
        self.found = object()

    def wait(self, seconds: float) -> None:
        self.time += int(seconds * 1_000_000)
        self.timers.fire(self.time)


@pytest.fixture
def world() -> World:
    return World()


def test_it_is_ready_once_stages_and_the_default_template_are(world: World) -> None:
    told: list[str] = []
    world.lifecycle.when_ready(lambda: told.append("ready"), lambda limit_s: told.append("late"))
    world.workers.serving = world.workers.complete = True
    world.lifecycle.look()
    assert (world.lifecycle.status, told) == ("starting", [])
    assert world.lifecycle.missing() == "the template 'default'"
    world.found = object()
    world.lifecycle.look()
    assert (world.lifecycle.status, world.lifecycle.phase, told) == ("ok", Phase.READY, ["ready"])
    world.wait(1e6)
    assert told == ["ready"], "who was told is not told again that it is late"
    world.lifecycle.when_ready(lambda: told.append("at once"), lambda limit_s: None)
    assert told == ["ready", "at once"]


def test_who_waits_longer_than_any_stage_may_load_is_told_the_limit(world: World) -> None:
    late: list[float] = []
    world.lifecycle.when_ready(lambda: None, late.append)
    world.wait(1e6)
    stages = Config().stages
    assert late == [max(getattr(stages, name).load_timeout_s for name in stages.__struct_fields__)]
    world.warm()
    world.lifecycle.look()
    assert len(late) == 1


def test_one_that_breaks_when_told_does_not_cost_the_others(world: World) -> None:
    told: list[str] = []

    def broken() -> None:
        raise RuntimeError("it broke")

    world.lifecycle.when_ready(broken, lambda limit_s: None)
    world.lifecycle.when_ready(lambda: told.append("ready"), lambda limit_s: None)
    world.warm()
    world.lifecycle.look()
    assert told == ["ready"]


def test_the_default_template_is_tried_again(world: World) -> None:
    world.lifecycle.start()
    world.asked[0](ControlError(ErrorCode.FAILED, "a full disk"), None)
    assert len(world.asked) == 1
    world.wait(DEFAULT_RETRY_S)
    assert len(world.asked) == 2


def test_a_session_without_lip_sync_makes_it_degraded(world: World) -> None:
    world.warm()
    world.session("a")
    world.live["a"].output.degraded = True
    assert world.lifecycle.status == "degraded"
    world.live["a"].output.degraded = False
    assert world.lifecycle.status == "ok"
    world.workers.complete = False
    assert world.lifecycle.status == "degraded"


def test_draining_ends_when_the_last_session_has(world: World) -> None:
    world.warm()
    world.session("a")
    world.session("b")
    reports: list[dict[str, Any]] = []
    world.lifecycle.drain(30.0, reports.append)
    assert world.lifecycle.status == world.lifecycle.beat_state == "draining"
    assert world.ended == [("a", "ended", True), ("b", "ended", True)]
    world.over("a")
    assert reports == []
    world.over("b")
    world.wait(31.0)
    assert reports == [{"sessions": 2, "finished": 2, "abandoned": []}]


def test_draining_names_what_its_time_did_not_suffice_for(world: World) -> None:
    world.session("a")
    reports: list[dict[str, Any]] = []
    world.lifecycle.drain(30.0, reports.append)
    world.wait(30.0)
    world.over("a")
    assert reports == [{"sessions": 1, "finished": 0, "abandoned": ["a"]}]
    world.lifecycle.drain(30.0, reports.append)
    assert reports[1] == {"sessions": 0, "finished": 0, "abandoned": []}


def test_stopping_is_over_when_no_session_is_left(world: World) -> None:
    world.session("a")
    world.lifecycle.stop()
    assert world.ended == [("a", "shutdown", False)]
    assert not world.lifecycle.over
    del world.live["a"]
    assert world.lifecycle.over
    world.lifecycle.stop()
    assert len(world.ended) == 1
    world.lifecycle.drain(1.0, lambda report: None)
    assert world.lifecycle.phase is Phase.STOPPING, "there is no way back"
