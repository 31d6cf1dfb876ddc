"""What a killed broker leaves is whole, wherever it was killed: rings, state, files."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.journal.files import Files
from broker.journal.journal import Journal, Store
from broker.journal.layout import PAGE, SLOT, Layout
from broker.journal.ring import Ring
from broker.journal.state import Slots, State, pack_lines, pack_state, unpack_lines, unpack_state
from configs.schema import Ring as RingConfig

SMALL = RingConfig(bytes_per_session=1 << 20, events_per_session=16)


class KilledError(Exception):
    """The process is gone."""


class Tearing:
    """A buffer whose writer is killed after so many bytes, in the middle of whatever it writes."""

    def __init__(self, data: bytearray, bytes_left: int) -> None:
        self.data = memoryview(data)
        self.left = bytes_left

    def __getitem__(self, key: slice) -> Any:
        return self.data[key]

    def __setitem__(self, key: slice, value: Any) -> None:
        part = bytes(value)[: self.left]
        self.data[key.start : key.start + len(part)] = part
        self.left -= len(value)
        if self.left < 0:
            raise KilledError


def header_of(number: int, payload: bytes) -> bytes:
    return bytes(msgpack.packb({"seq": number, "crc32": zlib.crc32(payload)}))


def message(number: int, size: int) -> tuple[int, bytes, bytes]:
    payload = random.Random(number).randbytes(size)
    return number, header_of(number, payload), payload


def adopted(data: bytearray, layout: Layout) -> Ring:
    ring = Ring(memoryview(data), layout.media)
    ring.adopt()
    return ring


@given(st.lists(st.integers(0, 120), min_size=1, max_size=60), st.integers(0, 9000), st.integers(4, 9))
def test_a_ring_killed_at_any_byte_is_whole_to_the_newest(sizes: list[int], cut: int, slots: int) -> None:
    layout = Layout.of(1, 1, 400, slots)
    data = bytearray(layout.total)
    ring = Ring(Tearing(data, cut), layout.media)
    before: list[int] = []
    number = -1
    try:
        for number, size in enumerate(sizes):
            ring.add(*message(number, size))
            before = [kept.number for kept in ring.read(0, 100, 1 << 20)]
        number += 1
    except KilledError:
        pass
    kept = adopted(data, layout).read(0, 100, 1 << 20)
    for k in kept:
        assert (k.number, k.header, bytes(k.payload)) == message(k.number, sizes[k.number])
    numbers = [k.number for k in kept]
    assert numbers == list(range(number - len(numbers), number)) or numbers == list(
        range(number - len(numbers) + 1, number + 1)
    ), "consecutive, to the newest"
    if numbers and before:
        assert numbers[-1] >= before[-1], "nothing that was whole is lost at the newest end"


@given(st.lists(st.integers(0, 500), min_size=1, max_size=80))
def test_a_ring_goes_on_where_another_has_ended(sizes: list[int]) -> None:
    layout = Layout.of(1, 1, 600, 8)
    data = bytearray(layout.total)
    ring, alone = Ring(memoryview(data), layout.media), Ring(memoryview(bytearray(layout.total)), layout.media)
    for number, size in enumerate(sizes):
        for one in (ring, alone):
            one.add(*message(number, size))
        if number % 3 == 2:
            ring = adopted(data, layout)
        assert [(k.number, bytes(k.payload)) for k in ring.read(0, 100, 1 << 20)] == [
            (k.number, bytes(k.payload)) for k in alone.read(0, 100, 1 << 20)
        ]
        assert (ring.oldest, ring.newest) == (alone.oldest, alone.newest)


def test_a_damaged_payload_is_not_served_and_neither_is_what_stands_before_it() -> None:
    layout = Layout.of(1, 1, 4000, 64)
    data = bytearray(layout.total)
    ring = Ring(memoryview(data), layout.media)
    for number in range(8):
        ring.add(*message(number, 100))
    middle = ring.read(3, 1, 1)[0]
    at = data.index(bytes(middle.payload))
    data[at + 50] ^= 1
    found = adopted(data, layout)
    assert [k.number for k in found.read(5, 10, 1 << 20)] == [5, 6, 7]
    assert [k.number for k in found.read(0, 10, 1 << 20)] == [4, 5, 6, 7]
    assert found.oldest == 4


@given(st.integers(0, SLOT.size - 1), st.integers(1, 255))
def test_a_damaged_slot_is_no_message(byte: int, change: int) -> None:
    layout = Layout.of(1, 1, 4000, 16)
    data = bytearray(layout.total)
    ring = Ring(memoryview(data), layout.media)
    for number in range(5):
        ring.add(*message(number, 10))
    data[layout.media.index_at + 4 * SLOT.size + byte] ^= change
    assert adopted(data, layout).newest == 3


def test_messages_that_are_too_large_for_the_ring_are_the_only_one() -> None:
    layout = Layout.of(1, 1, 200, 16)
    data = bytearray(layout.total)
    ring = Ring(memoryview(data), layout.media)
    ring.add(*message(0, 10))
    ring.add(*message(1, 1000))
    assert [k.number for k in ring.read(0, 10, 1 << 20)] == [1]
    assert ring.read(2, 10, 1 << 20) == []
    assert adopted(data, layout).newest is None
    ring.add(*message(2, 10))
    assert (ring.oldest, ring.newest) == (2, 2)


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=12), st.integers(0, 2500))
def test_one_whole_record_is_there_at_every_moment(records: list[bytes], cut: int) -> None:
    layout = Layout.of(1, 1, 1, 1)
    data = bytearray(layout.total)
    assert Slots(memoryview(data), layout.state).read() is None
    slots = Slots(Tearing(data, cut), layout.state)
    written = -1
    try:
        for written, record in enumerate(records):  # noqa: B007 - used below
            slots.write(record)
        written += 1
    except KilledError:
        pass
    found = Slots(memoryview(data), layout.state).read()
    before, now = records[written - 1] if written > 0 else None, records[min(written, len(records) - 1)]
    assert found in (before, now)


def test_records_that_are_too_long_lose_what_matters_least() -> None:
    state = unpack_state(pack_state(State(open=tuple(range(100_000, 120_000))), 2000))
    assert state.open[0] == 100_000
    lines = [("user", "a" * 50), ("assistant", "b" * 50), ("user", "c")]
    assert unpack_lines(pack_lines(lines, 80)) == lines[1:]
    assert unpack_lines(None) == []
    with pytest.raises(ValueError, match="version"):
        unpack_state(pack_state(State(v=99), 2000))


@pytest.mark.parametrize(
    ("event", "media", "wanted"),
    [
        ({"n": 5, "event": "turn.ended", "turn": 2}, {"seq": 7}, State(seq=8, n=6, open=(3,))),
        ({"n": 4, "event": "turn.ended", "turn": 2}, {"seq": 7}, State(seq=8, n=5, open=(2, 3))),
        ({"n": 5, "event": "session.ended", "turn": 0}, None, State(seq=8, n=6, open=(2, 3), ended_at=99)),
        (
            {"n": 4, "event": "sentence", "turn": 2},
            {"seq": 8, "gen": 1, "pts": 320, "dur": 640, "frames": 16, "degraded": "skip", "sid": "more"},
            State(seq=9, n=5, open=(2, 3), gen=1, end=960, frames=16, media_us=640, degraded_us=640),
        ),
    ],
)
def test_a_message_that_is_newer_than_the_state_counts(event: Any, media: Any, wanted: State) -> None:
    state = State(seq=8, n=5, open=(2, 3))
    state.catch_up(msgpack.packb(event), msgpack.packb(media) if media else None, 99)
    assert state == wanted


# --- files ---


def fill(store: Store, first: int, last: int, size: int = 20_000) -> None:
    for number in range(first, last):
        store.keep(store.media, *message(number, size))
        store.save(State(seq=number + 1))


def numbers(ring: Ring) -> list[int]:
    return [kept.number for kept in ring.read(0, 1 << 20, 1 << 40)]


def test_a_successor_finds_what_was_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "boot", SMALL)
    store = journal.open("s", b"init", "video/mp4", b"settings")
    fill(store, 0, 70)
    store.keep(store.events, 0, msgpack.packb({"n": 0, "event": "session.started"}), b"")
    store.lines([("user", "Hello?"), ("assistant", "Yes.")])
    store.settings(b"other settings")
    journal.open("t", b"init", "video/mp4", b"")
    found = {one.cold.sid: one for one in Journal(tmp_path, "boot", SMALL).take()}
    assert found.keys() == {"s", "t"}
    one = found["s"]
    assert (one.cold.init, one.cold.mime, one.cold.settings) == (b"init", "video/mp4", b"other settings")
    assert (one.state.seq, one.state.n) == (70, 1)
    assert one.lines == [("user", "Hello?"), ("assistant", "Yes.")]
    assert numbers(one.store.media) == numbers(store.media)
    assert numbers(one.store.media)[-1] == 69
    fill(one.store, 70, 140)
    assert numbers(one.store.media)[-1] == 139


def test_the_serving_ring_is_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "boot", SMALL)
    store = journal.open("s", b"init", "video/mp4", b"")
    fill(store, 0, 3)
    payload = store.media.read(1, 1, 1)[0].payload
    assert isinstance(payload, memoryview)
    content = (tmp_path / "s" / "ring").read_bytes()
    at = content.index(bytes(payload))
    with (tmp_path / "s" / "ring").open("r+b") as file:
        file.seek(at)
        file.write(b"other")
    assert bytes(payload[:5]) == b"other"


def test_what_another_start_of_the_daemon_has_left_goes(tmp_path: Path) -> None:
    Journal(tmp_path, "boot", SMALL).open("s", b"init", "video/mp4", b"")
    assert Journal(tmp_path, "another", SMALL).take() == []
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("name", ["ring", "session"])
@pytest.mark.parametrize("damage", ["missing", "empty", "short", "noise"])
def test_a_torn_record_costs_that_session_alone(tmp_path: Path, name: str, damage: str) -> None:
    journal = Journal(tmp_path, "boot", SMALL)
    for sid in ("s", "t"):
        fill(journal.open(sid, b"init", "video/mp4", b""), 0, 3)
    path = tmp_path / "s" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        noise = os.urandom(PAGE * 20) + content[PAGE * 20 :] if name == "ring" else os.urandom(len(content))
        path.write_bytes({"empty": b"", "short": content[: len(content) // 2], "noise": noise}[damage])
    successor = Journal(tmp_path, "boot", SMALL)
    assert [one.cold.sid for one in successor.take()] == ["t"]
    assert not (tmp_path / "s").exists()
    assert successor.report()["would_be_lost"] == []


def test_files_go_with_their_session(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "boot", SMALL)
    store = journal.open("s", b"init", "video/mp4", b"")
    fill(store, 0, 3)
    held = store.media.read(0, 1, 1)[0].payload
    journal.close(store)
    assert os.listdir(tmp_path) == []
    assert len(held) == 20_000, "who still reads it can"
    assert journal.report()["bytes"] == 0


def test_beyond_the_limit_sessions_are_served_from_memory(tmp_path: Path) -> None:
    one = Journal(tmp_path / "x", "boot", SMALL).open("s", b"", "", b"").size
    journal = Journal(tmp_path / "y", "boot", SMALL, max_bytes=2 * one + 1)
    stores = [journal.open(f"s{k}", b"init", "video/mp4", b"") for k in range(3)]
    assert [store.survives for store in stores] == [True, True, False]
    fill(stores[2], 0, 80)
    assert numbers(stores[2].media)[-1] == 79
    report = journal.report()
    assert report["would_be_lost"] == ["s2"]
    assert "journal.max_bytes" in report["reason"]
    assert report["bytes"] <= report["max_bytes"]
    journal.close(stores[0])
    assert journal.open("s3", b"init", "video/mp4", b"").survives


def test_a_folder_that_cannot_be_used_costs_survival_alone(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    place.write_text("a file, where the folder should be")
    journal = Journal(place, "boot", SMALL)
    store = journal.open("s", b"init", "video/mp4", b"")
    fill(store, 0, 5)
    assert numbers(store.media) == [0, 1, 2, 3, 4]
    assert journal.report()["would_be_lost"] == ["s"]
    assert "exists" in journal.report()["reason"]


FULL = """
import os, sys
from pathlib import Path
from broker.journal.journal import Journal
from tests.unit.test_journal import SMALL, fill, numbers
folder = Path(sys.argv[1])
journal = Journal(folder, "boot", SMALL, max_bytes=1 << 30)
store = journal.open("s", b"init", "video/mp4", b"")
fill(store, 0, 5)
assert store.survives
(folder / "other").write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize))
fill(store, 5, 45)
assert not store.survives
assert numbers(store.media) == list(range(45)), numbers(store.media)
report = journal.report()
assert report["would_be_lost"] == ["s"] and "space" in report["reason"], report
(folder / "more").write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize))
assert not journal.open("t", b"init", "video/mp4", b"").survives
assert sorted(os.listdir(folder)) == ["more", "other"]
"""


def test_a_disk_that_is_full_costs_survival_and_nothing_of_the_ring(tmp_path: Path) -> None:
    mounted = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=2m tmpfs {tmp_path} && exec "$@"', "sh"]
    if subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system of one's own can be mounted here")
    command = [*mounted, sys.executable, "-c", FULL, str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


def test_room_is_taken_before_it_is_written(tmp_path: Path) -> None:
    """A hole in a mapped file would be a SIGBUS on a full disk."""
    layout = Layout.of(1 << 20, 16, 1 << 20)
    files = Files.create(tmp_path / "s", layout)
    ring = Ring(files.buffer, layout.media, files.room(layout.media))
    for number in range(60):
        ring.add(*message(number, 30_000))
        at = layout.media.data_at + ring._head % layout.media.size - 1
        assert os.lseek(files._descriptor, at, os.SEEK_DATA) == at
    files.close(remove=True)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    for k in range(5):
        journal = Journal(tmp_path, f"boot{k}", SMALL)
        store = journal.open("s", b"init", "video/mp4", b"")
        store.lose("a test")
        fill(store, 0, 2)
        journal.close(store)
        other = journal.open("t", b"init", "video/mp4", b"")
        (tmp_path / "t" / "session").write_bytes(b"torn")
        assert Journal(tmp_path, f"boot{k}", SMALL).take() == []
        journal.close(other)
    fds = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert not [fd for fd in fds if fd.is_symlink() and str(tmp_path) in os.readlink(fd)]


def test_a_state_is_small() -> None:
    assert len(msgspec.msgpack.encode(State(1 << 20, 3, 1 << 40, 2, (1 << 40, 1 << 41), 1 << 20))) < 100
