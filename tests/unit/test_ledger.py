"""The ledger: nothing accepted is lost or done twice, whoever dies."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from broker.ipc.messages import Item, LlmDelta, LlmItem, Output
from broker.workers.ledger import Entry, Ledger, Worker
from models.meter import Meter


class Recorder:
    """A job that notes what reaches it."""

    media_ms = 320

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.ends: list[str] = []

    def build(self) -> tuple[Item, Sequence[Any]]:
        return LlmItem(sid="s", turn=1, history=[]), ()

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        assert isinstance(message, LlmDelta)
        self.outputs.append(message.text)

    def done(self) -> None:
        self.ends.append("done")

    def failed(self, code: str, message: str) -> None:
        self.ends.append("failed")


def delta(worker: Worker, entry: Entry, index: int, text: str = "x", attempt: int | None = None) -> LlmDelta:
    return LlmDelta(
        src=worker.instance,
        ep=worker.epoch,
        id=entry.id,
        attempt=entry.attempt if attempt is None else attempt,
        index=index,
        text=text,
    )


def ready(ledger: Ledger, instance: str = "llm.0", epoch: int = 1, credit: int = 2) -> Worker:
    ledger.up(instance, epoch, "llm")
    worker = ledger.ready(instance, epoch, credit)
    assert worker is not None
    return worker


def submit(ledger: Ledger, name: str, priority: int = 0, cost: int = 1) -> Entry:
    return ledger.submit(name, "llm", Recorder(), priority=priority, cost=cost)


def given_out(ledger: Ledger, now: int = 0) -> list[tuple[str, str]]:
    return [(w.instance, e.id) for w, e in ledger.dispatch(now)]


def test_credit_bounds_what_is_outstanding_and_the_earliest_deadline_goes_first() -> None:
    ledger = Ledger()
    ready(ledger, credit=2)
    for name, deadline in (("late", 30), ("soon", 10), ("middle", 20)):
        submit(ledger, name, deadline)
    assert [i for _, i in given_out(ledger)] == ["soon", "middle"]
    ledger.done("llm.0", 1, "soon", 0)
    assert [i for _, i in given_out(ledger)] == ["late"]


def test_an_item_larger_than_the_whole_credit_goes_to_an_empty_worker() -> None:
    ledger = Ledger()
    ready(ledger, credit=8)
    submit(ledger, "small", 0)
    submit(ledger, "huge", 1, cost=32)
    assert [i for _, i in given_out(ledger)] == ["small"]
    ledger.done("llm.0", 1, "small", 0)
    assert [i for _, i in given_out(ledger)] == ["huge"]


def test_an_item_goes_to_who_had_the_one_before_it_while_that_has_room() -> None:
    ledger = Ledger()
    ready(ledger, "llm.0")
    ready(ledger, "llm.1")
    first, other = submit(ledger, "s/1"), submit(ledger, "s/2")
    assert [(w.instance, e.id) for w, e in ledger.dispatch(0)] == [("llm.0", "s/1"), ("llm.1", "s/2")]
    ledger.done("llm.1", 1, other.id, 0)
    ledger.submit("s/3", "llm", Recorder(), priority=0, near=first)
    ledger.submit("s/4", "llm", Recorder(), priority=1, near=first)
    assert [(w.instance, e.id) for w, e in ledger.dispatch(0)] == [("llm.0", "s/3"), ("llm.1", "s/4")]
    ledger.down("llm.0", 1, commanded=True)
    ledger.submit("s/5", "llm", Recorder(), priority=2, near=first)
    assert {w.instance for w, _ in ledger.dispatch(0)} == {"llm.1"}


def test_a_dead_workers_items_go_to_the_front_with_the_next_attempt() -> None:
    ledger = Ledger()
    ready(ledger)
    submit(ledger, "a", 5)
    submit(ledger, "b", 6)
    given_out(ledger)
    submit(ledger, "c", 1)
    fallout = ledger.down("llm.0", 1, commanded=False)
    assert [e.id for e in fallout.requeued] == ["a", "b"]
    ready(ledger, epoch=2)
    assert [i for _, i in given_out(ledger)] == ["a", "b"]


def test_an_item_is_stamped_with_its_id_its_attempt_and_the_broker_that_hands_it_out() -> None:
    ledger = Ledger()
    ready(ledger)
    submit(ledger, "a")
    given_out(ledger)
    ledger.down("llm.0", 1, commanded=True)
    ready(ledger, epoch=2)
    ((_, entry),) = ledger.dispatch(0)
    item, _ = entry.build(9)
    assert (item.id, item.attempt, item.broker) == ("a", 1, 9)


def test_outputs_of_an_older_epoch_attempt_or_order_are_refused_and_counted() -> None:
    meter = Meter()
    ledger = Ledger(meter)
    old = ready(ledger)
    entry = submit(ledger, "a")
    given_out(ledger)
    assert ledger.output(delta(old, entry, 0)) is entry
    assert ledger.output(delta(old, entry, 0)) is None
    assert ledger.output(delta(old, entry, 2)) is None
    ledger.down("llm.0", 1, commanded=False)
    new = ready(ledger, epoch=2)
    given_out(ledger)
    assert ledger.output(delta(old, entry, 1)) is None
    assert ledger.output(delta(new, entry, 0, attempt=0)) is None
    assert ledger.output(delta(new, entry, 0)) is entry
    assert meter.figures() == {"messages.refused": 4, "replays.llm": 1}


def test_an_item_that_kills_its_worker_twice_while_alone_is_set_aside() -> None:
    ledger = Ledger()
    entry = submit(ledger, "poison")
    for epoch in (1, 2):
        ready(ledger, epoch=epoch)
        given_out(ledger)
        ledger.started("llm.0", epoch, "poison", entry.attempt)
        fallout = ledger.down("llm.0", epoch, commanded=False)
    assert fallout.poisoned == [entry]
    ready(ledger, epoch=3)
    assert given_out(ledger) == []


def test_an_item_in_the_hands_of_two_processes_that_died_together_is_tried_once_more() -> None:
    ledger = Ledger()
    entry = submit(ledger, "witness")
    ready(ledger, "llm.0")
    fallouts = []
    for instance, then, now in (("llm.0", "llm.1", 0), ("llm.1", "llm.2", 90_000), ("llm.2", "", 3_000_000)):
        given_out(ledger)
        ledger.started(instance, 1, "witness", entry.attempt)
        fallouts.append(ledger.down(instance, 1, commanded=False, now=now))
        if then:
            ready(ledger, then)
    first, at_once, later = fallouts
    assert (first.poisoned, at_once.poisoned, later.poisoned) == ([], [], [entry])


def test_a_process_that_came_after_a_death_is_killed_by_the_item_that_it_dies_with() -> None:
    ledger = Ledger()
    entry = submit(ledger, "poison")
    fallouts = []
    for instance, since, died in (("llm.0", 0, 1_000_000), ("llm.1", 1_100_000, 1_200_000)):
        ledger.up(instance, 1, "llm")
        ledger.ready(instance, 1, 2, since)
        given_out(ledger)
        ledger.started(instance, 1, "poison", entry.attempt)
        fallouts.append(ledger.down(instance, 1, commanded=False, now=died))
    assert [fallout.poisoned for fallout in fallouts] == [[], [entry]]


def test_of_several_in_progress_at_a_death_none_is_blamed_and_each_is_tried_by_itself() -> None:
    ledger = Ledger()
    entries = [submit(ledger, name) for name in ("a", "b")]
    ready(ledger)
    given_out(ledger)
    for entry in entries:
        ledger.started("llm.0", 1, entry.id, 0)
    fallout = ledger.down("llm.0", 1, commanded=False)
    assert not fallout.poisoned
    assert [e.deaths for e in entries] == [0, 0]
    ready(ledger, epoch=2)
    assert [i for _, i in given_out(ledger)] == ["a"]
    ledger.done("llm.0", 2, "a", 1)
    assert [i for _, i in given_out(ledger)] == ["b"]


def test_commanded_stops_never_count() -> None:
    ledger = Ledger()
    entry = submit(ledger, "a")
    for epoch in (1, 2, 3):
        ready(ledger, epoch=epoch)
        given_out(ledger)
        ledger.started("llm.0", epoch, "a", entry.attempt)
        assert not ledger.down("llm.0", epoch, commanded=True).poisoned
    assert entry.deaths == 0


def test_cancel_voids_queued_and_leased_items_and_names_the_workers_to_tell() -> None:
    ledger = Ledger()
    worker = ready(ledger, credit=1)
    leased, queued = submit(ledger, "a", 0), submit(ledger, "b", 1)
    given_out(ledger)
    assert ledger.cancel(["a", "b", "unknown"]) == {worker: ["a"]}
    assert ledger.output(delta(worker, leased, 0)) is None
    assert worker.outstanding == 1
    ledger.cancelled("llm.0", 1, "a", 0)
    assert worker.outstanding == 0
    assert given_out(ledger) == []
    assert queued.void


def test_a_retryable_failure_is_tried_again_three_times_in_all() -> None:
    ledger = Ledger()
    entry = submit(ledger, "a")
    ready(ledger)
    for attempt in range(2):
        given_out(ledger)
        assert ledger.failed("llm.0", 1, "a", attempt, retryable=True) is None
    given_out(ledger)
    assert ledger.failed("llm.0", 1, "a", 2, retryable=True) is entry


def test_a_lease_that_outlives_its_limit_on_a_living_worker_is_lost_and_tried_again() -> None:
    ledger = Ledger()
    entry = submit(ledger, "a")
    ready(ledger)
    given_out(ledger, now=100)
    worker = ledger.workers["llm.0"]
    assert ledger.overdue({"llm": 50}, 150) == []
    assert ledger.overdue({"llm": 50}, 151) == [entry]
    assert not ledger.lost(entry)
    assert given_out(ledger, now=151) == [("llm.0", "a")]
    assert entry.attempt == 1
    ledger.output(delta(worker, entry, 0), now=190)
    assert ledger.overdue({"llm": 50}, 202) == [], "an item that moves is not lost"
    assert not ledger.lost(entry)
    given_out(ledger)
    assert ledger.lost(entry), "the third loss is the last"
    assert given_out(ledger) == []


def test_a_cancelled_item_in_progress_at_a_death_takes_the_blame_from_an_innocent_one() -> None:
    ledger = Ledger()
    ready(ledger)
    for name in ("innocent", "cancelled"):
        submit(ledger, name)
    given_out(ledger)
    for name in ("innocent", "cancelled"):
        ledger.started("llm.0", 1, name, 0)
    ledger.cancel(["cancelled"])
    (again,) = ledger.down("llm.0", 1, commanded=False).requeued
    assert (again.id, again.deaths) == ("innocent", 0)


def test_the_queue_of_a_stage_that_is_given_up_is_handed_back() -> None:
    ledger = Ledger()
    entry = submit(ledger, "a")
    assert ledger.give_up("llm") == [entry]
    ready(ledger)
    assert given_out(ledger) == []


def test_an_id_is_accepted_once() -> None:
    ledger = Ledger()
    submit(ledger, "a")
    with pytest.raises(ValueError, match="already in the ledger"):
        submit(ledger, "a")


class Chaos(RuleBasedStateMachine):
    """Workers come, work, die and lie; every item ends exactly once with its outputs in order."""

    leases: Bundle[tuple[str, int, str, int]] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.jobs: dict[str, Recorder] = {}
        self.entries: dict[str, Entry] = {}
        self.epochs = {"llm.0": 0, "llm.1": 0}

    @rule()
    def submit(self) -> None:
        name = f"i{len(self.jobs)}"
        job = self.jobs[name] = Recorder()
        self.entries[name] = self.ledger.submit(name, "llm", job, priority=len(self.jobs) % 3)

    @rule(instance=st.sampled_from(["llm.0", "llm.1"]))
    def restart(self, instance: str) -> None:
        self.ledger.down(instance, self.epochs[instance], commanded=True)
        self.epochs[instance] += 1
        self.ledger.up(instance, self.epochs[instance], "llm")
        self.ledger.ready(instance, self.epochs[instance], 2)

    @rule(target=leases)
    def dispatch(self) -> tuple[str, int, str, int]:
        found = [(w.instance, w.epoch, e.id, e.attempt) for w, e in self.ledger.dispatch(0)]
        return found[0] if found else ("llm.0", -1, "none", 0)

    @rule(lease=leases, index=st.integers(0, 3))
    def output(self, lease: tuple[str, int, str, int], index: int) -> None:
        src, ep, item, attempt = lease
        message = LlmDelta(src=src, ep=ep, id=item, attempt=attempt, index=index, text=f"{attempt}:{index}")
        entry = self.ledger.output(message)
        if entry is not None:
            entry.job.output(message, [])

    @rule(lease=consumes(leases))
    def done(self, lease: tuple[str, int, str, int]) -> None:
        src, ep, item, attempt = lease
        entry = self.ledger.done(src, ep, item, attempt)
        if entry is not None:
            entry.job.done()

    @invariant()
    def ends_once_and_credit_is_kept(self) -> None:
        for job in self.jobs.values():
            assert len(job.ends) <= 1
            attempts = [int(o.split(":")[0]) for o in job.outputs]
            assert attempts == sorted(attempts)
        for worker in self.ledger.workers.values():
            assert worker.outstanding == sum(e.cost for e in worker.leased.values()) <= 2


Chaos.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestChaos = Chaos.TestCase


# --- background ---------------------------------------------------------------------------------------------


def background(ledger: Ledger, name: str = "b/1") -> Entry:
    return ledger.submit(name, "llm", Recorder(), priority=0, background=True)


def test_background_work_comes_last_and_takes_no_credit() -> None:
    ledger = Ledger()
    worker = ready(ledger, credit=2)
    background(ledger)
    for name in ("s/1", "s/2", "s/3"):
        submit(ledger, name, priority=1 << 50)
    assert [i for _, i in given_out(ledger)] == ["s/1", "s/2"]
    ledger.done("llm.0", 1, "s/1", 0)
    assert [i for _, i in given_out(ledger)] == ["s/3", "b/1"]
    assert worker.outstanding == 2
    submit(ledger, "s/4")
    ledger.done("llm.0", 1, "s/2", 0)
    assert [i for _, i in given_out(ledger)] == ["s/4"], "what is out in the background holds nothing up"


def test_background_work_stays_behind_after_a_death_and_holds_nothing_up() -> None:
    ledger = Ledger()
    ready(ledger)
    background(ledger)
    given_out(ledger)
    ledger.started("llm.0", 1, "b/1", 0)
    fallout = ledger.down("llm.0", 1, commanded=False)
    assert [entry.id for entry in fallout.requeued] == ["b/1"]
    submit(ledger, "s/1", priority=1 << 50)
    ready(ledger, epoch=2)
    assert [i for _, i in given_out(ledger)] == ["s/1", "b/1"]
    ledger.started("llm.0", 2, "b/1", 1)
    assert [entry.id for entry in ledger.down("llm.0", 2, commanded=False).poisoned] == ["b/1"]


def test_background_work_may_wait_in_its_worker_but_not_stand_still() -> None:
    ledger = Ledger()
    ready(ledger)
    entry = background(ledger)
    given_out(ledger)
    assert ledger.overdue({"llm": 10}, 1000) == []
    ledger.started("llm.0", 1, "b/1", 0, 1000)
    assert ledger.overdue({"llm": 10}, 1005) == []
    assert ledger.overdue({"llm": 10}, 1011) == [entry]


def test_what_yields_waits_for_all_other_speech_and_for_a_worker_that_has_nothing_else() -> None:
    ledger = Ledger()
    for stage in ("lipsync", "encode"):
        ledger.up(f"{stage}.0", 1, stage)
        ledger.ready(f"{stage}.0", 1, 4)
    for name in ("pushy/1", "pushy/2"):
        ledger.submit(name, "encode", Recorder(), priority=100, yields=True)
    assert dispatched(ledger) == ["pushy/1"]
    ledger.submit("polite/1", "lipsync", Recorder(), priority=50)
    ledger.submit("offline/1", "lipsync", Recorder(), priority=1000)
    assert dispatched(ledger) == ["polite/1", "offline/1"]
    ledger.done("encode.0", 1, "pushy/1", 0)
    assert dispatched(ledger) == [], "the segment of the one that waits comes to encode next"
    ledger.submit("polite/2", "encode", Recorder(), priority=50)
    assert dispatched(ledger) == ["polite/2"]
    ledger.done("lipsync.0", 1, "polite/1", 0)
    ledger.done("encode.0", 1, "polite/2", 0)
    assert dispatched(ledger) == ["pushy/2"], "what has no deadline is not waited for"


def test_what_is_postponed_comes_behind_and_yields() -> None:
    ledger = Ledger()
    for name, priority in (("pushy/1", 10), ("polite/1", 20), ("pushy/2", 30)):
        ledger.submit(name, "encode", Recorder(), priority=priority)
    ledger.postpone("pushy/", 1000)
    ledger.up("encode.0", 1, "encode")
    ledger.ready("encode.0", 1, 4)
    assert dispatched(ledger) == ["polite/1"]
    ledger.done("encode.0", 1, "polite/1", 0)
    assert dispatched(ledger) == ["pushy/1"]


def dispatched(ledger: Ledger) -> list[str]:
    return [entry.id for _, entry in ledger.dispatch(0)]
