"""Capture and replay without a GPU: streams, graphs and their pool as PyTorch has them, on the CPU."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from models.api import EngineError
from models.musetalk.generator import WARM_RUNS, Generator
from tests.engines.musetalk.test_memory import Picture, Scarce, inputs
from tests.support.doubles import quiet

CPU = torch.device("cpu")
SIZES = (1, 2, 4)


class Stream:
    def __init__(self, *_: object) -> None:
        self.waited: list[Stream] = []

    def wait_stream(self, other: Stream) -> None:
        self.waited.append(other)


class Graph:
    def __init__(self) -> None:
        self.action: Any = None
        self.replays = 0
        self.own: tuple[int, int] = (0, 0)

    def pool(self) -> tuple[int, int]:
        return self.own

    def replay(self) -> None:
        self.replays += 1
        self.action()


class Cuda:
    """What a capture needs of ``torch.cuda``. A pool lives as long as a graph that was captured into it."""

    def __init__(self, generator: Generator) -> None:
        self.first = self.here = Stream()
        self.exit_error: RuntimeError | None = None
        self.pools: list[tuple[int, int]] = []
        self._users: dict[tuple[int, int], weakref.WeakSet[Graph]] = {}
        self._generator, self._forward = generator, generator._forward
        self._last: Any = None
        generator._forward = self._run  # type: ignore[method-assign]

    def _run(self, bucket: Any) -> None:
        self._last = bucket
        self._forward(bucket)

    def current_stream(self, device: torch.device) -> Stream:
        return self.here

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.here = self.here, stream
        try:
            yield
        finally:
            self.here = before

    @contextmanager
    def graph(self, graph: Graph, pool: tuple[int, int] | None, stream: Stream) -> Iterator[None]:
        if pool is not None and not self._users[pool]:
            raise RuntimeError("INTERNAL ASSERT FAILED: use_count > 0")
        before, self.here = self.here, stream
        yield
        if self.exit_error is not None:
            raise self.exit_error  # as ``torch.cuda.graph`` does: the stream stays
        self.here = before
        graph.own = pool or (0, len(self.pools) + 1)
        self.pools.append(graph.own)
        self._users.setdefault(graph.own, weakref.WeakSet()).add(graph)
        bucket = weakref.proxy(self._last)
        graph.action = lambda: self._forward(bucket)


@pytest.fixture
def scarce() -> Scarce:
    return Scarce()


@pytest.fixture
def generator(scarce: Scarce) -> Generator:
    made = Generator(scarce, Picture(), CPU, torch.float32, SIZES, clock=lambda: 100.0)
    made._graphs = True
    return made


@pytest.fixture
def cuda(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    made = Cuda(generator)
    for name, value in (("Stream", Stream), ("CUDAGraph", Graph)):
        monkeypatch.setattr(torch.cuda, name, value)
    for name in ("current_stream", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(made, name))
    return made


def test_every_size_is_run_captured_and_launched_before_it_is_used(
    generator: Generator, scarce: Scarce, cuda: Cuda
) -> None:
    generator.warm(quiet)
    assert scarce.sizes == [size for size in SIZES for _ in range(WARM_RUNS + 2)], "runs, capture, first launch"
    assert len(set(cuda.pools)) == 1, "one pool for all"
    graphs = {size: bucket.graph for size, bucket in generator._ready.items()}
    eager = Generator(Scarce(), Picture(), CPU, torch.float32, SIZES).generate(*inputs(7)).crops
    assert np.array_equal(generator.generate(*inputs(7)).crops, eager)
    assert [graphs[size].replays for size in SIZES] == [1, 1, 3]
    side = generator._side
    assert cuda.here is cuda.first
    assert side is not None
    assert side.waited == [cuda.first] * 3
    assert cuda.first.waited == [side] * 3


def test_when_all_graphs_are_gone_the_next_one_gets_a_pool_of_its_own(
    generator: Generator, scarce: Scarce, cuda: Cuda
) -> None:
    generator.warm(quiet)
    wanted = generator.generate(*inputs(4)).crops
    for most in SIZES[::-1]:
        if most > 1:
            generator._out_of_memory(most, "as if")
        else:
            with pytest.raises(EngineError, match="not even one frame"):
                generator._out_of_memory(most, "as if")
    assert np.array_equal(generator.generate(*inputs(4)).crops, wanted)
    assert len(set(cuda.pools)) == 2


def test_a_capture_that_cannot_be_ended_leaves_the_thread_on_its_own_stream(
    generator: Generator, scarce: Scarce, cuda: Cuda
) -> None:
    """What the features are computed on and what the batch runs on must be one stream, or nothing orders them."""
    cuda.exit_error = RuntimeError("CUDA error: out of memory")
    with pytest.raises(EngineError, match="not even one frame"):
        generator.generate(*inputs(4))
    assert cuda.here is cuda.first
    cuda.exit_error = None
    assert generator.generate(*inputs(4)).finite.all()
