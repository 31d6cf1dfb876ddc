"""Where the voice detector's network lies: in the faster-whisper package, which is not imported for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from models.errors import EngineError

_FILE = Path("assets") / "silero_vad_v6.onnx"
HINT = "Install faster-whisper 1.2 or newer (pip install 'faster-whisper>=1.2,<2')"


def model_path() -> Path:
    """Where the installed package keeps the network.

    Raises:
        EngineError: ``FAILED``; the package is missing or does not carry this file.
    """
    spec = importlib.util.find_spec("faster_whisper")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(
            "FAILED", "voice detection needs the Silero file of faster-whisper, which is missing", HINT
        )
    path = Path(next(iter(spec.submodule_search_locations))) / _FILE
    if not path.is_file():
        raise EngineError("FAILED", f"the installed faster-whisper carries no {_FILE.name}", HINT)
    return path
