"""Which end is told when, and what is shown: the rules that all adapters share."""

from __future__ import annotations

from typing import Any

import msgpack

from clients.adapters.speech import Speech
from clients.adapters.waiting import IDLE_KEPT_US, IDLE_MAX_US, MAX_US, Ended, Waiting
from clients.aio.messages import Message

QUANTUM_US = 320_000


def media(seq: int, turn: int = 0, gen: int = 0, pts: int | None = None) -> Message:
    at = seq * QUANTUM_US if pts is None else pts
    header = {"kind": "media", "seq": seq, "turn": turn, "gen": gen, "pts": at, "dur": QUANTUM_US}
    return Message(msgpack.packb(header), b"")


def left(waiting: Waiting) -> list[Any]:
    found = []
    while (item := waiting.take()) is not None:
        found.append(item.header["seq"] if isinstance(item, Message) else item)
    return found


def test_a_piece_is_over_once_when_it_is_closed_and_all_its_turns_are_shown() -> None:
    speech = Speech()
    piece = speech.piece()
    speech.accepted(piece, 1)
    speech.shown(1)
    assert not speech.over()  # more of it may follow
    speech.accepted(piece, 2)
    speech.close()
    assert not speech.over()
    speech.shown(2)
    assert speech.over()
    assert not speech.over()
    assert not speech.busy


def test_pieces_end_in_their_order() -> None:
    speech = Speech()
    speech.accepted(speech.piece(), 1)
    speech.close()
    speech.accepted(speech.piece(), 2)
    speech.close()
    speech.shown(2)
    assert not speech.over()
    speech.shown(1)
    assert [speech.over(), speech.over(), speech.over()] == [True, True, False]


def test_a_piece_that_nothing_was_taken_of_is_over_when_it_is_closed() -> None:
    speech = Speech()
    speech.piece()
    assert not speech.over()
    speech.close()
    assert speech.over()


def test_what_was_cut_has_no_end_and_late_answers_do_not_bring_it_back() -> None:
    speech = Speech()
    piece = speech.piece()
    speech.cut()
    speech.accepted(piece, 7)
    assert (speech.newest, speech.busy, speech.open, piece.cut) == (7, False, None, True)
    speech.close()
    assert not speech.over()


def test_lost_turns_end_behind_what_still_waits_and_not_with_numbers_of_the_next_session() -> None:
    speech = Speech()
    speech.accepted(speech.piece(), 1)
    speech.close()
    mark = speech.lost()
    speech.another_session()
    speech.accepted(speech.piece(), 1)
    speech.close()
    speech.shown(mark)
    assert speech.over()
    assert not speech.over()
    speech.shown(1)
    assert speech.over()


def test_an_end_that_came_before_the_answer_is_not_waited_for() -> None:
    speech = Speech()
    piece = speech.piece()
    speech.terminal(1)
    speech.accepted(piece, 1)
    speech.close()
    assert speech.over()


def test_ends_stay_behind_the_media_of_their_turn() -> None:
    waiting = Waiting()
    for item in (media(0), media(1, turn=1), Ended(1, "ended"), media(2)):
        waiting.put(item)
    assert waiting.us == 3 * QUANTUM_US
    assert left(waiting) == [0, 1, Ended(1, "ended"), 2]
    assert waiting.us == 0


def test_a_new_generation_voids_what_it_replaces() -> None:
    waiting = Waiting()
    for item in (media(0, turn=1), media(1, turn=1), media(2, turn=1), media(3, gen=1, pts=QUANTUM_US)):
        waiting.put(item)
    assert left(waiting) == [0, 3]
    assert waiting.void(0, 1, QUANTUM_US)
    assert not waiting.void(0, 1, 0)
    assert not waiting.void(1, 0, QUANTUM_US)


def test_what_was_cut_is_dropped_also_where_it_comes_late() -> None:
    waiting = Waiting()
    waiting.put(media(0))
    waiting.put(media(1, turn=3))
    waiting.cut_all()
    waiting.put(media(2, turn=3))
    waiting.put(media(3, turn=4))
    assert left(waiting) == [0, 3]
    waiting.another_session()
    waiting.put(media(0, turn=1))
    assert left(waiting) == [0]


def test_idle_motion_does_not_pile_up_and_speech_is_not_left_out_for_it() -> None:
    waiting = Waiting()
    for seq in range(10):
        waiting.put(media(seq))
    assert IDLE_KEPT_US <= waiting.us <= IDLE_MAX_US
    waiting = Waiting()
    for seq in range(7):
        waiting.put(media(seq, turn=1))
    assert left(waiting) == list(range(7))


def test_nothing_waits_without_bound_and_ends_are_kept() -> None:
    waiting = Waiting()
    for seq in range(20):
        waiting.put(media(seq, turn=seq + 1))
        waiting.put(Ended(seq + 1, "ended"))
    assert waiting.us <= MAX_US
    assert waiting.left_out_us == 20 * QUANTUM_US - waiting.us
    found = left(waiting)
    assert [one.turn for one in found if isinstance(one, Ended)] == list(range(1, 21))
    assert [one for one in found if not isinstance(one, Ended)] == list(range(11, 20))
