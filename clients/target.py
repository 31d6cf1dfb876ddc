"""Files that are named: what may be read, and where may be written, looked at before the work begins."""

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
    """A file cannot be read or written there; the text says why, and what to name instead."""


def readable(path: Path) -> None:
    """Look at a file before it is opened, which would wait for ever for what a pipe or a terminal has to say.

    Raises:
        TargetError: it is no regular file.
        OSError: there is none, or the way to it may not be gone.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise TargetError(f"{path} is {KINDS.get(stat.S_IFMT(mode), 'no regular file')}: name a file")


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
