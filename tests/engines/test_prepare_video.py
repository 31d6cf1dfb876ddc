"""A video becomes a loop there and back, whatever its rate, rotation or size; what is unfit is named by frame."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.api import EngineError
from models.landmarks import face_landmarks, lip_gap, lip_width
from models.landmarks.faces import Face
from models.media.paste import i420_to_bgr
from models.templates.cache import Prepared
from models.templates.film import loop_length
from models.templates.framing import COLUMNS
from models.templates.make import prepare_source
from models.templates.store import Template, open_template
from models.templates.work import Source, Workplace
from tests.support.pictures import WEIGHTS, astronaut, film, moved, nobody, turned, wander

U8 = NDArray[np.uint8]


def small() -> U8:
    """The astronaut's head and shoulders, 320x320: quick to decode."""
    return np.ascontiguousarray(astronaut()[0:320, 60:380])


def make(folder: Path, data: bytes, name: str = "one", max_s: float = 20.0, **settings: object) -> Prepared:
    place = Workplace(str(folder), WEIGHTS, max_video_s=max_s)
    return prepare_source(Source(name, data=data, **settings), place, nobody, threading.Event())  # type: ignore[arg-type]


def refusal(folder: Path, data: bytes, **settings: float) -> EngineError:
    with pytest.raises(EngineError) as caught:
        make(folder, data, **settings)
    left = [path.name for path in (folder / "templates").iterdir() if path.is_dir()]
    assert left == [], "a refusal leaves nothing"
    return caught.value


def opened(made: Prepared) -> Template:
    return open_template(str(made.path), made.hash)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return make(tmp_path_factory.mktemp("state"), film(wander(small(), 56)))


@pytest.fixture(scope="module")
def template(made: Prepared) -> Template:
    return opened(made)


@pytest.mark.parametrize("frames", range(13, 60))
def test_there_and_back_is_a_multiple_of_the_quantum(frames: int) -> None:
    used = loop_length(frames)
    assert frames - 3 <= used <= frames
    assert (2 * used - 2) % 8 == 0


def test_there_and_back(made: Prepared, template: Template) -> None:
    assert (made.kind, made.frames) == ("video", 2 * 53 - 2)
    assert np.array_equal(template.i420[1], template.i420[-1])
    assert np.array_equal(template.i420[40], template.i420[104 - 40])
    assert np.array_equal(template.roi[40], template.roi[104 - 40])
    assert np.array_equal(template.boxes[40], template.boxes[104 - 40])


def test_frames_are_those_of_the_film(template: Template) -> None:
    source = list(wander(small(), 53))
    for n in (0, 20, 52):
        shown = i420_to_bgr(template.i420[n]).astype(int)
        x0, y0, x1, y1 = template.boxes[n]
        shown[y0:y1, x0:x1] = source[n][y0:y1, x0:x1]  # the lips were closed there
        assert np.abs(shown - source[n]).mean() < 5


def test_boxes_follow_the_face_smoothly(template: Template) -> None:
    boxes = template.boxes[:53]
    assert (boxes % 2 == 0).all()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    faces = [face_landmarks(i420_to_bgr(template.i420[n]), WEIGHTS)[0].points for n in range(0, 53, 13)]
    offsets = np.array([points[1, :2] - centres[n] for n, points in zip(range(0, 53, 13), faces, strict=True)])
    assert np.ptp(offsets, axis=0).max() < 8, "the nose stays where it is in the box"
    assert np.abs(np.diff(centres, axis=0)).max() <= 4


def test_landmarks_do_not_tremble(template: Template) -> None:
    lips = np.load(template.path / "landmarks.npy")[:53, : 4 * COLUMNS].mean(axis=1)
    jerk = np.diff(lips, n=3, axis=0)
    assert np.abs(jerk).mean() < 0.25, "smooth to a fraction of a pixel"


def test_her_lips_meet_in_every_frame(template: Template) -> None:
    for n in range(0, 53, 10):
        points = face_landmarks(i420_to_bgr(template.i420[n]), WEIGHTS)[0].points
        assert lip_gap(points) / lip_width(points) < 0.08


