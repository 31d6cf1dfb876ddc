"""A signal is never lost, wherever a library was when it came."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from clients.recorder import Recorder
from clients.signals import each_unbroken, unbroken


def swallowed(number: int) -> None:
    """What PyAV does: a signal comes while it makes an exception that it catches itself."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)


@pytest.fixture
def terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP end the program in order, as in the command."""
    ends = (signal.SIGTERM, signal.SIGHUP)
    before = {one: signal.signal(one, lambda number, _: sys.exit(128 + number)) for one in ends}
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def test_a_block_is_not_cut_and_the_signal_is_acted_on_at_its_end(terminated: None) -> None:
    done = []

    def work(number: int) -> None:
        with unbroken():
            swallowed(number)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        work(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(SystemExit) as ended:
            work(number)
        assert ended.value.code == 128 + number
    assert done == ["the rest"] * 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_or_where_it_may_be_cut_off() -> None:
    def work() -> None:
        with unbroken() as may_stop:
            may_stop()
            swallowed(signal.SIGINT)
            may_stop()
            pytest.fail("not reached")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_each_item_is_whole() -> None:
    def items() -> Iterator[int]:
        yield 1
        swallowed(signal.SIGINT)
        made.append(2)
        yield 2
        made.append(3)

    made: list[int] = []
    given = each_unbroken(items())
    assert next(given) == 1
    with pytest.raises(KeyboardInterrupt):
        next(given)
    assert made == [2]
    assert list(each_unbroken(iter([1, 2]))) == [1, 2]


def test_a_recording_is_cut_off_whatever_its_parts_swallow(tmp_path: Path) -> None:
    def sound(_: Any) -> Iterator[Any]:
        swallowed(signal.SIGINT)
        yield from ()

    source = tmp_path / "media.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for packet in [*stream.encode(av.VideoFrame(64, 64, "yuv420p")), *stream.encode(None)]:
            container.mux(packet)
    media = source.read_bytes()
    source.unlink()
    with Recorder(tmp_path / "out.mp4") as recorder:
        recorder.add({"kind": "media", "gen": 0, "pts": 0, "dur": 40_000}, media)
        with pytest.raises(KeyboardInterrupt):
            recorder.finish(sound=sound)
    assert list(tmp_path.iterdir()) == []


def test_a_handler_that_ignores_goes_on_ignoring() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with unbroken() as may_stop:
            signal.raise_signal(signal.SIGINT)
            may_stop()
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with unbroken() as may_stop:
                may_stop()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60.0)
    assert not thread.is_alive()
    assert errors == []
