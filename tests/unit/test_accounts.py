"""What a connection costs, and who has to go when it is too much."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.control.accounts import NOISE_BYTES, TOTAL_BYTES, UNFINISHED_BYTES, Account, Accounts, Bucket

MIB = 1 << 20


def accounts(*unfinished: int) -> Accounts:
    """One connection with each of these."""
    made = Accounts()
    for fd, nbytes in enumerate(unfinished):
        made.came(fd)
        made.of(fd).counted(nbytes, 0)
    return made


def test_what_came_and_is_no_whole_message_is_unfinished() -> None:
    account = Account(1)
    account.counted(30 * MIB, 0)
    assert account.unfinished == 30 * MIB
    account.asked(30 * MIB)
    account.counted(50 * MIB, 0)
    assert account.unfinished == 20 * MIB


def test_handshakes_and_heartbeats_do_not_add_up() -> None:
    account = Account(1)
    received = 0
    for _ in range(1000):
        received += NOISE_BYTES // 2 + 100
        account.asked(100)
        account.counted(received, 0)
    assert account.unfinished < NOISE_BYTES


def test_small_messages_do_not_hide_a_large_one_that_does_not_end() -> None:
    account = Account(1)
    for turn in range(100):
        account.asked(100)
        account.counted(turn * 2 * MIB, 0)
    assert account.unfinished > 150 * MIB


def test_replies_are_unread_until_the_kernel_has_their_bytes_acknowledged() -> None:
    account = Account(1)
    account.told += 8 * MIB
    assert account.unread == 8 * MIB
    account.counted(0, 5 * MIB)
    assert account.unread == 3 * MIB
    account.counted(0, 9 * MIB)  # with what was no reply
    assert account.unread == 0
    account.told += 100
    assert account.unread == 100


def test_on_a_local_socket_replies_are_read_when_nothing_waits_to_be_sent() -> None:
    account = Account(1)
    account.told += 100
    account.counted(None, None, idle=False)
    assert account.unread == 100
    account.counted(None, None, idle=True)
    assert account.unread == 0


def test_a_message_beyond_all_that_is_answered_ends_its_connection_alone() -> None:
    found = accounts(10 * MIB, UNFINISHED_BYTES + 1, 5 * MIB).too_much()
    assert [account.fd for account in found] == [1]


@given(st.lists(st.integers(0, UNFINISHED_BYTES), max_size=30))
def test_what_is_held_in_all_is_brought_below_the_limit_by_those_that_hold_most(held: list[int]) -> None:
    ends = [account.held for account in accounts(*held).too_much()]
    assert ends == sorted(held, reverse=True)[: len(ends)]
    assert sum(held) - sum(ends) <= TOTAL_BYTES
    if ends:
        assert sum(held) - sum(ends[:-1]) > TOTAL_BYTES, "no more of them than needed"


def test_a_number_that_is_used_again_is_another_connection() -> None:
    made = accounts(10 * MIB)
    old = made.of(0)
    made.came(0)
    assert made.of(0) is not old
    assert made.of(0).held == 0


def test_a_bucket_says_when_there_is_one_again() -> None:
    bucket = Bucket()
    assert [bucket.take(10, 1_000_000) for _ in range(10)] == [0] * 10
    wait_ms = bucket.take(10, 1_000_000)
    assert 100 <= wait_ms <= 101
    assert bucket.take(10, 1_000_000 + (wait_ms - 3) * 1000) > 0
    assert bucket.take(10, 1_000_000 + wait_ms * 1000) == 0
