"""The ledger: every accepted item is either queued, leased to one worker incarnation, or finished.

Rules. Credit decides who gets work. A lease ends with DONE, FAILED, CANCELLED or the worker's
death; a dead worker's items go to the front of their queue with the next attempt number. Outputs count only
from the attempt in force and in order, so a replay collides with its original. A death counts against an
item only if it was the only one in progress; after two of those the item is poison and is set aside. Processes
that stood side by side and die at almost the same time are one accident, which the item merely saw twice.

Background items are for workers that do them when they have nothing else: they come last in every queue, also
after a death, take no credit, and may wait for as long as the worker has other work.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import count

from broker.ipc.messages import Output
from broker.workers.ledger.entry import Entry, Fallout, Job, Worker
from models.meter import Meter

REFUSED = "messages.refused"
POISON_DEATHS = 2
"""Workers an item may kill while alone."""
ACCIDENT_US = 2_000_000
"""Deaths within this time count once, of processes that were all there before the first."""
MAX_FAILURES = 3
"""Attempts of an item whose worker reports a retryable failure."""


OF_SPEECH = frozenset({"tts", "lipsync", "fallback", "encode"})
"""Stages that a segment passes through; they share the processor."""


class Ledger:
    """All stages' queues and leases.

    Args:
        meter: counts ``messages.refused``: those of an older incarnation, attempt or order; and
            ``replays.<stage>``: items that are tried again.
    """

    def __init__(self, meter: Meter | None = None) -> None:
        self.workers: dict[str, Worker] = {}
        self._entries: dict[str, Entry] = {}
        self._queues: dict[str, list[tuple[int, int, int, Entry]]] = {}
        self._order = count()
        self._moved: dict[str, int] = {}
        self._draining: set[str] = set()
        """Instances that get no more work."""
        self._meter = meter or Meter()

    # --- work ---

    def submit(
        self,
        item_id: str,
        stage: str,
        job: Job,
        *,
        priority: int,
        cost: int = 1,
        background: bool = False,
        yields: bool = False,
        near: Entry | None = None,
    ) -> Entry:
        """Accept an item. Ids are deterministic: one that is already known is a programming error."""
        if item_id in self._entries:
            raise ValueError(f"item {item_id} is already in the ledger")
        entry = Entry(item_id, stage, job, priority, 0 if background else cost, background, yields, near)
        self._entries[item_id] = entry
        self._push(entry, front=False)
        return entry

    def _again(self, entry: Entry) -> None:
        """What was sent of the attempt so far counts no more."""
        entry.attempt += 1
        self._meter.count(f"replays.{entry.stage}")

    def _push(self, entry: Entry, *, front: bool) -> None:
        queue = self._queues.setdefault(entry.stage, [])
        rank = 2 if entry.background else 0 if front else 1
        heapq.heappush(queue, (rank, entry.priority, next(self._order), entry))

    def dispatch(self, now: int) -> Iterator[tuple[Worker, Entry]]:
        """Lease queued items to workers with credit, most urgent first; the caller sends them.

        A caller that cannot send gives the item back with ``unlease``.
        """
        for stage, queue in self._queues.items():
            while queue:
                entry = queue[0][3]
                if entry.void:
                    heapq.heappop(queue)
                    continue
                worker = self._choose(stage, entry)
                if worker is None:
                    break
                heapq.heappop(queue)
                self._lease(worker, entry, now)
                yield worker, entry

    def postpone(self, owner: str, by: int) -> None:
        """What is queued and begins with ``owner`` comes so many microseconds later, and yields."""
        for queue in self._queues.values():
            for entry in (work[3] for work in queue if work[3].id.startswith(owner)):
                entry.priority, entry.yields = entry.priority + by, True
            queue[:] = sorted((rank, entry.priority, order, entry) for rank, _, order, entry in queue)

    def _speech_before(self, entry: Entry) -> bool:
        """Whether speech that does not yield and is wanted earlier is on its way, in whatever stage."""
        others = (e for e in self._entries.values() if not e.yields and e.stage in OF_SPEECH)
        return any(other.priority < entry.priority for other in others)

    def _choose(self, stage: str, entry: Entry) -> Worker | None:
        takes = (w for w in self.workers.values() if w.stage == stage and w.instance not in self._draining)
        free = [worker for worker in takes if worker.room(entry)]
        if not free or (entry.yields and self._speech_before(entry)):
            return None
        near = "" if entry.near is None else entry.near.host
        return min(free, key=lambda worker: (worker.instance != near, worker.outstanding))

    def _lease(self, worker: Worker, entry: Entry, now: int) -> None:
        entry.moved_at = now
        entry.worker = worker
        entry.host = worker.instance
        entry.outputs = 0
        entry.started = False
        worker.leased[entry.id] = entry
        worker.outstanding += entry.cost
        worker.alone = entry.alone

    def _release(self, entry: Entry) -> None:
        worker = entry.worker
        if worker is not None and worker.leased.pop(entry.id, None) is not None:
            worker.outstanding -= entry.cost
        entry.worker = None

    def unlease(self, entry: Entry) -> None:
        """The item could not be sent: back to the front, the attempt was none."""
        self._release(entry)
        self._push(entry, front=True)

    # --- what workers say ---

    def _leased(self, src: str, epoch: int, item_id: str, attempt: int) -> Entry | None:
        worker = self.workers.get(src)
        if worker is None or worker.epoch != epoch:
            self._meter.count(REFUSED)
            return None
        entry = worker.leased.get(item_id)
        if entry is None or entry.attempt != attempt:
            self._meter.count(REFUSED)
            return None
        return entry

    def started(self, src: str, epoch: int, item_id: str, attempt: int, now: int = 0) -> None:
        """The worker has taken the item up."""
        entry = self._leased(src, epoch, item_id, attempt)
        if entry is not None:
            entry.started = True
            entry.moved_at = now
            self._sign(src, now)

    def output(self, message: Output, now: int = 0) -> Entry | None:
        """The entry that this output belongs to, or None when it is to be ignored."""
        entry = self._leased(message.src, message.ep, message.id, message.attempt)
        if entry is None:
            return None
        self._sign(message.src, now)  # also by an item that is not wanted any more
        if entry.void:
            return None
        if message.index != entry.outputs:
            self._meter.count(REFUSED)
            return None
        entry.started = True
        entry.moved_at = now
        entry.outputs += 1
        return entry

    def done(self, src: str, epoch: int, item_id: str, attempt: int) -> Entry | None:
        """The item is finished; None when that is void or unknown."""
        entry = self._leased(src, epoch, item_id, attempt)
        if entry is None:
            return None
        self._release(entry)
        self._entries.pop(entry.id, None) if not entry.void else None
        return None if entry.void else entry

    def failed(self, src: str, epoch: int, item_id: str, attempt: int, *, retryable: bool) -> Entry | None:
        """The entry that failed for good; None when it is tried again or does not count."""
        entry = self._leased(src, epoch, item_id, attempt)
        if entry is None:
            return None
        self._release(entry)
        if entry.void:
            return None
        entry.failures += 1
        if retryable and entry.failures < MAX_FAILURES:
            self._again(entry)
            self._push(entry, front=True)
            return None
        self._entries.pop(entry.id, None)
        return entry

    def cancelled(self, src: str, epoch: int, item_id: str, attempt: int) -> None:
        """The worker gave the item up; one that nobody cancelled goes back to the queue."""
        entry = self._leased(src, epoch, item_id, attempt)
        if entry is None:
            return
        self._release(entry)
        if not entry.void:
            self._again(entry)
            self._push(entry, front=True)

    def overdue(self, limits: dict[str, int], now: int) -> list[Entry]:
        """Items that have not moved for longer than their stage's limit (microseconds) though their worker lives.

        The caller tells each one's worker to give it up, then calls ``lost``.
        """
        return [
            entry
            for worker in self.workers.values()
            for entry in worker.leased.values()
            if not entry.void
            and (entry.started or not entry.background)
            and now - entry.moved_at > limits.get(entry.stage, 1 << 62)
        ]

    def lost(self, entry: Entry) -> bool:
        """Count a lost lease; True when the item will not be tried again and its job is to be failed."""
        self._release(entry)
        entry.failures += 1
        if entry.failures < MAX_FAILURES:
            self._again(entry)
            self._push(entry, front=True)
            return False
        self._entries.pop(entry.id, None)
        return True

    def give_up(self, stage: str) -> list[Entry]:
        """Take every queued item out of a stage that nobody will serve."""
        entries = [e for e in self._entries.values() if e.stage == stage and e.worker is None]
        for entry in entries:
            entry.void = True
            del self._entries[entry.id]
        return entries

    def cancel(self, item_ids: Sequence[str]) -> dict[Worker, list[str]]:
        """Void these items; returns which workers hold some of them and must be told."""
        told: dict[Worker, list[str]] = {}
        for item_id in item_ids:
            entry = self._entries.pop(item_id, None)
            if entry is None:
                continue
            entry.void = True
            if entry.worker is not None:
                told.setdefault(entry.worker, []).append(item_id)
        return told

    # --- membership ---

    def up(self, instance: str, epoch: int, stage: str) -> Worker:
        """A new incarnation; it gets work once it has credit."""
        worker = self.workers[instance] = Worker(instance, epoch, stage)
        return worker

    def ready(self, src: str, epoch: int, credit: int, now: int = 0) -> Worker | None:
        """The worker is warm."""
        worker = self.workers.get(src)
        if worker is None or worker.epoch != epoch:
            self._meter.count(REFUSED)
            return None
        worker.credit, worker.ready_at = credit, now
        self._sign(src, now)
        return worker

    def _sign(self, src: str, now: int) -> None:
        worker = self.workers[src]
        worker.moved_at = now
        self._moved[worker.stage] = now

    def moved(self, stage: str, item_id: str) -> int:
        """When the worker that holds this item, or any of the stage when none does, last gave a sign of life: it
        became ready, took up an item, sent an output, or ended. 0: never.
        """
        entry = self._entries.get(item_id)
        worker = None if entry is None else entry.worker
        return worker.moved_at if worker is not None else self._moved.get(stage, 0)

    def serving(self, stage: str) -> bool:
        """Whether a warm worker of this stage is there, and takes work."""
        return any(
            w.stage == stage and w.credit and w.instance not in self._draining for w in self.workers.values()
        )

    def drain(self, instance: str) -> list[str]:
        """Give this instance no more work; returns the background items that it holds."""
        self._draining.add(instance)
        worker = self.workers.get(instance)
        return [] if worker is None else [e.id for e in worker.leased.values() if e.background and not e.void]

    def resume(self, instance: str) -> None:
        """Give this instance work again."""
        self._draining.discard(instance)

    def held(self, instance: str) -> int:
        """Items that this instance holds, cancelled ones that it has not let go included."""
        worker = self.workers.get(instance)
        return 0 if worker is None else len(worker.leased)

    def down(
        self, instance: str, epoch: int, *, commanded: bool, in_hand: Sequence[str] = (), now: int = 0
    ) -> Fallout:
        """Fence an incarnation: its leases go back to the front, or are set aside as poison.

        Args:
            in_hand: items in progress at the death by the worker's own record, beside those it reported.
        """
        worker = self.workers.get(instance)
        if worker is None or worker.epoch != epoch:
            return Fallout([], [])
        self._sign(instance, now)
        del self.workers[instance]
        held = [e for e in worker.leased.values() if not e.void]
        in_progress = [e for e in worker.leased.values() if e.started or e.id in in_hand]
        if not commanded:
            if len(in_progress) == 1:  # a cancelled one may be the culprit too
                self._blame(in_progress[0], worker, now)
            for entry in in_progress:
                # A worker has nothing else in progress beside a background item: its guilt is never in doubt.
                entry.alone = not entry.background
        fallout = Fallout([], [])
        for entry in held:
            self._release(entry)
            if entry.deaths >= POISON_DEATHS:
                self._entries.pop(entry.id, None)
                fallout.poisoned.append(entry)
            else:
                self._again(entry)
                self._push(entry, front=True)
                fallout.requeued.append(entry)
        return fallout

    @staticmethod
    def _blame(entry: Entry, worker: Worker, now: int) -> None:
        """A process that was there when another died with the item, and dies soon after, proves nothing."""
        beside = worker.instance != entry.died_on and worker.ready_at <= entry.died_at
        if not (entry.deaths and beside and now - entry.died_at < ACCIDENT_US):
            entry.deaths += 1
            entry.died_on, entry.died_at = worker.instance, now

    # --- status ---

    def backlog(self) -> dict[str, dict[str, int]]:
        """``status.queues``: items and media ms per stage, queued and leased."""
        table: dict[str, dict[str, int]] = {}
        for entry in self._entries.values():
            row = table.setdefault(entry.stage, {"items": 0, "media_ms": 0})
            row["items"] += 1
            row["media_ms"] += entry.job.media_ms
        return table
