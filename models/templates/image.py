"""Photos and animations: what a file is, by its first bytes and its header, and a photo's pixels.

Pillow (and libheif for HEIC) reads formats, sizes and orientation from the header; pixels are decoded once, as
small as the format allows, and brought to the wanted size in strips, so that a picture's memory is bounded.
"""

from __future__ import annotations

import contextlib
import struct
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.api import EngineError
from models.templates import pixels

U8 = NDArray[np.uint8]

Image.MAX_IMAGE_PIXELS = None  # refused below with the limit of the format, not with a warning

PHOTOS = "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF"
FILMS = "MP4, MOV, WebM, MKV or AVI"
FORMATS_HINT = f"send a photo ({PHOTOS}) or a film ({FILMS})"
HEAD = 32
"""First bytes that ``format_of`` looks at."""
MIN_SIDE = 64
"""Pixels; a smaller picture has no room for a face that can speak."""
MEGAPIXELS = {
    "JPEG": 256, "progressive JPEG": 50, "PNG": 64, "WebP": 24, "HEIC": 64, "AVIF": 40, "GIF": 64, "BMP": 64,
    "TIFF": 40, "16-bit TIFF": 24,
}  # fmt: skip
"""The largest picture of each format: decoding it takes at most about 350 MB. A JPEG is decoded at an eighth of
its size, unless it comes in several scans, as a progressive one does: then all of it is held meanwhile. A TIFF
may be one strip, which is held beside the pixels made of it; a "16-bit" one has more than 32 bits a pixel."""
READ_WHOLE = {"WebP", "HEIC", "AVIF"}
READ_WHOLE_BYTES, BYTES = 64 << 20, 256 << 20
"""The largest file of a format whose decoder wants all of it in memory, and of any other."""
_PILLOW = {"WebP": "WEBP"}
_ANIMATED = {"GIF", "PNG", "WebP", "AVIF"}
"""Formats whose further pictures are a film; in a TIFF they are pages, in a JPEG other views."""
_DNG_VERSION = 50706
"""Its tag (Digital Negative Specification 1.7, chapter 4)."""
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"mif1"}
_BARE = {0, 1, *range(0xD0, 0xD9)}
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that stand alone, and those of a frame's header."""
_BITS_PER_SAMPLE = 258
_BITMAP_HEADERS = {12, 40, 52, 56, 64, 108, 124}


class _Lent:
    """The caller's file, which a decoder cannot close."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell

    def close(self) -> None:
        pass


class Picture(NamedTuple):
    """An opened picture, not decoded yet."""

    format: str
    """As in ``MEGAPIXELS``, without "progressive" and "16-bit"."""
    width: int
    height: int
    """As stored; an orientation may exchange them."""
    animated: bool
    handle: Any
    """What Pillow or libheif opened."""


def format_of(head: bytes) -> str | None:
    """The picture's format, by the first ``HEAD`` bytes of its file; None: not one that is read as a picture."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS:
        return "BMP"
    return _still_in_boxes(head) if head[4:8] == b"ftyp" else None


def _still_in_boxes(head: bytes) -> str | None:
    """Of an ISO base media file (ISO/IEC 23008-12, 10.2): a brand of stills stands for a picture to show; a file
    with a track of pictures alone is a film.
    """
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, len(head) - 3, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if brands & _HEIC else None


@contextlib.contextmanager
def open_picture(file: BinaryIO, kind: str) -> Iterator[Picture]:
    """Open a picture of the format ``kind`` and check what its header says. Nothing is decoded.

    Raises:
        EngineError: INVALID_ARGUMENT when it is damaged, TOO_LARGE beyond a limit.
    """
    _refuse_bytes(file, kind)
    if kind == "TIFF":
        _refuse_raw(file)
    lent: Any = _Lent(file)
    with _blamed(kind):
        if kind == "PNG":  # the decoder skips the checksums
            with Image.open(lent, formats=["PNG"]) as checked:
                _refuse_pixels("PNG", *checked.size)
                checked.verify()
            file.seek(0)
        handle = _open_heic(lent) if kind == "HEIC" else Image.open(lent, formats=[_PILLOW.get(kind, kind)])
    try:
        with _blamed(kind):
            animated = kind in _ANIMATED and bool(getattr(handle, "is_animated", False))
            limited = _limited(kind, handle, file)
        width, height = handle.size
        _refuse_pixels(limited, width, height)
        yield Picture(kind, width, height, animated, handle)
    finally:
        if kind != "HEIC":
            handle.close()  # its pixels


