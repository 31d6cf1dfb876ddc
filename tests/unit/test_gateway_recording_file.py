"""A recording that grows: cuts taken off its end, going on where another process stopped; and what is kept."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any, cast

import pytest

from clients.gateway.recording_file import RecordingFile
from clients.gateway.recordings import Recordings
from clients.mp4 import Segment, film, place
from configs.schema import Recordings as Settings
from tests.unit.test_mp4 import QUANTUM, payload, segment

INIT = b"\0\0\0\x10ftypiso6\0\0\0\0" + b"\0\0\0\x08moov"
TALK = [
    segment(0, 0, 0, 1),
    segment(1, 0, QUANTUM, 4),
    segment(2, 0, 5 * QUANTUM, 2),
    segment(3, 1, 3 * QUANTUM, 1),
    segment(4, 1, 4 * QUANTUM, 2),
]


def numbers(path: Path) -> tuple[int, bool]:
    """What a process that opens it finds."""
    file = RecordingFile(path)
    file.close()
    return file.next_seq, file.empty


def written(path: Path, *segments: Segment) -> bytes:
    file = RecordingFile(path)
    if file.empty:
        file.begin(INIT)
    for one in segments:
        file.append(*one)
    file.close()
    return path.read_bytes()


def test_it_is_the_film_of_what_was_published(tmp_path: Path) -> None:
    made = written(tmp_path / "a.mp4", *TALK)
    assert stat.S_IMODE((tmp_path / "a.mp4").stat().st_mode) == 0o600
    assert made == INIT + b"".join(
        (payload(1), payload(2, seq=1, pts=QUANTUM, fill=1), *(s.payload for s in TALK[3:]))
    )
    assert len(made) == len(INIT) + sum(map(len, film(TALK)))


@pytest.mark.parametrize("stop", range(len(TALK) + 1))
def test_another_process_goes_on_where_one_was_killed(tmp_path: Path, stop: int) -> None:
    whole = written(tmp_path / "a.mp4", *TALK)
    written(tmp_path / "b.mp4", *TALK[:stop])
    assert numbers(tmp_path / "b.mp4") == (stop, False)
    assert written(tmp_path / "b.mp4", *TALK) == whole


def test_a_segment_that_was_not_written_to_its_end_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    whole = written(path, *TALK)
    last = len(TALK[-1].payload)
    for torn in range(1, last, 7):
        path.write_bytes(whole[:-torn])
        assert numbers(path) == (4, False)
        assert path.stat().st_size == len(whole) - last
    path.write_bytes(os.urandom(5))
    assert numbers(path) == (0, True)


def test_a_segment_says_where_it_stands() -> None:
    assert place(payload(3, seq=7, pts=5 * QUANTUM)) == (7, 5 * QUANTUM, 3 * QUANTUM)


def test_what_is_too_old_and_the_oldest_of_what_is_too_much_goes_and_what_grows_stays(tmp_path: Path) -> None:
    recordings = Recordings(tmp_path, Settings(max_bytes=250, keep_h=1), cast(Any, None), cast(Any, None))
    growing = recordings._files["growing"] = RecordingFile(tmp_path / "growing.mp4")
    growing.begin(INIT)
    for name, age_s in (("growing", 7200), ("old", 3700), ("first", 300), ("second", 200), ("third", 100)):
        path, then = tmp_path / f"{name}.mp4", time.time() - age_s
        if name != "growing":
            path.write_bytes(bytes(100))
        os.utime(path, (then, then))
    assert recordings._sweep() == 200 + len(INIT)
    growing.close()
    assert {path.stem for path in tmp_path.glob("*.mp4")} == {"growing", "second", "third"}


def test_a_reader_gets_the_end_that_another_process_has_left_as_it_was_before_a_cut(tmp_path: Path) -> None:
    """The cut came when nobody wrote: it takes off what was written long ago."""
    path = tmp_path / "a.mp4"
    whole = written(path, *TALK[:3])
    file = RecordingFile(path)
    grown = file.tail()
    file.append(*TALK[3])
    assert grown is not None
    offset, tail = grown
    assert path.read_bytes()[:offset] + tail == whole
    file.close()
    assert file.tail() is None
