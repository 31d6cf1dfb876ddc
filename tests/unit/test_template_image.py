"""Photos are read as they were meant, in every format, and judged by their header before anything is decoded."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

from models.api import EngineError
from models.templates.image import HEAD, MEGAPIXELS, PHOTOS, decode_photo, format_of, open_picture
from models.templates.pixels import NEUTRAL

U8 = NDArray[np.uint8]
pillow_heif.register_heif_opener()  # to write them; what reads them is under test
MEMORY_MIB = 380
"""What decoding may take, measured in a process of its own."""


def picture(height: int = 80, width: int = 128) -> U8:
    """Smooth, and different in every corner: u8 BGR."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)


def saved(found: U8 | Image.Image, kind: str, **options: Any) -> bytes:
    """A file in the format ``kind``, of u8 BGR or a picture of Pillow's."""
    image = found if isinstance(found, Image.Image) else Image.fromarray(np.ascontiguousarray(found[..., ::-1]))
    target = io.BytesIO()
    image.save(target, "HEIF" if kind == "HEIC" else kind, **options)
    return target.getvalue()


def read(data: bytes, side: int = 4096) -> U8:
    kind = format_of(data[:HEAD])
    assert kind is not None
    file = io.BytesIO(data)
    with open_picture(file, kind) as opened:
        shown = decode_photo(opened, side)
    assert file.seek(0) == 0, "the file is the caller's, and still open"
    return shown


def refusal(data: bytes) -> EngineError:
    with pytest.raises(EngineError) as caught:
        read(data)
    assert len(caught.value.message) > 10
    assert caught.value.hint
    return caught.value


