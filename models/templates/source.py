"""Files that are named by a path: which may be read, and how they are opened.

Whoever may write below a root must not get another file read: the way is walked from the root folder by folder,
each opened relative to the one before and never through a link, and everything is checked on what was opened.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import PurePath
from typing import BinaryIO

from models.errors import EngineError

_HINT = "name a regular file below one of template_roots, or send it as 'image' or 'video'"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def place_below(path: str, roots: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The root that ``path`` is below, and the names from there to it. By the words alone: nothing is looked at
    but the roots themselves, which may be links.

    Raises:
        EngineError: INVALID_ARGUMENT when it is below none.
    """
    if "\0" in path:
        raise EngineError("INVALID_ARGUMENT", "'path' has a zero byte", _HINT)
    whole = PurePath(os.path.abspath(path))
    for root in roots:
        for name in dict.fromkeys((os.path.abspath(root), os.path.realpath(root))):
            if whole.is_relative_to(name) and whole != PurePath(name):
                return root, whole.relative_to(name).parts
    raise EngineError(
        "INVALID_ARGUMENT", f"path {path!r} is not below one of template_roots in the configuration", _HINT
    )


def open_below(path: str, roots: Sequence[str], size_max: int) -> BinaryIO:
    """Open the regular file at ``path``, following no link below its root. The caller closes it.

    Args:
        path: as a client named it.
        roots: folders; ``template_roots`` of the configuration.
        size_max: bytes.

    Raises:
        EngineError: INVALID_ARGUMENT when it may not be read or is no regular file, NOT_FOUND, TOO_LARGE.
    """
    root, names = place_below(path, roots)
    try:
        with contextlib.ExitStack() as opened:
            folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, folder)
            for name in names[:-1]:
                folder = os.open(name, _FOLDER, dir_fd=folder)
                opened.callback(os.close, folder)
            # Looked at before it is opened too: opening a device can act on it.
            _refuse_other(os.stat(names[-1], dir_fd=folder, follow_symlinks=False), path, size_max)
            file = os.open(names[-1], _FILE, dir_fd=folder)
    except FileNotFoundError:
        raise EngineError("NOT_FOUND", f"no file at {path!r}", "name one that is there") from None
    except OSError as error:
        raise EngineError("INVALID_ARGUMENT", _why_not(path, error), _HINT) from error
    try:
        _refuse_other(os.fstat(file), path, size_max)
        os.set_blocking(file, True)
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def _why_not(path: str, error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return f"the way to {path!r} goes through a link, or through what is no folder; links are not followed"
    return f"cannot read {path!r}: {error.strerror}"


def _refuse_other(found: os.stat_result, path: str, size_max: int) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise EngineError("INVALID_ARGUMENT", f"{path!r} is a link; links are not followed", _HINT)
    if not stat.S_ISREG(found.st_mode):
        raise EngineError("INVALID_ARGUMENT", f"{path!r} is no regular file", _HINT)
    if found.st_size > size_max:
        raise EngineError(
            "TOO_LARGE", f"{path!r} has {found.st_size >> 20} MiB; the limit is {size_max >> 20}", "shorten it"
        )