def test_a_variable_rate_becomes_25_frames_a_second(tmp_path: Path) -> None:
    # 40 frames in 1.9 s, some 20 ms and some 80 ms long.
    times = np.cumsum([0.0, *([0.02, 0.08, 0.045] * 13)])
    made = make(tmp_path, film(wander(small(), 40), times=lambda n: float(times[n]), rate=60))
    assert loop_length(47) <= (made.frames + 2) // 2 <= loop_length(51)


@pytest.mark.parametrize("rate", [15, 24, 30, 60])
def test_another_rate_keeps_its_length(tmp_path: Path, rate: int) -> None:
    made = make(tmp_path, film(wander(small(), rate * 2), rate=rate))
    assert loop_length(49) <= (made.frames + 2) // 2 <= loop_length(51)


@pytest.mark.parametrize("turn", [90, -90, 180])
def test_rotation_metadata_is_honoured(tmp_path: Path, turn: int) -> None:
    tall = np.ascontiguousarray(small()[:, 40:280])
    stored = [np.ascontiguousarray(np.rot90(one, -turn // 90)) for one in wander(tall, 14)]
    made = make(tmp_path, film(stored, rotate=turn))
    assert (made.width, made.height) == (240, 320)
    assert len(face_landmarks(i420_to_bgr(opened(made).i420[0]), WEIGHTS)) == 1


def test_odd_sizes_lose_a_row_and_a_column(tmp_path: Path) -> None:
    odd = np.ascontiguousarray(small()[:319, :317])
    made = make(tmp_path, film(wander(odd, 14)))
    assert (made.width, made.height) == (316, 318)


def test_matroska_and_a_large_frame(tmp_path: Path) -> None:
    large = cv2.resize(small(), (1600, 1600), interpolation=cv2.INTER_CUBIC)
    made = make(tmp_path, film([large] * 14, container="matroska"))
    assert made.width == made.height
    box = opened(made).boxes[0]
    assert box[2] - box[0] <= 400, "a face that fills more than a crop can hold is scaled down"


def test_colours_come_through(tmp_path: Path, template: Template) -> None:
    source = next(wander(small(), 1))
    shown = i420_to_bgr(template.i420[0]).astype(int)
    for y, x in ((300, 60), (20, 10), (100, 300)):
        patch = np.s_[y - 6 : y + 6, x - 6 : x + 6]
        assert np.abs(shown[patch].mean(axis=(0, 1)) - source[patch].mean(axis=(0, 1))).max() < 5


# --- refusals ---------------------------------------------------------------------------------------------


def test_a_face_that_leaves_is_refused_by_frame(tmp_path: Path) -> None:
    empty = np.full((320, 320, 3), 120, np.uint8)
    pictures = list(wander(small(), 50))
    pictures[20:31] = [empty] * 11
    error = refusal(tmp_path, film(pictures))
    assert error.code == "INVALID_ARGUMENT"
    assert "frames 20-30 (0.80-1.24 s): no face was found" in error.message
    assert "11 of 50" in error.message


def placed(picture: U8, x: int, y: int, width: int = 320) -> U8:
    """The picture on grey, its corner at x, y."""
    shown = np.full((320, width, 3), 120, np.uint8)
    low, high = max(x, 0), min(x + picture.shape[1], width)
    shown[y : y + picture.shape[0], low:high] = picture[: 320 - y, low - x : high - x]
    return shown


def sideways() -> U8:
    (face,) = face_landmarks(small(), WEIGHTS)
    return turned(small(), face.points, 60)


@pytest.mark.parametrize(
    ("usual", "fault", "reason"),
    [
        (
            lambda: placed(small(), 0, 0, 640),
            lambda: np.hstack([small(), small()]),
            "2 faces of similar size were found",
        ),
        (small, sideways, "the face is turned"),
        (
            small,
            lambda: placed(cv2.resize(small(), (160, 160), interpolation=cv2.INTER_AREA), 80, 80),
            "pixels wide",
        ),
        (small, lambda: placed(small(), -140, 0), "the face is cut off"),
    ],
    ids=["several", "side", "small", "cut off"],
)
def test_frames_with_a_face_that_will_not_do_are_refused_by_range(
    tmp_path: Path, usual: Callable[[], U8], fault: Callable[[], U8], reason: str
) -> None:
    pictures = [usual()] * 30
    pictures[8:20] = [fault()] * 12
    error = refusal(tmp_path, film(pictures))
    assert error.code == "INVALID_ARGUMENT"
    assert "12 of 30 frames are at fault" in error.message
    assert re.search(rf"frames 8-19 \(0.32-0.80 s\): .*{reason}", error.message), error.message


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Grey compresses to almost nothing, whatever its size."""
    data = film([np.full((2400, 4096, 3), 120, np.uint8)] * 14)
    assert len(data) < 1 << 20
    error = refusal(tmp_path, data)
    assert error.code == "TOO_LARGE"
    assert "4096x2400; the limit is 4096x2304" in error.message


def test_a_short_gap_is_bridged(tmp_path: Path) -> None:
    pictures = list(wander(small(), 61))
    pictures[30:33] = [np.full((320, 320, 3), 120, np.uint8)] * 3
    made = make(tmp_path, film(pictures))
    valid = opened(made).valid[:61]
    assert list(np.flatnonzero(~valid)) == [30, 31, 32]


def test_a_cut_is_refused_with_its_frame(tmp_path: Path) -> None:
    one = [moved(small(), -70, 10)] * 20
    two = [moved(small(), 60, 10)] * 20
    error = refusal(tmp_path, film(one + two))
    assert "at frame 20 (0.80 s) the face jumps" in error.message


def test_blurred_frames_are_refused_by_range(tmp_path: Path) -> None:
    pictures = list(wander(small(), 40))
    pictures[10:30] = [cv2.GaussianBlur(one, (0, 0), 4) for one in pictures[10:30]]
    error = refusal(tmp_path, film(pictures))
    assert re.search("frames 1[01]-(29|30) .* the face is blurred", error.message)


def test_a_long_video_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    error = refusal(tmp_path, film(wander(small(), 60)), max_s=2.0)
    assert error.code == "TOO_LARGE"
    assert "2.4 s long; the limit is 2 s" in error.message


def test_a_long_video_that_does_not_say_so_is_refused(tmp_path: Path) -> None:
    # A live stream's fragments carry no duration.
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    error = refusal(tmp_path, film(wander(small(), 60), options=fragments), max_s=2.0)
    assert error.code == "TOO_LARGE"


def test_a_short_video_is_refused(tmp_path: Path) -> None:
    assert "at least 13 are needed" in refusal(tmp_path, film(wander(small(), 6))).message


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_file_is_refused(tmp_path: Path, share: float) -> None:
    whole = film(wander(small(), 40), options={"movflags": "faststart"})
    error = refusal(tmp_path, whole[: int(len(whole) * share)])
    assert error.code == "INVALID_ARGUMENT"
    assert "damaged" in error.message or "neither a photo nor a film" in error.message


def test_a_damaged_stream_is_refused(tmp_path: Path) -> None:
    data = bytearray(film(wander(small(), 40)))
    rng = np.random.default_rng(3)
    middle = len(data) // 3
    data[middle : middle + 4000] = rng.integers(0, 256, 4000, np.uint8).tobytes()
    error = refusal(tmp_path, bytes(data))
    assert "damaged" in error.message


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film(wander(small(), 20)))
    for text in (f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n", f"ffconcat version 1.0\nfile {secret}\n"):
        error = refusal(tmp_path, text.encode())
        assert error.code == "INVALID_ARGUMENT"


def test_pictures_that_no_decoder_knows_are_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, film([small()] * 2).replace(b"avc1", b"zzzz"))
    assert error.code == "INVALID_ARGUMENT"
    assert "not known" in error.message


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    import io

    import av

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=48_000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 48_000
        out.mux(stream.encode(sound))
        out.mux(stream.encode(None))
    assert "no picture, only sound" in refusal(tmp_path, target.getvalue()).message


def test_faces_are_plain_data() -> None:
    face = face_landmarks(small(), WEIGHTS)[0]
    assert isinstance(face, Face)
    assert face.points.dtype == np.float32
