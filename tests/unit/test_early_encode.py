"""Encode begins with a turn's first segment before lip-sync has drawn all of it."""

from __future__ import annotations

from typing import Any

from broker.ipc.messages import LipsyncCrops
from broker.workers.ledger import Entry
from tests.support.floor import QUANTUM, S16_48K, Floor, contiguous

SPEECH = bytes(2 * 48_000 * 2)


class ByHand(Floor):
    """Lip-sync and encode are the test's own hands."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_us.update(lipsync=None, encode=None)

    def speak(self, **settings: Any) -> None:
        """Begin a turn of 2 s, up to what is asked of lip-sync."""
        self.session(**settings).feed(S16_48K, memoryview(SPEECH), last=True)
        self.run(self.time + 20_000)

    def held(self, stage: str) -> list[Entry]:
        return [e for w in self.ledger.workers.values() for e in w.leased.values() if e.stage == stage]

    def asked(self) -> list[tuple[str, bool, int, list[bytes]]]:
        """What was asked of encode since the last call: name, whether ahead, from which frame, crops."""
        found = [(i.id.rsplit("/", 1)[1], i.ahead, i.start, crops) for i, (_, *crops) in self.encode]
        self.encode.clear()
        return found

    def draw(self, start: int, frames: int) -> None:
        """Crops of the first segment."""
        [entry, *_] = self.held("lipsync")
        crops = LipsyncCrops(
            src="lipsync.0", ep=1, id=entry.id, attempt=0, index=entry.outputs, start=start, frames=frames
        )
        assert self.ledger.output(crops, self.time) is entry
        entry.job.output(crops, [memoryview(b"%d" % start)])
        self.go_on()

    def end(self, stage: str, *, retry: bool = False) -> None:
        [entry, *_] = self.held(stage)
        if retry:
            assert self.ledger.failed(f"{stage}.0", 1, entry.id, entry.attempt, retryable=True) is None
        else:
            assert self.ledger.done(f"{stage}.0", 1, entry.id, entry.attempt) is entry
            entry.job.done()
        self.go_on()

    def go_on(self) -> None:
        for sid in self.live:
            self.touch(sid)
        self.run(self.time + 1)


def test_sound_and_crops_are_encoded_as_they_come() -> None:
    floor = ByHand()
    floor.speak()
    assert floor.asked() == [("0.0", True, 0, [])]
    floor.draw(0, 2)
    assert floor.asked() == [], "one after the other"
    floor.draw(2, 2)
    floor.end("encode")
    assert floor.asked() == [("0.1", True, 0, [b"0", b"2"])]
    floor.end("encode")
    assert floor.asked() == [], "there is nothing new"
    floor.draw(4, 2)
    assert floor.asked() == [("0.2", True, 4, [b"4"])]
    floor.draw(6, 2)
    assert floor.asked() == [("0", False, 0, [b"0", b"2", b"4", b"6"])], "all of them, for any process"


def test_what_was_begun_by_a_process_that_fails_is_not_tried_again() -> None:
    floor = ByHand()
    floor.speak()
    floor.end("encode")
    floor.draw(0, 2)
    floor.asked()
    floor.end("encode", retry=True)
    assert floor.asked() == [("0.1", True, 8, [])], "no crops: one of them may be to blame"
    floor.end("encode")
    floor.draw(2, 2)
    assert floor.asked() == []
    floor.draw(4, 4)
    assert floor.asked() == [("0", False, 0, [b"0", b"2", b"4"])]


def test_a_session_without_a_clock_is_not_encoded_early() -> None:
    floor = ByHand()
    floor.speak(mode="offline")
    floor.draw(0, 2)
    assert floor.asked() == []


def test_a_turn_that_was_begun_ahead_is_published_whole() -> None:
    floor = Floor()
    floor.session().feed(S16_48K, memoryview(SPEECH), last=True)
    floor.run(20_000_000)
    assert contiguous(floor.media)
    assert sum(h["dur"] for _, h in floor.media) == 7 * QUANTUM
    assert [i.ahead for i, _ in floor.encode].count(True) == 1
    assert not floor.ledger.backlog()