def off(found: U8, wanted: U8) -> float:
    assert found.shape == wanted.shape
    return float(np.abs(found.astype(int) - wanted).mean())


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def grey_rgba16(side: int) -> bytes:
    """A PNG of 16-bit RGBA, all pixels alike: a small file of any size."""
    row = b"\0" + b"\x80" * (side * 8)
    packer = zlib.compressobj(9, wbits=-15)
    again = packer.compress(row * 40) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(side):
        checksum = zlib.adler32(row, checksum)
    rows = b"\x78\xda" + again * (side // 40) + b"\x03\0" + struct.pack(">I", checksum)
    size = struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


FILES = {
    "JPEG": ("JPEG", {"quality": 95}),
    "progressive JPEG": ("JPEG", {"quality": 95, "progressive": True}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 95}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "HEIC": ("HEIC", {"quality": 90}),
    "AVIF": ("AVIF", {"quality": 90, "speed": 9}),
    "GIF": ("GIF", {}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "compressed TIFF": ("TIFF", {"compression": "tiff_lzw"}),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_recognised_and_decoded(name: str) -> None:
    kind, options = FILES[name]
    data = saved(picture(), kind, **options)
    found = format_of(data[:HEAD])
    assert found == name.split()[-1]
    assert found in PHOTOS
    with open_picture(io.BytesIO(data), found) as opened:
        assert (opened.width, opened.height, opened.animated) == (128, 80, False)
    assert off(read(data), picture()) < 6


UPRIGHT = {
    1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1), 7: lambda p: np.rot90(p.transpose(1, 0, 2), 2),
    8: lambda p: np.rot90(p, -1),
}  # fmt: skip
"""How a camera stores an upright picture, per EXIF orientation."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_orientation_is_honoured_once(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(UPRIGHT[orientation](picture()))
    assert off(read(saved(stored, kind, exif=exif.tobytes())), picture()) < 6


def modes() -> dict[str, Image.Image]:
    """The picture in the modes that scanners, cameras and painting programs write."""
    rgb = Image.fromarray(np.ascontiguousarray(picture()[..., ::-1]))
    grey = rgb.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    return {
        "grey": grey,
        "16-bit grey": deep,
        "float": Image.fromarray(np.asarray(grey, np.float32) / 255),
        "palette": rgb.quantize(256),
        "CMYK": rgb.convert("CMYK"),
        "YCbCr": rgb.convert("YCbCr"),
        "grey with alpha": grey.convert("LA"),
    }


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("grey", "PNG"), ("grey", "JPEG"), ("16-bit grey", "PNG"), ("16-bit grey", "TIFF"), ("float", "TIFF"),
        ("palette", "PNG"), ("palette", "TIFF"), ("palette", "BMP"), ("CMYK", "JPEG"), ("CMYK", "TIFF"),
        ("YCbCr", "TIFF"), ("grey with alpha", "PNG"),
    ],
)  # fmt: skip
def test_every_mode_becomes_bgr(mode: str, kind: str) -> None:
    image = modes()[mode]
    shown = read(saved(image, kind))
    wanted = picture()
    if "grey" in mode or mode == "float":
        wanted = np.repeat(np.asarray(modes()["grey"])[..., None], 3, axis=2)
    assert off(shown, wanted) < 8


def test_black_and_white_is_a_picture_too() -> None:
    bits = Image.fromarray(picture()[..., 0] > 100)
    shown = read(saved(bits, "TIFF", compression="group4"))
    assert np.array_equal(shown[..., 0] == 255, picture()[..., 0] > 100)


def test_what_is_transparent_lies_on_a_neutral_background() -> None:
    clear = np.dstack([picture()[..., ::-1], np.full((80, 128), 255, np.uint8)])
    clear[:, 64:, 3] = 0
    clear[:, 32:64, 3] = 128
    for kind in ("PNG", "TIFF"):
        shown = read(saved(Image.fromarray(clear), kind))
        assert np.array_equal(shown[:, :32], picture()[:, :32])
        assert (shown[:, 64:] == NEUTRAL).all()
        half = (picture()[:, 32:64].astype(float) + NEUTRAL) / 2
        assert np.abs(shown[:, 32:64] - half).max() <= 2


def test_colours_of_another_profile_become_srgb() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"tXYZ").replace(b"gXYZ", b"rXYZ").replace(b"tXYZ", b"gXYZ")
    red = np.full((80, 128, 3), (0, 0, 255), np.uint8)
    assert off(read(saved(red, "PNG", icc_profile=profile)), red) < 1
    assert off(read(saved(red, "PNG", icc_profile=swapped)), red[..., [0, 2, 1]]) < 3
    assert off(read(saved(red, "PNG", icc_profile=b"nonsense")), red) == 0


def test_a_scan_with_oblong_pixels_is_made_square_and_a_photo_s_density_is_not_believed() -> None:
    fax = read(saved(picture(), "TIFF", dpi=(200, 100)))
    assert fax.shape == (160, 128, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.ascontiguousarray(UPRIGHT[6](picture()))
    assert read(saved(lying, "TIFF", dpi=(100, 200), exif=exif)).shape == (160, 128, 3)
    assert read(saved(picture(), "TIFF", dpi=(1, 999))).shape == (80, 128, 3)
    for kind in ("JPEG", "PNG", "BMP"):
        assert read(saved(picture(), kind, dpi=(200, 100))).shape == (80, 128, 3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_several_pictures_are_a_film(kind: str) -> None:
    images = [Image.fromarray(np.roll(picture(), 9 * n, 1)) for n in range(3)]
    target = io.BytesIO()
    images[0].save(target, kind, save_all=True, append_images=images[1:], duration=100)
    data = target.getvalue()
    name = format_of(data[:HEAD])
    assert name is not None
    with open_picture(io.BytesIO(data), name) as opened:
        assert opened.animated


def test_pages_of_a_scan_are_no_film() -> None:
    images = [Image.fromarray(picture()), Image.fromarray(picture()[::-1])]
    data = saved(images[0], "TIFF", save_all=True, append_images=images[1:])
    with open_picture(io.BytesIO(data), "TIFF") as opened:
        assert not opened.animated


def test_a_raw_photo_is_not_taken_for_its_preview() -> None:
    """A phone's DNG is a TIFF that begins with a small picture."""
    marks = TiffImagePlugin.ImageFileDirectory_v2()
    marks[50706], marks.tagtype[50706] = b"\1\4\0\0", 1
    error = refusal(saved(picture(), "TIFF", tiffinfo=marks))
    assert error.code == "INVALID_ARGUMENT"
    assert "raw photo" in error.message
    assert "JPEG" in error.hint


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"BMW drives by and by and by", b"\0\0\0\x18ftypisom\0\0\0\0isommp41", b"\0\0\0\x14ftyphevc"],
)
def test_what_is_no_picture_is_left_to_the_films(data: bytes) -> None:
    assert format_of(data) is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIC", "AVIF", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_cut_file_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    data = saved(noise, kind)
    error = refusal(data[: max(HEAD, int(len(data) * share))])
    assert error.code == "INVALID_ARGUMENT"
    assert "damaged" in error.message


