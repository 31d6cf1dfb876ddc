"""Photos are read as they were meant, and judged by their header before anything is decoded."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.api import EngineError
from models.templates.image import NEUTRAL, decode_photo, looks_like_image, read_header
from tests.pictures import encoded

U8 = NDArray[np.uint8]


def picture(height: int = 40, width: int = 64) -> U8:
    """Smooth, and different in every corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return mark + struct.pack(order + "I", 8) + struct.pack(order + "H", 1) + entry + bytes(4)


def jpeg_with(body: bytes, data: bytes) -> bytes:
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 8) + b"Exif\0\0" + body + data[2:]


def png_with(body: bytes, data: bytes) -> bytes:
    at = 8 + 25  # after IHDR
    return data[:at] + chunk(b"eXIf", body) + data[at:]


@pytest.mark.parametrize(("suffix", "name"), [(".png", "PNG"), (".jpg", "JPEG"), (".webp", "WebP")])
def test_every_format_is_recognised_and_decoded(suffix: str, name: str) -> None:
    data = encoded(picture(), suffix)
    assert looks_like_image(data)
    header = read_header(data)
    assert (header.format, header.width, header.height, header.orientation) == (name, 64, 40, 1)
    assert np.abs(decode_photo(data).astype(int) - picture()).mean() < 6


UPRIGHT = {
    1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1), 7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
    8: lambda p: np.rot90(p, -1),
}  # fmt: skip
"""How a camera stores an upright picture, per EXIF orientation."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_is_undone(orientation: int, order: str) -> None:
    stored = np.ascontiguousarray(UPRIGHT[orientation](picture()))
    for data in (
        png_with(exif(orientation, order), encoded(stored)),
        jpeg_with(exif(orientation, order), encoded(stored, ".jpg")),
    ):
        shown = decode_photo(data)
        assert shown.shape == (40, 64, 3)
        assert np.abs(shown.astype(int) - picture()).mean() < 6


def test_what_is_transparent_lies_on_a_neutral_background() -> None:
    clear = np.dstack([picture(), np.full((40, 64), 255, np.uint8)])
    clear[:, 32:, 3] = 0
    clear[:, 16:32, 3] = 128
    shown = decode_photo(encoded(clear))
    assert np.array_equal(shown[:, :16], picture()[:, :16])
    assert (shown[:, 32:] == NEUTRAL).all()
    half = (picture()[:, 16:32].astype(float) + NEUTRAL) / 2
    assert np.abs(shown[:, 16:32] - half).max() <= 2


def test_grey_and_deep_pictures_become_bgr() -> None:
    grey = picture()[..., 0]
    assert np.array_equal(decode_photo(encoded(grey)), np.repeat(grey[..., None], 3, axis=2))
    deep = picture().astype(np.uint16) * 257
    assert np.array_equal(decode_photo(encoded(deep)), picture())


def test_a_bomb_is_refused_by_its_header() -> None:
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    tracemalloc.start()
    with pytest.raises(EngineError, match="3600 megapixels; the limit is 64") as caught:
        decode_photo(bomb)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert caught.value.code == "TOO_LARGE"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.99])
def test_a_cut_file_is_refused(suffix: str, share: float) -> None:
    data = encoded(picture(200, 300), suffix)
    with pytest.raises(EngineError) as caught:
        decode_photo(data[: int(len(data) * share)])
    assert caught.value.code == "INVALID_ARGUMENT"


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(encoded(picture(200, 300)))
    data[len(data) // 2] ^= 4
    with pytest.raises(EngineError, match="checksum"):
        decode_photo(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]
)
def test_nothing_much_is_refused(data: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        decode_photo(data)
    assert caught.value.code == "INVALID_ARGUMENT"


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([".png", ".jpg", ".webp"]))
def test_any_damage_gives_a_picture_or_a_refusal(data: st.DataObject, suffix: str) -> None:
    content = bytearray(encoded(picture(), suffix))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    refused: EngineError | None = None
    try:
        shown = decode_photo(bytes(content))
    except EngineError as error:
        refused = error
    if refused is not None:
        assert refused.code in {"INVALID_ARGUMENT", "TOO_LARGE"}
        assert len(refused.message) > 10
    else:
        assert shown.ndim == 3
        assert shown.dtype == np.uint8


def test_a_large_jpeg_is_decoded_at_half_its_size() -> None:
    wide = cv2.resize(picture(), (5000, 3000))
    assert decode_photo(encoded(wide, ".jpg")).shape == (1500, 2500, 3)
