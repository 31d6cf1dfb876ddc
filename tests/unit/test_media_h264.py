from __future__ import annotations

import struct

import numpy as np
import pytest

from configs.schema import Video
from models.api import EngineError
from models.media import h264
from models.media.h264 import SegmentVideo, Settings, choose_encoder, nal_units, settings_for

ULTRAFAST = Settings("libx264", 128, 96, "ultrafast", 23)


def pictures(settings: Settings, count: int) -> list[bytes]:
    video, rng = SegmentVideo(settings), np.random.default_rng(3)
    units = []
    for _ in range(count):
        for plane in video.planes:
            plane[:] = rng.integers(16, 236, plane.shape)
        units.append(video.encode())
    return units


def nal_types(unit: bytes) -> list[int]:
    types, at = [], 0
    while at < len(unit):
        (size,) = struct.unpack_from(">I", unit, at)
        types.append(unit[at + 4] & 31)
        at += 4 + size
    assert at == len(unit)
    return types


def test_one_key_frame_then_none_and_slices_only() -> None:
    assert [nal_types(unit) for unit in pictures(ULTRAFAST, 24)] == [[5]] + [[1]] * 23


def test_a_segment_is_a_pure_function_of_its_pictures() -> None:
    assert pictures(ULTRAFAST, 16) == pictures(ULTRAFAST, 16)


@pytest.mark.parametrize("quality", h264.QUALITIES)
@pytest.mark.parametrize("preset", ["auto", "ultrafast", "veryfast"])
@pytest.mark.parametrize("size", [(512, 512), (720, 1280)])
def test_separately_opened_encoders_agree_on_their_parameter_sets(
    quality: str, preset: str, size: tuple[int, int]
) -> None:
    settings = settings_for("libx264", *size, quality, Video(preset=preset))
    assert len({SegmentVideo(settings).sets for _ in range(3)}) == 1


@pytest.mark.parametrize("preset", ["auto", "ultrafast", "faster"])
def test_parameter_sets_depend_on_neither_the_quantiser_nor_the_lighter_way(preset: str) -> None:
    settings = settings_for("libx264", 256, 192, "high", Video(preset=preset))
    others = [settings.with_crf(crf) for crf in (6, 31, 44, h264.COARSEST_CRF)]
    found = {SegmentVideo(one).sets for one in (settings, settings.lighter, *others)}
    assert len(found) == 1


def test_the_lighter_way_is_another_one_for_auto_alone() -> None:
    auto = settings_for("libx264", 64, 64, "high", Video())
    assert auto.lighter != auto
    assert auto.lighter.crf == auto.crf
    assert ULTRAFAST.lighter == ULTRAFAST


@pytest.mark.parametrize(
    ("size", "crf"), [((256, 256), 23), ((512, 512), 23), ((1266, 712), 28), ((1280, 1280), 30)]
)
def test_larger_pictures_have_a_coarser_quantiser(size: tuple[int, int], crf: int) -> None:
    assert settings_for("libx264", *size, "high", Video()).crf == crf
    assert settings_for("libx264", *size, "max", Video()).crf == 18
    assert settings_for("libx264", *size, "high", Video(crf=0)).crf == 0, "lossless stays so"


def test_fast_is_smaller_than_high_and_lossless_is_larger() -> None:
    sizes = {
        quality: sum(map(len, pictures(settings_for("libx264", 128, 96, quality, Video()), 8)))
        for quality in ("fast", "high", "lossless")
    }
    assert sizes["fast"] < sizes["high"] < sizes["lossless"]


def test_max_is_never_coarser_than_what_is_configured() -> None:
    assert settings_for("libx264", 64, 64, "max", Video(crf=23)).crf == 18
    assert settings_for("libx264", 64, 64, "max", Video(crf=12)).crf == 12
    assert settings_for("libx264", 64, 64, "max", Video(preset="ultrafast")).preset != "ultrafast"


def test_an_encoder_that_does_not_open_is_passed_over() -> None:
    assert choose_encoder(("no_such_encoder", "libx264")) == "libx264"
    with pytest.raises(EngineError, match="no_such_encoder") as caught:
        choose_encoder(("no_such_encoder",))
    assert caught.value.code == "FAILED"
    assert "pip install" in caught.value.hint


def test_a_wrong_preset_says_what_to_check() -> None:
    with pytest.raises(EngineError, match=r"video\.preset"):
        SegmentVideo(settings_for("libx264", 64, 64, "high", Video(preset="warp9")))


@pytest.mark.parametrize(
    ("width", "height", "quality"),
    [(513, 512, "high"), (512, 511, "high"), (8, 8, "high"), (8192, 512, "high"), (512, 512, "best")],
)
def test_what_cannot_be_encoded_is_refused(width: int, height: int, quality: str) -> None:
    with pytest.raises(EngineError) as caught:
        settings_for("libx264", width, height, quality, Video())
    assert caught.value.code == "INVALID_ARGUMENT"


def test_nal_units_drop_start_codes_and_padding() -> None:
    stream = b"\0\0\0\1\x67\x01\x02\0\0\0\1\x68\x03\0\0\1\x65\x04\x05"
    assert list(nal_units(stream)) == [b"\x67\x01\x02", b"\x68\x03", b"\x65\x04\x05"]