def decode_photo(picture: Picture, side: int) -> U8:
    """The (first) picture upright, in sRGB, on a neutral background: u8 BGR ``[H, W, 3]``.

    Args:
        picture: as ``open_picture`` gave it.
        side: the longer side that is wanted, pixels. The result is at most twice as long, and not shorter
            unless the picture is.

    Raises:
        EngineError: INVALID_ARGUMENT when it is damaged.
    """
    handle = picture.handle
    with _blamed(picture.format):
        if picture.format == "HEIC":
            return pixels.from_array(np.asarray(handle), handle.info.get("icc_profile"), side)
        if picture.format == "JPEG":
            longer = max(picture.width, picture.height)
            handle.draft(handle.mode, tuple(-(-n * side // longer) if longer > side else n for n in handle.size))
        orientation = _orientation(handle) if picture.format == "TIFF" else 0
        handle.load()
        found = pixels.from_image(handle, side)
        if picture.format == "TIFF":  # Pillow has turned it while loading
            return pixels.square(found, _density(handle.info, swapped=orientation >= 5))
        return pixels.upright(found, _orientation(handle))


def _limited(kind: str, handle: Any, file: BinaryIO) -> str:
    """Which of ``MEGAPIXELS`` holds for an opened picture."""
    if kind == "JPEG" and (handle.info.get("progressive") or _in_scans(file)):
        return "progressive JPEG"
    if kind == "TIFF" and sum(handle.tag_v2.get(_BITS_PER_SAMPLE, ())) > 32:
        return "16-bit TIFF"
    return kind


def _in_scans(file: BinaryIO) -> bool:
    """Whether the first scan of a JPEG holds fewer components than its frame (ITU-T T.81, B.2.2 and B.2.3): the
    decoder then keeps the coefficients of the whole picture. The place in the file stays as it is.
    """
    place, components = file.tell(), 0
    file.seek(2)
    try:
        while True:
            while file.read(1)[0] != 0xFF:
                pass
            while (code := file.read(1)[0]) == 0xFF:
                pass
            if code == 0xD9:
                return False
            if code in _BARE:
                continue
            size = int.from_bytes(file.read(2), "big")
            body = file.tell()
            if code == 0xDA:
                return file.read(1)[0] < components
            if code in _FRAMES:
                components = file.read(6)[-1]
            file.seek(body + max(size - 2, 0))
    except IndexError:  # it ends there
        return False
    finally:
        file.seek(place)


def _open_heic(file: Any) -> Any:
    try:
        import pi_heif
    except ImportError as error:
        raise EngineError("FAILED", f"reading HEIC needs pi-heif: {error}", "pip install pi-heif") from error
    found = pi_heif.open_heif(file, convert_hdr_to_8bit=True)
    return found[found.primary_index]


def _refuse_raw(file: BinaryIO) -> None:
    """Raise INVALID_ARGUMENT for a raw file of a camera: a TIFF of which only a small preview could be read."""
    tags: tuple[int, ...] = ()
    with contextlib.suppress(struct.error):  # what is damaged is told by the decoder
        head = file.read(8)
        order = "<" if head.startswith(b"II") else ">"
        file.seek(*struct.unpack(f"{order}4xI", head))
        (count,) = struct.unpack(f"{order}H", file.read(2))
        tags = struct.unpack(order + "H10x" * count, file.read(12 * count))
    file.seek(0)
    if _DNG_VERSION in tags:
        fact = "this is a raw photo (DNG), of which only a small preview could be read"
        raise EngineError("INVALID_ARGUMENT", fact, "export it as JPEG")


def _orientation(handle: Any) -> int:
    """EXIF orientation, 1 to 8 (CIPA DC-008, 4.6.4, tag 0x0112); 1 where none can be read: it only turns."""
    with contextlib.suppress(Exception):
        value = handle.getexif().get(0x0112, 1)
        if value in range(1, 9):
            return int(value)
    return 1


def _density(info: dict[str, Any], *, swapped: bool) -> float:
    """Width of a scan's pixel in its heights."""
    across, down = (float(n) for n in info.get("dpi", (1, 1)))
    if not (across > 0 and down > 0):
        return 1.0
    return across / down if swapped else down / across


@contextlib.contextmanager
def _blamed(kind: str) -> Iterator[None]:
    """Whatever a decoder raises is the file's fault: they meet damage with a dozen kinds of exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (EngineError, MemoryError):
        raise
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        said = "its header cannot be read" if "cannot identify" in said else said
        said = "it ends too early" if "runcated" in said else said
        raise EngineError("INVALID_ARGUMENT", f"the {kind} is damaged: {said}", FORMATS_HINT) from error


def _refuse_pixels(kind: str, width: int, height: int) -> None:
    limit = MEGAPIXELS[kind]
    if width * height > limit * 1_000_000:
        raise EngineError(
            "TOO_LARGE",
            f"the picture is {width}x{height}, {width * height / 1e6:.0f} megapixels; the limit is {limit} for a "
            f"{kind}",
            "send a smaller version",
        )


def _refuse_bytes(file: BinaryIO, kind: str) -> None:
    size = file.seek(0, 2)
    file.seek(0)
    limit = READ_WHOLE_BYTES if kind in READ_WHOLE else BYTES
    if size > limit:
        raise EngineError(
            "TOO_LARGE", f"the {kind} has {size >> 20} MiB; the limit is {limit >> 20}", "send a smaller version"
        )


def refuse_small(width: int, height: int) -> None:
    """Raise INVALID_ARGUMENT for a picture that no face has room in."""
    if min(width, height) < MIN_SIDE:
        raise EngineError(
            "INVALID_ARGUMENT",
            f"the picture is {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are needed",
            "send a larger one",
        )
