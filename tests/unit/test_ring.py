"""Rings stay within their bounds and answer by number."""

from broker.journal.layout import Layout
from broker.journal.ring import Ring
from broker.timers import Timers


def ring_of(max_bytes: int, max_items: int) -> Ring:
    layout = Layout.of(1, 1, max_bytes, max_items)
    return Ring(memoryview(bytearray(layout.total)), layout.media)


def test_a_ring_keeps_the_newest_within_bytes_and_count() -> None:
    ring = ring_of(100, 5)
    assert (ring.oldest, ring.newest) == (None, None)
    for n in range(10):
        ring.add(n, b"h" * 5, b"p" * 20)
    assert (ring.oldest, ring.newest) == (6, 9)
    assert [k.number for k in ring.read(0, 16, 1 << 20)] == [6, 7, 8, 9]
    assert [k.number for k in ring.read(8, 16, 1 << 20)] == [8, 9]
    assert ring.read(10, 16, 1 << 20) == []
    assert [k.number for k in ring.read(6, 16, 60)] == [6, 7]


def test_one_message_larger_than_the_ring_is_still_served() -> None:
    ring = ring_of(10, 5)
    ring.add(0, b"h", b"p" * 100)
    assert [k.number for k in ring.read(0, 1, 10)] == [0]


def test_timers_fire_in_order_and_a_cancelled_one_does_not() -> None:
    timers, fired = Timers(), []
    timers.at(30, lambda: fired.append("c"))
    timers.at(10, lambda: fired.append("a"))
    timers.at(20, lambda: fired.append("b")).cancel()
    assert timers.wait(5) == 5
    timers.fire(29)
    assert fired == ["a"]
    timers.fire(30)
    assert fired == ["a", "c"]
    assert timers.wait(30) is None
