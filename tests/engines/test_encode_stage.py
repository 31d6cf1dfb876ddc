"""The encode stage as the daemon drives it: items in, segments out, read back by real decoders."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from broker.ipc.messages import EncodedSegment, EncodeItem, InitItem, InitSegment, Item, LlmItem, TemplateRef
from configs.grid import MAX_ITEM_FRAMES
from configs.schema import Config, Video
from models.api import FRAME_SAMPLES, EngineError
from models.media import aac
from models.media.paste import paster, planes
from models.media.stamp import stamp
from models.templates.store import open_template
from stages.encode import EncodeStage
from tests.support.media import decode_audio, decode_video, ffmpeg, packet_times, tagged_bgr
from tests.support.templates import write_template

ITEM: dict[str, Any] = {"id": "s/1/encode/0", "attempt": 0, "broker": 0, "sid": "s", "turn": 1}
ROLLS = aac.PRE_ROLL + aac.POST_ROLL


@dataclass
class Flag:
    """Set after ``after`` looks."""

    after: int = 1 << 30

    def is_set(self) -> bool:
        self.after -= 1
        return self.after < 0


@dataclass
class OneItem:
    item: Item
    buffers: list[memoryview]
    cancel: Flag = field(default_factory=Flag)
    steps: int = 0

    def progress(self) -> None:
        self.steps += 1


@pytest.fixture(scope="module")
def stage() -> EncodeStage:
    return make_stage()


def make_stage(**video: Any) -> EncodeStage:
    made = EncodeStage(Config(video=Video(**video)), "encode.0")
    made.setup(lambda *_: None)
    return made


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> TemplateRef:
    return write_template(tmp_path_factory.mktemp("templates") / "small", 8, 256, 192, box=96)


def tone(frames: int, start: int = 0) -> NDArray[np.int16]:
    """What an item carries: a quiet tone, continuous over consecutive items."""
    at = start * FRAME_SAMPLES + np.arange(-aac.PRE_ROLL, frames * FRAME_SAMPLES + aac.POST_ROLL)
    return np.asarray((np.sin(at * 0.05) * 8000).astype(np.int16), np.int16)


def crops(frames: int, seed: int = 0) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 256, (frames, 8, 8, 3), np.uint8)
    return np.repeat(np.repeat(small, 32, axis=1), 32, axis=2)


def run(
    stage: EncodeStage, item: Item, buffers: Sequence[Any] = (), cancel: Flag | None = None
) -> list[tuple[Any, bytes]]:
    work = OneItem(item, [memoryview(b) for b in buffers], cancel or Flag())
    return [(output, bytes(parts[0])) for output, parts in stage.handle(work)]  # type: ignore[arg-type]


def encode(
    stage: EncodeStage, ref: TemplateRef, frame0: int, frames: int, *faces: Any, quality: str = "high"
) -> tuple[EncodedSegment, bytes]:
    item = EncodeItem(template=ref, frame0=frame0, frames=frames, quality=quality, **ITEM)
    [(output, payload)] = run(stage, item, [tone(frames, frame0), *faces])
    return output, payload


def init(stage: EncodeStage, ref: TemplateRef, quality: str = "high") -> tuple[InitSegment, bytes]:
    opened = open_template(ref.path, ref.hash)
    [(output, payload)] = run(stage, InitItem(width=opened.width, height=opened.height, quality=quality, **ITEM))
    return output, payload


def stamped(segment: tuple[EncodedSegment, bytes], seq: int, frame0: int) -> bytes:
    output, payload = segment
    return stamp(
        payload, output.mfhd_at, output.video_tfdt_at, output.audio_tfdt_at, seq=seq, pts_us=frame0 * 40_000
    )


@pytest.fixture(scope="module")
def run_of_segments(stage: EncodeStage, template: TemplateRef) -> tuple[bytes, list[bytes], list[int]]:
    """Init, five consecutive stamped segments (starting late in the session) and their frame counts."""
    lengths, frame0, parts = [8, 8, 16, 24, 32], 8 * 90_000, []
    for seq, frames in enumerate(lengths):
        faces = [crops(frames, seq)] if seq % 2 else []
        parts.append(stamped(encode(stage, template, frame0, frames, *faces), seq, frame0))
        frame0 += frames
    return init(stage, template)[1], parts, lengths


@pytest.mark.parametrize("first", [0, 2, 4])
def test_init_and_any_run_decodes_with_continuous_times(
    run_of_segments: tuple[bytes, list[bytes], list[int]], first: int
) -> None:
    head, parts, lengths = run_of_segments
    data = head + b"".join(parts[first:])
    video, audio = packet_times(data)
    begin = 8 * 90_000 + sum(lengths[:first])
    assert video.dts == list(range(begin, begin + sum(lengths[first:])))
    assert audio.dts == list(range(begin * FRAME_SAMPLES, (begin + len(video.dts)) * FRAME_SAMPLES, 1024))
    assert len(decode_video(data)) == sum(lengths[first:])
    assert len(decode_audio(data)) == sum(lengths[first:]) * FRAME_SAMPLES


def test_the_ffmpeg_program_reads_it_without_a_warning(
    run_of_segments: tuple[bytes, list[bytes], list[int]],
) -> None:
    head, parts, lengths = run_of_segments
    listing = ffmpeg("-f", "framecrc", "-c", "copy", data=head + b"".join(parts)).decode().splitlines()
    rows = [line.split(",") for line in listing if not line.startswith("#")]
    assert sum(row[0].strip() == "0" for row in rows) == sum(lengths)
    assert sum(row[0].strip() == "1" for row in rows) == sum(lengths) * 15 // 8
    pictures = ffmpeg("-map", "0:v", "-f", "rawvideo", "-pix_fmt", "gray", data=head + b"".join(parts))
    assert len(pictures) == sum(lengths) * 256 * 192


def test_every_segment_begins_with_its_only_key_frame(
    run_of_segments: tuple[bytes, list[bytes], list[int]],
) -> None:
    head, parts, lengths = run_of_segments
    video, audio = packet_times(head + b"".join(parts))
    expected = [k == 0 for frames in lengths for k in range(frames)]
    assert video.key == expected
    assert all(audio.key)


@pytest.mark.parametrize("quality", ["high", "fast", "lossless"])
def test_all_instances_make_the_same_bytes(stage: EncodeStage, template: TemplateRef, quality: str) -> None:
    other = make_stage()
    assert init(stage, template, quality) == init(other, template, quality)
    mine, theirs = (encode(s, template, 8, 8, crops(8), quality=quality) for s in (stage, other))
    assert zlib.crc32(mine[1]) == zlib.crc32(theirs[1])


@pytest.mark.parametrize(
    ("quality", "preset", "codec"),
    [
        ("high", "auto", "6400"),
        ("fast", "auto", "6400"),
        ("high", "ultrafast", "42c0"),
        ("high", "veryfast", "6400"),
        ("lossless", "ultrafast", "f400"),
    ],
)
def test_mime_names_the_real_profile(template: TemplateRef, quality: str, preset: str, codec: str) -> None:
    output, payload = init(make_stage(preset=preset), template, quality)
    assert output.mime.startswith(f'video/mp4; codecs="avc1.{codec}')
    assert output.mime.endswith(',mp4a.40.2"')
    assert bytes.fromhex(output.mime.split("avc1.")[1][:6]) in payload


@pytest.mark.parametrize("pose0", [0, 8, 8 * 1000 + 8])
def test_lossless_gives_back_the_pasted_pictures_bit_for_bit(
    stage: EncodeStage, template: TemplateRef, pose0: int
) -> None:
    """Which also shows the pose of every frame: loop[frame mod L], whatever the segment begins with."""
    faces, opened = crops(16), open_template(template.path, template.hash)
    segment = encode(stage, template, pose0, 16, faces[:3], faces[3:], quality="lossless")
    pictures = decode_video(init(stage, template, "lossless")[1] + segment[1])
    for k, picture in enumerate(pictures):
        pose = (pose0 + k) % opened.frames
        wanted = opened.i420[pose].copy()
        paster(opened).paste(planes(wanted), opened.roi[pose], opened.boxes[pose], faces[k])
        assert np.array_equal(picture.to_ndarray(format="yuv420p"), wanted)


def test_without_crops_the_templates_own_pixels_are_shown(stage: EncodeStage, template: TemplateRef) -> None:
    opened = open_template(template.path, template.hash)
    segment = encode(stage, template, 0, 8, quality="lossless")
    pictures = decode_video(init(stage, template, "lossless")[1] + segment[1])
    got = np.stack([picture.to_ndarray(format="yuv420p") for picture in pictures])
    assert np.array_equal(got, opened.i420)


@pytest.mark.parametrize("size", [(190, 134), (360, 640)])
def test_sizes_that_are_no_multiple_of_16_keep_every_pixel(
    stage: EncodeStage, tmp_path: Path, size: tuple[int, int]
) -> None:
    ref = write_template(tmp_path / "odd", 8, *size, box=96)
    opened, faces = open_template(ref.path, ref.hash), crops(8)
    data = init(stage, ref, "lossless")[1] + encode(stage, ref, 0, 8, faces, quality="lossless")[1]
    for k, picture in enumerate(decode_video(data)):
        wanted = opened.i420[k].copy()
        paster(opened).paste(planes(wanted), opened.roi[k], opened.boxes[k], faces[k])
        assert (picture.width, picture.height) == size
        assert np.array_equal(picture.to_ndarray(format="yuv420p"), wanted)


PURE = pytest.mark.parametrize("colour", [(0, 0, 255), (0, 255, 0), (255, 0, 0)], ids=["red", "green", "blue"])
Bgr = tuple[int, int, int]


def pure_video(stage: EncodeStage, folder: Path, colour: Bgr, *, pasted: bool) -> bytes:
    ref = write_template(folder / "pure", 8, 256, 256, colour=colour)
    faces = [np.full((8, 256, 256, 3), colour, np.uint8)] if pasted else []
    return init(stage, ref)[1] + encode(stage, ref, 0, 8, *faces)[1]


@PURE
@pytest.mark.parametrize("pasted", [False, True])
def test_pure_colours_come_back_within_3_levels(
    stage: EncodeStage, tmp_path: Path, colour: Bgr, pasted: bool
) -> None:
    for picture in decode_video(pure_video(stage, tmp_path, colour, pasted=pasted)):
        assert np.abs(tagged_bgr(picture).astype(int) - colour).max() <= 3


@PURE
def test_the_ffmpeg_program_reads_pure_colours_back(stage: EncodeStage, tmp_path: Path, colour: Bgr) -> None:
    data = pure_video(stage, tmp_path, colour, pasted=True)
    raw = ffmpeg("-map", "0:v", "-f", "rawvideo", "-pix_fmt", "bgr24", data=data)
    assert np.abs(np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(int) - colour).max() <= 3


def test_sound_lies_where_it_was(stage: EncodeStage, template: TemplateRef) -> None:
    data = init(stage, template)[1] + b"".join(
        stamped(encode(stage, template, k * 8, 8), k, k * 8) for k in range(4)
    )
    original = tone(32)[aac.PRE_ROLL : -aac.POST_ROLL] / 32768
    # The first frame has no predecessor to overlap with, as after any seek.
    assert np.abs(decode_audio(data) - original)[1024:].max() < 0.02


def bad(frames: int = 8, frame0: int = 0, quality: str = "high") -> dict[str, Any]:
    return {"frames": frames, "frame0": frame0, "quality": quality}


SILENCE = np.zeros(ROLLS + 8 * FRAME_SAMPLES, np.int16)
FACE = bytes(256 * 256 * 3)


@pytest.mark.parametrize(
    ("fields", "buffers", "says"),
    [
        (bad(), [], "0 bytes of PCM"),
        (bad(), [SILENCE[:-1]], "Send 43008"),
        (bad(frames=7), [SILENCE], "7 frames"),
        (bad(frames=0), [SILENCE], "0 frames"),
        (bad(frames=-8), [SILENCE], "-8 frames"),
        (bad(frames=MAX_ITEM_FRAMES + 8), [SILENCE], f"at most {MAX_ITEM_FRAMES}"),
        (bad(frame0=-1), [SILENCE], "from frame -1"),
        (bad(), [SILENCE, FACE * 7], "7 crops for 8 frames"),
        (bad(), [SILENCE, FACE * 8, FACE], "9 crops for 8 frames"),
        (bad(), [SILENCE, FACE[1:] * 8], "a crop buffer"),
        (bad(), [SILENCE, b""], "a crop buffer of 0 bytes"),
        (bad(quality="best"), [SILENCE], "unknown quality 'best'"),
    ],
)
def test_an_item_that_does_not_fit_is_refused(
    stage: EncodeStage, template: TemplateRef, fields: dict[str, Any], buffers: list[Any], says: str
) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        run(stage, EncodeItem(template=template, **fields, **ITEM), buffers)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert len(encode(stage, template, 0, 8)[1]) > 0  # and the stage goes on


@pytest.mark.parametrize(("width", "height"), [(0, 512), (511, 512), (512, 100_000), (-2, -2)])
def test_an_impossible_size_is_refused(stage: EncodeStage, width: int, height: int) -> None:
    with pytest.raises(EngineError) as caught:
        run(stage, InitItem(width=width, height=height, **ITEM))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_an_item_of_another_stage_is_refused(stage: EncodeStage) -> None:
    with pytest.raises(EngineError, match="does not know LlmItem"):
        run(stage, LlmItem(history=[], **ITEM))


def test_a_missing_template_is_named(stage: EncodeStage, tmp_path: Path) -> None:
    gone = TemplateRef("gone", str(tmp_path / "gone"), "0")
    with pytest.raises(EngineError, match="no template") as caught:
        encode(stage, gone, 0, 8)
    assert caught.value.code == "NOT_FOUND"


def test_cancel_is_seen_between_frames(stage: EncodeStage, template: TemplateRef) -> None:
    work = OneItem(EncodeItem(template=template, **bad(), **ITEM), [memoryview(SILENCE.tobytes())], Flag(after=3))
    assert list(stage.handle(work)) == []  # type: ignore[arg-type]
    assert work.steps == 3


def begin(stage: EncodeStage, ref: TemplateRef, start: int, *faces: Any) -> None:
    """Give the stage a part of the segment of frames 16..23. Not a live one: the same bytes need the same way."""
    engine = "warp" if faces else ""
    item = EncodeItem(template=ref, frame0=16, frames=8, ahead=True, start=start, engine=engine, **ITEM)
    assert run(stage, item, [tone(8, 16), *faces]) == []


def test_what_is_begun_ahead_gives_the_same_bytes(template: TemplateRef) -> None:
    stage, faces = make_stage(), crops(8)
    item = EncodeItem(template=template, frame0=16, frames=8, engine="warp", **ITEM)
    whole = run(stage, item, [tone(8, 16), faces])
    begin(stage, template, 0)
    begin(stage, template, 0, faces[:2])
    begin(stage, template, 2, faces[2:4], faces[4:6])
    pasted = stage.figures["frames"]
    assert run(stage, item, [tone(8, 16), faces[:6], faces[6:]]) == whole
    assert (stage.figures["begun"], stage.figures["frames"]) == (1, pasted + 8)


@pytest.mark.parametrize("other", ["sound", "crops", "no crops", "a part that is missing", "another segment"])
def test_what_was_begun_of_something_else_is_not_used(template: TemplateRef, other: str) -> None:
    stage, faces = make_stage(), crops(8)
    sound, given, frame0 = tone(8, 16), [faces], 24 if other == "another segment" else 16
    if other == "sound":
        sound = tone(8, 17)
    elif other == "crops":
        given = [crops(8, seed=1)]
    elif other == "no crops":
        given = []
    item = EncodeItem(template=template, frame0=frame0, frames=8, engine="warp" if given else "", **ITEM)
    whole = run(stage, item, [sound, *given])
    begin(stage, template, 0, faces[:2])
    if other == "a part that is missing":
        begin(stage, template, 4, faces[4:6])
    assert run(stage, item, [sound, *given]) == whole
    assert stage.figures["begun"] == 0


def test_few_beginnings_are_kept(template: TemplateRef) -> None:
    stage, faces = make_stage(), crops(8)
    for turn in range(4):
        fields = {**ITEM, "turn": turn, "template": template, "frame0": 16, "frames": 8, "live": True}
        run(stage, EncodeItem(**fields, engine="warp", ahead=True), [tone(8, 16), faces[:4]])
    for turn in range(4):
        fields = {**ITEM, "turn": turn, "template": template, "frame0": 16, "frames": 8, "live": True}
        assert len(run(stage, EncodeItem(**fields, engine="warp"), [tone(8, 16), faces])) == 1
    assert stage.figures["begun"] == 2