def test_a_flipped_bit_in_a_png_is_noticed() -> None:
    data = bytearray(saved(picture(200, 300), "PNG"))
    data[len(data) // 2] ^= 4
    assert "checksum" in refusal(bytes(data)).message


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from(["PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "HEIC"]))
def test_any_damage_gives_a_picture_or_a_refusal(data: st.DataObject, kind: str) -> None:
    content = bytearray(_small(kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(HEAD, len(content) - 1))] = data.draw(st.integers(0, 255))
    refused: EngineError | None = None
    try:
        shown = read(bytes(content))
    except EngineError as error:
        refused = error
    if refused is not None:
        assert refused.code in {"INVALID_ARGUMENT", "TOO_LARGE"}
        assert len(refused.message) > 10
    else:
        assert shown.ndim == 3
        assert shown.dtype == np.uint8


_files: dict[str, bytes] = {}


def _small(kind: str) -> bytes:
    return _files.setdefault(kind, saved(picture(), kind))


# --- limits ----------------------------------------------------------------------------------------------


def test_a_bomb_is_refused_by_its_header() -> None:
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    tracemalloc.start()
    error = refusal(bomb)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert error.code == "TOO_LARGE"
    assert "60000x60000, 3600 megapixels; the limit is 64 for a PNG" in error.message
    assert "smaller" in error.hint


@pytest.mark.parametrize("kind", ["GIF", "BMP", "JPEG"])
def test_every_format_has_its_limit(kind: str) -> None:
    data = bytearray(saved(picture(), kind))
    if kind == "GIF":
        data[6:10] = struct.pack("<HH", 65_535, 65_535)
        at = data.index(b"\x2c\0\0\0\0")
        data[at + 5 : at + 9] = struct.pack("<HH", 65_535, 65_535)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 60_000, 60_000)
    else:
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    error = refusal(bytes(data))
    assert error.code == "TOO_LARGE"
    assert f"the limit is {MEGAPIXELS[kind]}" in error.message


@pytest.mark.parametrize("together", [True, False])
def test_a_jpeg_that_the_decoder_holds_whole_has_the_limit_of_a_progressive_one(together: bool) -> None:
    components = b"\1\x11\0\2\x11\0\3\x11\0"
    scan = b"\3\1\0\2\0\3\0" if together else b"\1\1\0"
    parts = {
        0xDB: bytes(1) + b"\1" * 64, 0xC0: struct.pack(">BHHB", 8, 8000, 8000, 3) + components,
        0xDA: scan + b"\0\x3f\0",
    }  # fmt: skip
    data = b"\xff\xd8" + b"junk".join(
        b"\xff\xff" + struct.pack(">BH", marker, len(body) + 2) + body for marker, body in parts.items()
    )
    if together:
        with open_picture(io.BytesIO(data), "JPEG") as opened:
            assert opened.width == 8000
        return
    error = refusal(data)
    assert error.code == "TOO_LARGE"
    assert "64 megapixels; the limit is 50 for a progressive JPEG" in error.message


@pytest.mark.parametrize(("bits", "limit"), [(8, 0), (16, 24)])
def test_a_tiff_of_many_bits_has_a_lower_limit(bits: int, limit: int) -> None:
    tags = [
        (256, 4, 1, 5000), (257, 4, 1, 5000), (258, 3, 4, 200), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 208),
        (277, 3, 1, 4), (278, 4, 1, 5000), (279, 4, 1, 8), (338, 3, 1, 2),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    data = head.ljust(200, b"\0") + struct.pack("<4H", *[bits] * 4) + bytes(8)
    if not limit:
        with open_picture(io.BytesIO(data), "TIFF") as opened:
            assert opened.width == 5000
        return
    error = refusal(data)
    assert error.code == "TOO_LARGE"
    assert f"25 megapixels; the limit is {limit} for a 16-bit TIFF" in error.message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "HEIC"])
def test_a_large_picture_is_brought_to_the_wanted_size(kind: str) -> None:
    large = picture(301, 499)
    shown = read(saved(large, kind), side=100)
    assert 100 <= max(shown.shape) < 200
    step = max(shown.shape) / 499
    small = np.asarray(Image.fromarray(large).resize((shown.shape[1], shown.shape[0]), Image.Resampling.BOX))
    assert off(shown, small) < 6 / step / 4


CHILD = """
import io, resource, sys
import numpy as np
from models.templates.image import decode_photo, open_picture
kind, path = sys.argv[1:]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(path, "rb") as file, open_picture(file, kind) as opened:
    shown = decode_photo(opened, 1280)
print(*shown.shape, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_picture_in_a_small_file_is_bound_by_memory(tmp_path: Path) -> None:
    source = tmp_path / "one.png"
    source.write_bytes(grey_rgba16(8000))
    assert source.stat().st_size < 1 << 20
    told = subprocess.run(
        [sys.executable, "-c", CHILD, "PNG", str(source)], capture_output=True, text=True, check=True
    ).stdout
    height, width, _, took = (int(word) for word in told.split())
    assert 1280 <= max(height, width) < 2560
    assert took < MEMORY_MIB
