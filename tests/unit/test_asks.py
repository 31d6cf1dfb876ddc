"""Network work of preparations: one batch at a time, behind everything else, answered whoever dies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from broker.ipc.messages import ArrayHead, Message, PrepareAsk, TensorAnswer, TensorItem, TensorResult
from broker.templates.tensor_asks import Asks
from broker.timers import Timers
from broker.workers.ledger import Ledger
from configs.schema import Config, Engines

HEADS = [ArrayHead("uint8", [2, 3])]


class Context:
    """As much of the broker as asks need."""

    epoch = 7
    lipsync_skips = False
    publisher: Any = None

    def __init__(self) -> None:
        self.config = msgspec.structs.replace(Config(), engines=Engines(lipsync=["musetalk", "warp"]))
        self.ledger = Ledger()
        self.timers = Timers()
        self.cancelled: list[str] = []

    def now(self) -> int:
        return 5

    def cancel(self, item_ids: Sequence[str]) -> None:
        self.cancelled += item_ids
        self.ledger.cancel(item_ids)

    def touch(self, session: Any) -> None: ...


class Desk:
    """Asks over a real ledger with one lip-sync worker, and what was answered."""

    def __init__(self, stage: str = "lipsync") -> None:
        self.hub = Context()
        self.answers: list[tuple[str, TensorAnswer, list[Any]]] = []
        self.asks = Asks(self.hub, self._order)
        self.worker_up(stage)

    def _order(self, instance: str, message: Message, buffers: Sequence[Any]) -> None:
        assert isinstance(message, TensorAnswer)
        self.answers.append((instance, message, list(buffers)))

    def worker_up(self, stage: str = "lipsync", epoch: int = 1) -> None:
        self.hub.ledger.up(f"{stage}.0", epoch, stage)
        self.hub.ledger.ready(f"{stage}.0", epoch, 64)

    def ask(
        self, number: int = 0, item_id: str = "_/a/prepare/1", src: str = "prepare.0", engine: str = "musetalk"
    ) -> None:
        ask = PrepareAsk(
            src=src,
            ep=1,
            id=item_id,
            attempt=2,
            index=0,
            number=number,
            engine=engine,
            kind="latents",
            heads=HEADS,
        )
        self.asks.submit(ask, [memoryview(b"abcdef")])

    def given_out(self) -> list[TensorItem]:
        items = []
        for _, entry in self.hub.ledger.dispatch(9):
            item, buffers = entry.build(7)
            assert isinstance(item, TensorItem)
            assert [bytes(one) for one in buffers] == [b"abcdef"]
            items.append(item)
        return items

    def finish(self, item: TensorItem, epoch: int = 1, stage: str = "lipsync") -> None:
        src = f"{stage}.0"
        result = TensorResult(src=src, ep=epoch, id=item.id, attempt=item.attempt, index=0, heads=HEADS)
        entry = self.hub.ledger.output(result)
        assert entry is not None
        entry.job.output(result, [memoryview(b"ABCDEF")])
        done = self.hub.ledger.done(src, epoch, item.id, item.attempt)
        assert done is entry
        entry.job.done()


def test_an_ask_is_answered_to_the_attempt_that_asked() -> None:
    desk = Desk()
    desk.ask(number=3)
    (item,) = desk.given_out()
    assert (item.engine, item.kind, item.heads, item.broker) == ("musetalk", "latents", HEADS, 7)
    desk.finish(item)
    ((to, answer, buffers),) = desk.answers
    assert to == "prepare.0"
    assert (answer.id, answer.attempt, answer.number, answer.code) == ("_/a/prepare/1", 2, 3, "")
    assert answer.heads == HEADS
    assert [bytes(one) for one in buffers] == [b"ABCDEF"]


def test_one_ask_is_out_at_a_time_whoever_asks() -> None:
    desk = Desk()
    desk.ask(0)
    desk.ask(0, "_/b/prepare/2", "prepare.1")
    (first,) = desk.given_out()
    assert desk.given_out() == []
    desk.finish(first)
    (second,) = desk.given_out()
    assert second.id.startswith("_/b/prepare/2/")
    desk.finish(second)
    assert [to for to, _, _ in desk.answers] == ["prepare.0", "prepare.1"]


def test_a_dead_lipsync_process_does_not_lose_an_ask() -> None:
    desk = Desk()
    desk.ask()
    (item,) = desk.given_out()
    desk.hub.ledger.started("lipsync.0", 1, item.id, item.attempt)
    desk.hub.ledger.down("lipsync.0", 1, commanded=False)
    assert desk.given_out() == []
    desk.worker_up(epoch=2)
    (again,) = desk.given_out()
    assert (again.id, again.attempt) == (item.id, item.attempt + 1)
    desk.finish(again, epoch=2)
    assert len(desk.answers) == 1


def test_asks_of_a_preparation_that_is_gone_are_withdrawn() -> None:
    desk = Desk()
    desk.ask()
    (item,) = desk.given_out()
    desk.ask(0, "_/b/prepare/2", "prepare.1")
    desk.asks.down("prepare.0")
    assert desk.hub.cancelled == [item.id]
    (other,) = desk.given_out()
    desk.asks.withdraw("_/b/prepare/2")
    assert desk.hub.cancelled == [item.id, other.id]
    desk.ask(1, "_/c/prepare/3")
    (last,) = desk.given_out()
    desk.finish(last)
    assert [answer.id for _, answer, _ in desk.answers] == ["_/c/prepare/3"]


def test_a_preparation_that_waits_in_line_is_withdrawn_too() -> None:
    desk = Desk()
    desk.ask()
    (item,) = desk.given_out()
    desk.ask(0, "_/b/prepare/2", "prepare.1")
    desk.asks.down("prepare.1")
    desk.finish(item)
    assert desk.given_out() == []


def test_an_ask_that_nobody_will_serve_is_refused_with_the_reason() -> None:
    desk = Desk()
    desk.hub.ledger.down("lipsync.0", 1, commanded=True)
    desk.ask()
    for entry in desk.hub.ledger.give_up("lipsync"):
        entry.job.failed("FAILED", "lipsync was given up: no weights")
    desk.ask(0, engine="wav2lip")
    reasons = [(answer.code, answer.message) for _, answer, _ in desk.answers]
    assert reasons == [
        ("FAILED", "lipsync was given up: no weights"),
        ("FAILED", "wav2lip is not in engines.lipsync, so no process runs it"),
    ]


def test_a_later_engine_of_the_chain_is_asked_where_it_stands_by() -> None:
    desk = Desk("fallback")
    desk.ask(engine="warp")
    (item,) = desk.given_out()
    assert item.engine == "warp"
    desk.finish(item, stage="fallback")
    assert len(desk.answers) == 1
