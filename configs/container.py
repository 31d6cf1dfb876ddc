"""Inside a container: the variables that deployments of MuseTalk services already set, as musecast's own.

Only the image's entry point reads them, so that a ``SKIP_FRAMES`` of somebody's shell changes no other daemon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from configs.grid import MAX_SEGMENT_MS, QUANTUM_MS
from configs.load import ConfigError

MODES = {"integrated": "realtime", "offline": "offline"}


def _segment(value: str) -> str:
    try:
        seconds = Decimal(value)
        if not Decimal(QUANTUM_MS) <= seconds * 1000 <= MAX_SEGMENT_MS:
            raise InvalidOperation
    except InvalidOperation:
        raise _wrong(
            "SEGMENT_DURATION", value, f"seconds from {QUANTUM_MS / 1000} to {MAX_SEGMENT_MS / 1000}"
        ) from None
    return str(int(seconds * 1000) // QUANTUM_MS * QUANTUM_MS)


def _skip(value: str) -> str:
    if value not in ("1", "2"):
        raise _wrong("SKIP_FRAMES", value, "1 (every frame) or 2 (every other frame, the rest interpolated)")
    return value


def _mode(value: str) -> str:
    if value not in MODES:
        raise _wrong("STREAMING_MODE", value, "integrated (live, the default) or offline")
    return MODES[value]


VARIABLES: dict[str, tuple[str, Callable[[str], str]]] = {
    "SEGMENT_DURATION": ("MUSECAST_TIMELINE__MAX_SEGMENT_MS", _segment),
    "SKIP_FRAMES": ("MUSECAST_TIMELINE__SKIP_FRAMES", _skip),
    "STREAMING_MODE": ("MUSECAST_TIMELINE__MODE", _mode),
}
"""Variable -> musecast's own, and what its value becomes."""


def translated(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with musecast's variables for those of ``VARIABLES``; musecast's own win where both are set.

    Raises:
        ConfigError: a value that none of them takes, also where another variable would win.
    """
    made = dict(environ)
    for name, (own, convert) in VARIABLES.items():
        value = environ.get(name, "").strip()
        if value:
            converted = convert(value)
            made.setdefault(own, converted)
    return made


def _wrong(name: str, value: str, known: str) -> ConfigError:
    return ConfigError(f"{name}={value!r}: {name} is {known}", hint="the others are " + _others(name))


def _others(name: str) -> str:
    return ", ".join(other for other in VARIABLES if other != name) + ", CUDA_VISIBLE_DEVICES and MUSECAST_*"


def main() -> int:
    """Translate, and become the command that is named on the command line (``musecast up`` in the image).

    Returns:
        78 for a value that is wrong, else nothing: the process goes on as the command.
    """
    try:
        environ = translated(os.environ)
    except ConfigError as error:
        print(f"musecast: {error}", file=sys.stderr)
        return ConfigError.exit_code
    os.execvpe(sys.argv[1], sys.argv[1:], environ)


if __name__ == "__main__":
    sys.exit(main())
