"""What waits for a viewer, and what a slow one does not get."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from clients.aio.backlog import Backlog
from clients.aio.messages import Message

SID = "s"


def media(seq: int, turn: int = 1, gen: int = 0, size: int = 100) -> Message:
    header = {"kind": "media", "seq": seq, "turn": turn, "gen": gen, "pts": seq * 320_000, "dur": 320_000}
    return Message(msgpack.packb(header), bytes(size))


def event(n: int, name: str = "sentence") -> Message:
    return Message(msgpack.packb({"event": name, "n": n, "turn": 1, "data": {}}))


def drained(backlog: Backlog) -> list[object]:
    """Numbers of media, names of events, holes as pairs."""
    found: list[object] = []
    while (message := backlog.take()) is not None:
        if message.media:
            found.append(message.header["seq"])
        elif message.event == "gateway.skipped":
            found.append((message.header["data"]["from_seq"], message.header["data"]["to_seq"]))
        else:
            found.append(message.event)
    assert backlog.bytes == 0
    return found


def test_a_frame_is_length_header_and_payload() -> None:
    message = media(7, size=5)
    length = int.from_bytes(message.frame[:4])
    assert msgpack.unpackb(message.frame[4 : 4 + length]) == message.header
    assert message.frame[4 + length :] == message.payload == bytes(5)


def test_a_viewer_that_keeps_up_gets_everything_in_order() -> None:
    backlog = Backlog(SID)
    for seq in range(5):
        backlog.put(media(seq), 0.0)
        backlog.put(event(seq), 0.0)
    assert drained(backlog) == [0, "sentence", 1, "sentence", 2, "sentence", 3, "sentence", 4, "sentence"]


def test_a_late_viewer_goes_on_with_the_newest_turn() -> None:
    backlog = Backlog(SID)
    for seq in range(3):
        backlog.put(media(seq), seq * 0.3)
    backlog.put(event(0, "turn.ended"), 1.0)
    backlog.put(media(3, turn=2), 1.1)
    backlog.put(media(4, turn=2), 2.5)
    assert drained(backlog) == [(0, 2), "turn.ended", 3, 4]
    assert backlog.skipped == 3


def test_within_one_turn_it_goes_on_with_the_newest_segment() -> None:
    backlog = Backlog(SID)
    for seq in range(9):
        backlog.put(media(seq), seq * 0.32)
    assert drained(backlog) == [(0, 6), 7, 8]


def test_a_turn_that_is_late_itself_is_left_out_up_to_its_newest_segment() -> None:
    backlog = Backlog(SID)
    backlog.put(media(0, turn=1), 0.0)
    backlog.put(media(1, turn=2), 0.1)
    backlog.put(media(2, turn=2), 2.5)
    assert drained(backlog) == [(0, 1), 2]


def test_too_many_bytes_count_like_too_old() -> None:
    backlog = Backlog(SID, max_bytes=1000)
    for seq in range(4):
        backlog.put(media(seq, size=300), 0.0)
    assert drained(backlog) == [(0, 1), 2, 3]


def test_what_waits_while_older_media_is_read_back_does_not_grow_old() -> None:
    backlog = Backlog(SID, max_bytes=1000)
    backlog.hold()
    for seq in range(3):
        backlog.put(media(seq), float(seq))
    assert backlog.age(9.0) == 0.0
    backlog.release(10.0)
    backlog.put(media(3), 11.0)
    assert backlog.age(11.0) == 1.0
    assert drained(backlog) == [0, 1, 2, 3]


def test_what_waits_meanwhile_is_bounded_by_its_bytes() -> None:
    backlog = Backlog(SID, max_bytes=1000)
    backlog.hold()
    for seq in range(100):
        backlog.put(media(seq, size=300), 0.0)
        assert backlog.bytes <= 1000
    assert drained(backlog) == [(0, 97), 98, 99]


def test_holes_that_were_not_told_yet_are_told_as_one() -> None:
    backlog = Backlog(SID)
    for seq in range(20):
        backlog.put(media(seq), float(seq))
        backlog.put(event(seq), float(seq))
    found = drained(backlog)
    assert found[0] == (0, 17)
    assert found[-4:] == [18, "sentence", 19, "sentence"]


def test_what_a_cut_makes_void_can_be_left_out() -> None:
    backlog = Backlog(SID)
    for seq in range(4):
        backlog.put(media(seq), 0.0)
    backlog.drop_void(2 * 320_000)
    assert drained(backlog) == [0, 1]


def test_more_events_than_can_be_kept_are_the_end_of_the_viewer() -> None:
    backlog = Backlog(SID, max_bytes=1000)
    for n in range(100):
        backlog.put(event(n), 0.0)
    assert backlog.overfull


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 4), st.booleans()), max_size=60))
def test_every_number_is_shown_once_or_told_as_left_out_once(steps: list[tuple[float, int, bool]]) -> None:
    backlog = Backlog(SID, max_bytes=2000)
    now, seq, turn = 0.0, 0, 0
    found: list[int] = []

    def take(count: int) -> None:
        for _ in range(count):
            message = backlog.take()
            if message is None:
                return
            if message.media:
                found.append(message.header["seq"])
            else:
                found.extend(range(message.header["data"]["from_seq"], message.header["data"]["to_seq"] + 1))

    for wait, taken, new_turn in steps:
        now, turn = now + wait, turn + new_turn
        backlog.put(media(seq, turn), now)
        seq += 1
        assert backlog.age(now) <= 2.0
        take(taken)
    take(len(backlog) + 1)
    assert found == list(range(seq))
