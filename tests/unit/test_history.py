"""A conversation that a language model is given is bounded, and its newest line always stays."""

from broker.sessions.history import CHARS_MAX, History


def test_the_oldest_lines_go_first() -> None:
    history = History(3)
    for k in range(5):
        history.add("user", str(k))
    assert history.lines() == [("user", "2"), ("user", "3"), ("user", "4")]


def test_long_lines_push_others_out_but_not_themselves() -> None:
    history = History(10)
    history.add("user", "short")
    history.add("assistant", "x" * CHARS_MAX)
    assert [len(line.content) for line in history.lines()] == [CHARS_MAX]


def test_the_instructions_come_first_and_count_for_nothing() -> None:
    history = History(1)
    history.add("user", "Hello")
    assert history.lines("Be brief.") == [("system", "Be brief."), ("user", "Hello")]
    assert history.lines("") == [("user", "Hello")]
