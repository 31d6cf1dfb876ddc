"""Where utterances begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Asr
from models.asr.endpointing import (
    GRID,
    RATE,
    WINDOW,
    Confirmed,
    Ended,
    Endpointer,
    Event,
    Paused,
    Resumed,
    Started,
)

SETTINGS = Asr()
PROBABILITIES = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 40)), max_size=30)


def run(probabilities: list[float], ears: Endpointer | None = None, limit_s: float = 60.0) -> list[Event]:
    """Beginnings and ends."""
    ears = ears or Endpointer(SETTINGS, limit_s)
    return [event for event in every(probabilities, ears) if isinstance(event, Started | Ended)]


def every(probabilities: list[float], ears: Endpointer) -> list[Event]:
    return [event for probability in probabilities for event in ears.window(probability)]


def expand(runs: list[tuple[float, int]]) -> list[float]:
    return [probability for probability, count in runs for _ in range(count)]


def test_positions_are_exact() -> None:
    events = run([0.0] * 31 + [0.9] * 20 + [0.0] * 30)
    started, ended = events
    assert isinstance(started, Started)
    assert started.at == 31 * WINDOW
    pad = SETTINGS.pad_ms * RATE // 1000
    assert started.audio_from == (31 * WINDOW - pad) // GRID * GRID
    assert ended == Ended(51 * WINDOW, False)


def test_it_starts_after_enough_speech_and_ends_after_enough_silence() -> None:
    ears = Endpointer(SETTINGS, 60.0)
    need = -(-SETTINGS.min_speech_ms * RATE // 1000 // WINDOW)
    heard = [bool(ears.window(0.9)) for _ in range(need)]
    assert heard == [False] * (need - 1) + [True]
    pause = -(-SETTINGS.min_silence_ms * RATE // 1000 // WINDOW)
    heard = [any(isinstance(event, Ended) for event in ears.window(0.0)) for _ in range(pause)]
    assert heard == [False] * (pause - 1) + [True]


def test_a_click_is_no_speech() -> None:
    assert run(([0.0] * 20 + [1.0]) * 20 + [0.0] * 20) == []


def test_a_short_pause_and_a_weak_voice_do_not_end_it() -> None:
    events = run([0.9] * 10 + [0.0] * 8 + [0.4] * 30 + [0.9] * 5 + [0.0] * 30)
    assert [type(event) for event in events] == [Started, Ended]
    assert events[1].at == 53 * WINDOW


def test_a_weak_voice_does_not_begin_it() -> None:
    assert run([0.45] * 100) == []


def test_the_longest_utterance_is_cut_and_the_next_goes_on_from_there() -> None:
    events = run([0.9] * 200, limit_s=2.0)
    ends = [event for event in events if isinstance(event, Ended)]
    starts = [event for event in events if isinstance(event, Started)]
    assert len(ends) >= 2
    assert ends[0].forced
    assert 2 * RATE <= ends[0].at < 2 * RATE + WINDOW
    assert starts[1].audio_from == starts[1].at == ends[0].at


def test_the_client_ends_an_open_utterance_at_its_last_voiced_sample() -> None:
    ears = Endpointer(SETTINGS, 60.0)
    run([0.9] * 10 + [0.0] * 4, ears)
    assert ears.end() == [Ended(10 * WINDOW, True)]
    assert ears.end() == []


def test_the_client_decides_what_was_undecided() -> None:
    ears = Endpointer(SETTINGS, 60.0)
    run([0.0] * 10 + [0.9] * 3, ears)
    started, ended = ears.end()
    assert isinstance(started, Started)
    assert started.at == 10 * WINDOW
    assert ended == Ended(13 * WINDOW, True)
    run([0.0] * 40 + [0.9], ears)
    assert ears.end() == []


def test_a_replayed_utterance_goes_on_and_its_pad_does_not_end_it() -> None:
    settings = Asr(pad_ms=1000, min_silence_ms=200)
    ears = Endpointer(settings, 60.0, 640, speaking=True)
    assert ears.speaking
    assert ears.needed_from == 640
    events = run([0.0] * 31 + [0.9] * 20 + [0.0] * 30, ears)
    assert events == [Ended(640 + 51 * WINDOW, False)]


def test_a_replay_from_needed_from_ends_where_the_first_hearing_ended() -> None:
    sequence = [0.0] * 40 + [0.9] * 30 + [0.1] * 30
    first = Endpointer(SETTINGS, 60.0)
    events: list[Event] = []
    needed = 0
    for probability in sequence[:60]:
        events += [event for event in first.window(probability) if isinstance(event, Started | Ended)]
        needed = first.needed_from
    assert [type(event) for event in events] == [Started]
    offset = needed % WINDOW
    again = Endpointer(SETTINGS, 60.0, needed, speaking=True)
    replayed = run(sequence[needed // WINDOW + bool(offset) :], again)
    assert [type(event) for event in replayed] == [Ended]
    assert abs(replayed[0].at - 70 * WINDOW) <= WINDOW


@given(runs=PROBABILITIES, limit_s=st.sampled_from([0.5, 3.0, 60.0]))
def test_beginnings_and_ends_alternate_and_never_overlap(runs: list[tuple[float, int]], limit_s: float) -> None:
    ears = Endpointer(SETTINGS, limit_s)
    open_from: int | None = None
    last_end = 0
    for probability in expand(runs):
        for event in ears.window(probability):
            if isinstance(event, Started):
                assert open_from is None
                assert last_end <= event.audio_from <= event.at < ears.position
                open_from = event.audio_from
            elif isinstance(event, Ended):
                assert open_from is not None
                assert open_from < event.at <= ears.position
                open_from, last_end = None, event.at
        assert ears.speaking == (open_from is not None)
        assert last_end <= ears.needed_from <= ears.position
        if open_from is not None:
            assert ears.needed_from == open_from
            assert ears.position - open_from < limit_s * RATE + WINDOW


@given(runs=PROBABILITIES)
def test_what_will_be_asked_for_is_still_there(runs: list[tuple[float, int]]) -> None:
    """No utterance begins before what was once called needless."""
    ears = Endpointer(SETTINGS, 60.0)
    needed = 0
    for probability in expand(runs):
        for event in ears.window(probability):
            if isinstance(event, Started):
                assert event.audio_from >= needed
        assert ears.needed_from >= needed
        needed = ears.needed_from


@pytest.mark.parametrize("threshold", [0.0, 0.05, 1.0])
def test_extreme_thresholds_still_work(threshold: float) -> None:
    ears = Endpointer(Asr(vad_threshold=threshold), 1.0)
    for probability in [0.0, 1.0, 0.5] * 100:
        ears.window(probability)
    assert ears.position == 300 * WINDOW


def test_a_voice_interrupts_once_and_when_it_is_long_enough() -> None:
    need = -(-SETTINGS.barge_in_ms * RATE // 1000 // WINDOW)
    ears = Endpointer(SETTINGS, 60.0)
    assert not [event for event in every([0.9] * (need - 1), ears) if isinstance(event, Confirmed)]
    assert every([0.9] * 60, ears) == [Confirmed(need * WINDOW)]
    every([0.0] * 40, ears)
    assert any(isinstance(event, Confirmed) for event in every([0.9] * need, ears)), "the next one does, too"


def test_an_uh_huh_is_too_short_to_interrupt() -> None:
    events = every([0.9] * 5 + [0.0] * 3 + [0.9] * 6 + [0.0] * 40, Endpointer(SETTINGS, 60.0))
    assert [type(event) for event in events] == [Started, Paused, Ended]


def test_a_pause_is_told_once_and_so_is_its_end() -> None:
    pause = -(-SETTINGS.finished_silence_ms * RATE // 1000 // WINDOW)
    ears = Endpointer(Asr(barge_in_ms=10_000), 60.0)
    assert [type(e) for e in every([0.9] * 20 + [0.0] * (pause - 1) + [0.9], ears)] == [Started]
    events = every([0.0] * (pause + 2) + [0.9] * 3 + [0.0] * 40, ears)
    assert [type(event) for event in events] == [Paused, Resumed, Paused, Ended]


def test_a_finished_sentence_ends_at_its_pause_and_not_while_it_goes_on() -> None:
    ears = Endpointer(SETTINGS, 60.0)
    every([0.9] * 20 + [0.0] * 9, ears)
    assert ears.conclude() == [Ended(20 * WINDOW, False)]
    assert ears.conclude() == []
    assert not ears.speaking
    every([0.9] * 20 + [0.0] * 9 + [0.9], ears)
    assert ears.conclude() == []
    assert ears.speaking
