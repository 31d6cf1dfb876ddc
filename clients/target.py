"""Where a file may be written: looked at before the work begins, and replaced in one step at its end."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from clients.errors import MediaError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


class TargetError(MediaError):
    """A file cannot be written there; the text says why, and what to name instead."""


def writable(path: Path, *suffixes: str) -> Path:
    """The file that writing to ``path`` makes or replaces: links are followed, and stay.

    Args:
        suffixes: what the name may end in, in lower case with the dot; anything without them.

    Raises:
        TargetError: another ending, no such folder, no right to write, or something there that is no regular file.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise TargetError(f"{path} must end in {' or '.join(suffixes)}")
    real = Path(os.path.realpath(path))
    shown = f"{path}" if real == path.absolute() else f"{path} ({real})"
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        if not real.parent.is_dir():
            raise TargetError(f"there is no folder {real.parent}: make it first, or name another file") from None
    except OSError as error:
        raise TargetError(f"{shown}: {error.strerror}; name another file") from error
    else:
        if not stat.S_ISREG(mode):
            kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
            raise TargetError(f"{shown} is {kind}, which is never replaced: name a file")
        if not os.access(real, os.W_OK):
            raise TargetError(f"{shown} may not be written: name another file, or change its mode")
    if not os.access(real.parent, os.W_OK | os.X_OK):
        raise TargetError(f"nothing may be written into {real.parent}: name a file elsewhere")
    return real


def part_of(real: Path, suffix: str) -> Path:
    """A new file beside ``real`` in which its content comes into being; for ``put``.

    Raises:
        OSError: it cannot be made.
    """
    descriptor, name = tempfile.mkstemp(prefix=".musecast-", suffix=f".part{suffix}", dir=real.parent)
    os.close(descriptor)
    return Path(name)


def store(path: Path, content: bytes) -> None:
    """Write a whole file in one step.

    Raises:
        TargetError, OSError: it cannot be written.
    """
    real = writable(path)
    part = part_of(real, path.suffix)
    try:
        part.write_bytes(content)
        put(part, real)
    finally:
        part.unlink(missing_ok=True)


def put(part: Path, real: Path) -> None:
    """Give the complete ``part`` its name, and the mode of the file that it replaces or of a new one.

    Raises:
        TargetError: something that is no regular file has come there meanwhile.
        OSError: it cannot be done.
    """
    writable(real)
    if real.exists():
        mode = stat.S_IMODE(real.stat().st_mode)
    else:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    part.chmod(mode)
    os.replace(part, real)
