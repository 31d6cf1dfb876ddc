"""How fast stages are, how long crops are waited for, and how long a sentence has to be held."""

from broker.media.segment_plan import joint_after, opens
from broker.media.throughput import OFFLINE, WINDOW_US, Part, Throughput, wait_needed
from broker.sessions.lateness import GENTLE, HOLD_MOST_US, OVERDUE_US, SILENT_US, Lateness, given_up_at
from broker.sessions.segment import Segment, SegmentState
from broker.workers.ledger import Ledger
from configs.grid import QUANTUM_FRAMES, QUANTUM_US

FRAME_US = 40_000


def measured(frame_us: int) -> Throughput:
    throughput = Throughput()
    throughput.asked(0, "a", 8)
    throughput.made(8 * frame_us, "a", 8)
    return throughput


def test_only_time_in_which_frames_were_waited_for_counts() -> None:
    throughput = measured(5_000)
    assert throughput.frame_us == 5_000
    throughput.asked(9_000_000, "a", 8)
    throughput.made(9_040_000, "a", 8)
    assert throughput.frame_us == 5_000


def test_a_pace_follows_what_happens_and_forgets_the_rest() -> None:
    throughput, now = measured(5_000), 1_000_000
    for _ in range(20):
        throughput.asked(now, "a", 16)
        now += 16 * 48_000
        throughput.made(now, "a", 16)
    assert abs(throughput.frame_us - 48_000) < 1_000
    throughput.asked(now, "a", 80)
    now += WINDOW_US // 10  # frozen for a moment, then fast
    for _ in range(10):
        now += 32_000
        throughput.made(now, "a", 8)
    assert throughput.frame_us < 48_000


def test_frames_of_live_sessions_share_a_stage_and_dropped_ones_are_not_waited_for() -> None:
    throughput = Throughput()
    throughput.asked(0, "a", 8)
    throughput.asked(0, "b", 8)
    throughput.asked(0, OFFLINE, 800)
    assert throughput.sharers == 2
    throughput.made(10, "a", 4)
    assert throughput.sharers == 2
    throughput.dropped(10, "a", 4)
    assert throughput.sharers == 1


def test_crops_are_waited_for_while_the_engine_gives_signs_of_life() -> None:
    assert given_up_at(1_000_000, sign=0, since=0) == SILENT_US
    assert given_up_at(9_000_000, sign=0, since=0) == 9_000_000, "nothing is given up before its time"
    assert given_up_at(1_000_000, sign=5_000_000, since=4_000_000) == 5_000_000 + SILENT_US
    assert given_up_at(1_000_000, sign=30_000_000, since=0) == OVERDUE_US
    assert given_up_at(1_000_000, sign=30_000_000, since=20_000_000, patience=0) == 20_000_000


def test_nothing_waits_where_the_stages_are_faster_than_the_speech() -> None:
    parts = [Part(QUANTUM_US, 0, 0), Part(QUANTUM_US, 8, 8), Part(640_000, 16, 16), Part(1_280_000, 32, 32)]
    assert wait_needed(parts, 4_000, 7_000) == 0


def test_a_sentence_waits_for_what_the_latest_part_needs() -> None:
    """Every part is shown at its place, moved by the wait: the worst one comes just in time."""
    parts = [Part(640_000, 16, 16) for _ in range(5)]
    wait = wait_needed(parts, 48_000, 5_000)
    ready = [16 * (k + 1) * 48_000 + 16 * 5_000 for k in range(5)]
    assert wait == max(at - k * 640_000 for k, at in enumerate(ready))


def segment(index: int, *, ready: bool = False, begins: bool = False) -> Segment:
    made = Segment(index, index * 15_360, 1, index * QUANTUM_US, opens=begins)
    if ready:
        for state in (SegmentState.ANIMATED, SegmentState.ENCODING, SegmentState.READY):
            made.enter(state)
    return made


def pacing(frame_us: int) -> Lateness:
    throughputs = {"lipsync": measured(frame_us), "fallback": Throughput(), "encode": measured(1_000)}
    return Lateness(Ledger(), throughputs, "a")


def test_a_sentence_is_held_by_what_it_lacks_itself_and_never_for_long() -> None:
    cut = [segment(0, ready=True, begins=True), *(segment(k) for k in range(1, 5))]
    after = [segment(k, begins=k == 5) for k in range(5, 30)]
    slow = pacing(48_000)
    alone = slow.hold(cut, 0, 2, ahead=0, now=0)
    assert 0 < alone < 500_000
    assert slow.hold([*cut, *after], 40, 2, ahead=0, now=0) == alone
    assert slow.hold(cut, 0, 2, ahead=100_000, now=0) == alone - 100_000, "what is published is shown meanwhile"
    hopeless = pacing(400_000)
    assert hopeless.hold(cut, 100, 2, ahead=0, now=0) == HOLD_MOST_US
    assert hopeless.hold(cut, 100, 2, ahead=0, now=HOLD_MOST_US - 10) == 10
    assert pacing(4_000).hold(cut, 100, 4, ahead=0, now=0) == 0


def test_where_it_is_slow_segments_are_short_and_sentences_between_idle_video_begin_later() -> None:
    slow, fast = pacing(48_000), pacing(4_000)
    assert (slow.longest(4), fast.longest(4)) == (GENTLE, 4)
    assert fast.delay(0, 10, 4, ahead=0) == 0
    assert slow.delay(0, 10, 2, ahead=0) == 5
    assert slow.delay(0, 10, 2, ahead=0) == 0, "once for each sentence"
    assert slow.room(0, 10, 2, ahead=640_000) == 3


def test_sentences_meet_at_the_nearest_quantum() -> None:
    starts = [0, 15_360 * 3 + 7_000, 15_360 * 6 - 7_000]
    assert [opens(starts, 15_360 * q) for q in range(8)] == [q in (0, 3, 6) for q in range(8)]
    assert [joint_after(starts, 15_360 * q) for q in (0, 2, 3, 5, 6)] == [3, 3, 6, 6, None]
    assert QUANTUM_FRAMES * FRAME_US == QUANTUM_US
