"""Photos: what a file is (from its header, before anything is decoded), and its pixels.

Headers after the JPEG (ITU-T T.81 B.2), PNG (W3C PNG 3rd edition, 5 and 11.2.1) and WebP (RFC 9649)
specifications.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import EngineError

U8 = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
"""A larger picture is refused by its header; 64 megapixels decode into 190 MB."""
REDUCE_PIXELS = 12_000_000
"""A JPEG above this is decoded at half its size."""
NEUTRAL = (206, 204, 202)
"""BGR behind what is transparent."""
_SOF = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_BAD = "send a JPEG, PNG or WebP photo, or a video"


class Header(NamedTuple):
    """What a picture's header says."""

    format: str
    """"JPEG", "PNG" or "WebP"."""
    width: int
    height: int
    orientation: int
    """EXIF orientation, 1 to 8."""


def looks_like_image(data: memoryview | bytes) -> bool:
    """Whether the first bytes are those of a photo that this module reads."""
    head = bytes(data[:16])
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))


def read_header(data: bytes) -> Header:
    """What the header says, and that the file is whole.

    Raises:
        EngineError: INVALID_ARGUMENT for another format or a damaged file.
    """
    try:
        if data.startswith(b"\x89PNG"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        return _webp(data)
    except (struct.error, IndexError, ValueError) as error:
        raise EngineError("INVALID_ARGUMENT", f"the picture is damaged: {error}", _BAD) from error


def decode_photo(data: bytes) -> U8:
    """The picture upright, on a neutral background: u8 BGR ``[H, W, 3]``.

    Raises:
        EngineError: INVALID_ARGUMENT when it is damaged, TOO_LARGE when its header announces too many pixels.
    """
    header = read_header(data)
    pixels = header.width * header.height
    if not 0 < pixels <= MAX_PIXELS:
        raise EngineError(
            "TOO_LARGE",
            f"the picture is {header.width}x{header.height}, {pixels / 1e6:.0f} megapixels; the limit is "
            f"{MAX_PIXELS // 1_000_000}",
            "send a smaller version",
        )
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), _flags(header))
    except cv2.error as error:
        raise EngineError("INVALID_ARGUMENT", f"the {header.format} is damaged: {error.err}", _BAD) from error
    if found is None:
        raise EngineError("INVALID_ARGUMENT", f"the {header.format} is damaged and does not decode", _BAD)
    return _upright(_flat(np.asarray(found)), header.orientation)


def _flags(header: Header) -> int:
    if header.format != "JPEG":
        return int(cv2.IMREAD_UNCHANGED)
    large = header.width * header.height > REDUCE_PIXELS
    return int((cv2.IMREAD_REDUCED_COLOR_2 if large else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION)


def _flat(found: NDArray[Any]) -> U8:
    """Any depth, grey or transparent, to u8 BGR."""
    if found.dtype == np.uint16:
        found = (found >> 8).astype(np.uint8)
    elif found.dtype != np.uint8:
        found = np.clip(found * 255, 0, 255).astype(np.uint8)
    if found.ndim == 2:
        return np.asarray(cv2.cvtColor(found, cv2.COLOR_GRAY2BGR), np.uint8)
    if found.shape[2] == 4:
        alpha = found[..., 3:].astype(np.float32) / 255
        mixed = found[..., :3] * alpha + np.asarray(NEUTRAL, np.float32) * (1 - alpha)
        return np.asarray(mixed + 0.5).astype(np.uint8)
    return np.ascontiguousarray(found[..., :3])


def _upright(picture: U8, orientation: int) -> U8:
    """Undo an EXIF orientation (CIPA DC-008, 4.6.4, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


# --- headers ---------------------------------------------------------------------------------------------


def _png(data: bytes) -> Header:
    width, height = 0, 0
    orientation = 1
    ended = False
    for kind, body in _png_chunks(data):
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        elif kind == b"eXIf":
            orientation = _exif_orientation(body)
        ended = kind == b"IEND"
    if not ended or not width:
        raise ValueError("the PNG ends too early")
    return Header("PNG", width, height, orientation)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if len(body) != size or at + 12 + size > len(data):
            raise ValueError("the PNG ends too early")
        (crc,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        if zlib.crc32(body, zlib.crc32(kind)) != crc:
            raise ValueError(f"checksum of PNG chunk {kind!r}")
        yield kind, body
        if kind == b"IEND":
            return
        at += 12 + size


def _jpeg(data: bytes) -> Header:
    at, size = 2, (0, 0)
    orientation = 1
    while size == (0, 0):
        marker, length = data[at + 1], int(struct.unpack(">H", data[at + 2 : at + 4])[0])
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        if marker == 0xFF:
            at += 1
            continue
        body = data[at + 4 : at + 2 + length]
        if marker in _SOF:
            height, width = struct.unpack(">HH", body[1:5])
            size = (width, height)
        elif marker == 0xE1 and body.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(body[6:])
        elif marker in (0xD9, 0xDA):
            raise ValueError("no frame header")
        at += 2 + length
    if data.rfind(b"\xff\xd9") < at:
        raise ValueError("the JPEG ends too early")
    return Header("JPEG", size[0], size[1], orientation)


def _webp(data: bytes) -> Header:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise EngineError("INVALID_ARGUMENT", "this is not a JPEG, PNG or WebP picture", _BAD)
    (size,) = struct.unpack("<I", data[4:8])
    if size + 8 > len(data):
        raise ValueError("the WebP ends too early")
    at, end = 12, size + 8
    found: tuple[int, int] | None = None
    orientation = 1
    while at + 8 <= end:
        kind, length = struct.unpack("<4sI", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if len(body) != length:
            raise ValueError("the WebP ends too early")
        found = found or _webp_size(kind, body)
        if kind == b"EXIF":
            orientation = _exif_orientation(body.removeprefix(b"Exif\0\0"))
        at += 8 + length + (length & 1)
    if found is None:
        raise ValueError("the WebP has no picture")
    return Header("WebP", found[0], found[1], orientation)


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _exif_orientation(tiff: bytes) -> int:
    """Tag 0x0112 of the first directory; 1 when there is none or it cannot be read: it only turns a picture."""
    try:
        order = {b"II": "<", b"MM": ">"}[tiff[:2]]
        (at,) = struct.unpack(order + "I", tiff[4:8])
        (count,) = struct.unpack(order + "H", tiff[at : at + 2])
        for k in range(min(count, 256)):
            tag, kind, _, value = struct.unpack(order + "HHIH", tiff[at + 2 + 12 * k : at + 12 + 12 * k])
            if tag == 0x0112 and kind == 3 and 1 <= value <= 8:
                return int(value)
    except (KeyError, struct.error):
        pass
    return 1
