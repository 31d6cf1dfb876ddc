from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.lipsync_batch import BatchPolicy, Slice


def test_the_most_urgent_frames_go_first_and_share_the_batch() -> None:
    policy = BatchPolicy((1, 2, 4, 8))
    policy.add("late", 8, 900)
    policy.add("soon", 4, 100)
    policy.add("whenever", 8, 0)
    assert policy.next_batch() == [Slice("soon", 0, 4), Slice("late", 0, 4)]
    policy.add("now", 1, 50)
    assert policy.next_batch() == [Slice("now", 0, 1), Slice("late", 4, 4), Slice("whenever", 0, 3)]
    assert policy.next_batch() == [Slice("whenever", 3, 4)]
    assert policy.next_batch() == [Slice("whenever", 7, 1)]
    assert policy.next_batch() == []


def test_what_is_dropped_is_not_rendered() -> None:
    policy = BatchPolicy((1, 2, 4))
    policy.add("a", 8, 1)
    policy.next_batch()
    policy.drop("a")
    policy.drop("unknown")
    assert policy.next_batch() == []
    assert policy.waiting == 0


@given(
    st.lists(st.tuples(st.integers(1, 33), st.integers(0, 5)), min_size=1, max_size=9),
    st.sampled_from([(1,), (1, 2, 4, 8), (1, 4, 16)]),
)
def test_every_frame_once_in_order_and_every_batch_a_bucket(
    items: list[tuple[int, int]], buckets: tuple[int, ...]
) -> None:
    policy = BatchPolicy(buckets)
    for key, (frames, deadline) in enumerate(items):
        policy.add(key, frames, deadline)
    seen: dict[object, int] = {}
    while batch := policy.next_batch():
        assert sum(piece.frames for piece in batch) in buckets
        for piece in batch:
            assert piece.first == seen.get(piece.key, 0)
            seen[piece.key] = piece.first + piece.frames
    assert seen == {key: frames for key, (frames, _) in enumerate(items)}
    assert len(policy) == 0


def test_an_item_of_a_quantum_goes_on_piece_by_piece_and_a_longer_one_in_large_batches() -> None:
    policy = BatchPolicy((1, 2, 4, 8), piece=2)
    policy.add("long", 16, 9)
    assert policy.next_batch() == [("long", 0, 8)]
    policy.add("first", 8, 5)
    assert [policy.next_batch() for _ in range(5)] == [
        *([("first", at, 2)] for at in (0, 2, 4, 6)),
        [("long", 8, 8)],
    ]
