"""An item that asks, in a real stage process: its answer comes on the socket for orders."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.ipc.messages import Cancel, Cancelled, Done, Hello, PrepareAsk, Ready, Started, TensorAnswer, TtsChunk
from stages.tensors import heads_of
from tests.processes.fakes import ASKED
from tests.support.harness import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:
        bench = Bench(Path(name), "supervisor.beat_s=0.2")
        yield bench
        bench.close()


def asked(bench: Bench) -> PrepareAsk:
    """A process that is ready and has asked for something."""
    bench.serve()
    bench.give("ask emit=1")
    bench.expect(Started)
    return bench.expect(PrepareAsk)


def answer(ask: PrepareAsk, attempt: int | None = None, number: int = 0) -> TensorAnswer:
    where = ask.attempt if attempt is None else attempt
    return TensorAnswer(broker=1, id=ask.id, attempt=where, number=number, heads=heads_of([ASKED]))


def test_the_answer_reaches_the_item_that_asked(bench: Bench) -> None:
    ask = asked(bench)
    assert (ask.number, ask.engine, ask.heads) == (0, "fake", heads_of([ASKED]))
    bench.send(bench.orders, answer(ask), ASKED.tobytes())
    assert bench.expect(TtsChunk).index == 1
    bench.expect(Done)


def test_answers_to_somebody_else_are_dropped(bench: Bench) -> None:
    ask = asked(bench)
    bench.send(bench.orders, answer(ask, attempt=9), ASKED.tobytes())
    bench.send(bench.orders, answer(ask, number=9), ASKED.tobytes())
    assert bench.beat(lambda beat: beat.state == "busy").item == ask.id
    bench.send(bench.orders, answer(ask), ASKED.tobytes())
    bench.expect(TtsChunk)
    bench.expect(Done)


def test_a_cancel_ends_the_wait(bench: Bench) -> None:
    ask = asked(bench)
    bench.send(bench.orders, Cancel(items=[ask.id]))
    assert bench.expect(Cancelled).id == ask.id


def test_another_broker_ends_the_wait(bench: Bench) -> None:
    asked(bench)
    bench.greet(2)
    hello = bench.expect(Hello)
    assert hello.held
    bench.expect(Ready)
    bench.give("emit=1", "s/2/tts/0", broker=2)
    assert bench.expect(Started).id == "s/2/tts/0"
