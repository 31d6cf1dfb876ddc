"""The model files: two ``.tflite`` files out of the public mediapipe 0.10.21 wheel (Apache-2.0), by hash.

They are put into the environment once, by ``make install`` or ``musecast weights pull landmarks`` (``pull``); who
may not write there has them below ``weights_dir``. Nothing here opens a network.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from models.errors import EngineError

DETECTOR = "face_detection_short_range.tflite"
MESH = "face_landmark.tflite"
SHA256 = {
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    MESH: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}
HINT = "Get them with: musecast weights pull landmarks"


def environment_folder() -> Path:
    """Where the files lie inside the environment that runs this."""
    return Path(sys.prefix) / "share" / "musecast" / "landmarks"


def folder_of(weights_dir: str) -> Path:
    """Where the files lie below ``weights_dir``."""
    return Path(weights_dir) / "landmarks"


def load(weights_dir: str) -> dict[str, bytes]:
    """The content of every model file by name, checked against its hash: the environment's, else those below
    ``weights_dir``.

    Raises:
        EngineError: FAILED when they are in neither place, with the command that gets them.
    """
    wrong = []
    for folder in (environment_folder(), folder_of(weights_dir)):
        try:
            return read(folder)
        except EngineError as error:
            wrong.append(error.message)
    raise EngineError("FAILED", "; ".join(wrong), HINT)


def read(folder: Path) -> dict[str, bytes]:
    """The content of every model file in ``folder``.

    Raises:
        EngineError: FAILED when one is missing, cannot be read or is another file.
    """
    found: dict[str, bytes] = {}
    for name, digest in SHA256.items():
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            raise EngineError("FAILED", f"the face models are not in {folder}", HINT) from None
        except OSError as error:
            raise EngineError("FAILED", f"a face model cannot be read: {error}", HINT) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise EngineError("FAILED", f"{folder / name} is not the expected file", HINT)
        found[name] = data
    return found
