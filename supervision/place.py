"""The runtime directory: private, ours alone, and free of what an earlier daemon left.

It may lie where others can write (``/tmp``), so nothing in it is believed: what is opened is opened below the
directory's own descriptor, no link is followed, and owner and kind are asked of what was opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat

LOCK_NAME = "lock"
STATE_LOCK_NAME = ".in_use"
SCRATCH_NAME = "tmp"
"""Temporary files of the daemon's processes."""
JOURNAL_NAME = "journal"
"""What of the sessions outlives a broker; not the daemon."""
_OWN = ("ingress", "members", "health", "config.json")
_RESERVED = (*_OWN, LOCK_NAME, SCRATCH_NAME, JOURNAL_NAME)
_OWN_PREFIXES = ("w.", "c.", "hand.", "stacks.", "config.json.", "gateway.")


class InUseError(Exception):
    """Another daemon runs on this directory."""

    exit_code = 75


class PlaceError(Exception):
    """The directory cannot be used."""

    exit_code = 78


class RuntimeDir:
    """Holds the directory's lock from ``__init__`` to ``close``."""

    def __init__(self, path: str) -> None:
        """Create (mode 0700), lock, clean.

        The lock comes before any bind: a second bind of an ipc path succeeds and deafens the first daemon.

        Raises:
            InUseError: naming the other daemon's pid.
            PlaceError: not a directory, someone else's, or not writable; or its lock is not a file of ours.
        """
        self.path = path
        self._folder = self._lock = -1
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            self._folder = _open_folder(path)
            self._lock = _open_lock(path, self._folder)
            self._take_lock()
            self.clean()
        except OSError as error:
            self._close_all()
            raise PlaceError(f"runtime_dir {path}: {_words(error)}; choose another") from None
        except BaseException:
            self._close_all()
            raise

    def _take_lock(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
            raise InUseError(
                f"runtime_dir {self.path} is in use by process {holder}; stop it, or set another runtime_dir"
                " and other ports"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def clean(self) -> None:
        """Remove what daemons put here; nothing else.

        Raises:
            OSError: something under one of their names cannot be removed.
        """
        for name in os.listdir(self._folder):
            if name in _OWN or name.startswith(_OWN_PREFIXES):
                os.unlink(name, dir_fd=self._folder)
            elif name in (SCRATCH_NAME, JOURNAL_NAME):
                self._remove_tree(name)

    def _remove_tree(self, name: str) -> None:
        """The kind is looked at only to choose: neither ``unlink`` nor ``rmtree`` follows a link."""
        if stat.S_ISDIR(os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=self._folder)
        else:
            os.unlink(name, dir_fd=self._folder)

    def close(self) -> None:
        """Clean up and let the next daemon in."""
        try:
            self.clean()
            os.ftruncate(self._lock, 0)
        finally:
            self._close_all()

    def _close_all(self) -> None:
        for descriptor in (self._lock, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._folder = self._lock = -1


class StateDir:
    """Says while it is open that a daemon uses ``state_dir``; several may, each by a lock that all can share."""

    def __init__(self, path: str) -> None:
        """Create (mode 0700) and note the use. A folder that cannot be written is used all the same, unnoted.

        Raises:
            OSError: there is none and none can be made.
        """
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.shared = False
        """Whether another daemon used it already."""
        self._lock = -1
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._lock = os.open(os.path.join(path, STATE_LOCK_NAME), flags, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.shared = True
        with contextlib.suppress(OSError):  # the other one is just looking whether it is alone
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        """The daemon has ended; the file stays, it says nothing without its lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def check_runtime_dir(path: str) -> None:
    """Whether ``RuntimeDir`` would take a directory that is there already; one that is not there is fine.

    Raises:
        PlaceError: see ``RuntimeDir``. Nothing is made or changed.
    """
    try:
        folder = _open_folder(path, change=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PlaceError(f"runtime_dir {path}: {_words(error)}; choose another") from None
    try:
        os.close(_open_lock(path, folder, os.O_RDWR))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise PlaceError(f"runtime_dir {path}: {_words(error)}; choose another") from None
    finally:
        os.close(folder)


def _open_folder(path: str, *, change: bool = True) -> int:
    """A descriptor of the directory, which is ours and closed to others (afterwards, with ``change``)."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:  # a link, too
        raise PlaceError(f"runtime_dir {path} is no directory (links are not followed); choose another") from None
    try:
        status = os.fstat(folder)
        if status.st_uid != os.getuid():
            raise PlaceError(f"runtime_dir {path} belongs to user {status.st_uid}, not to {_me()}; choose another")
        if stat.S_IMODE(status.st_mode) & 0o077:
            # Only an empty directory, or one that was ours before, is ours to change.
            names = os.listdir(folder)
            if names and LOCK_NAME not in names:
                raise PlaceError(
                    f"runtime_dir {path} is open to other users and holds other files;"
                    " choose another, or chmod 700 it"
                )
            if change:
                os.fchmod(folder, 0o700)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open_lock(path: str, folder: int, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """A descriptor of the lock file, which is a plain file of ours under no second name."""
    name = os.path.join(path, LOCK_NAME)
    try:
        # O_NONBLOCK: a pipe by that name must not hold us up.
        lock = os.open(LOCK_NAME, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise PlaceError(f"{name} cannot be the daemon's lock: {_words(error)}; remove it") from None
    status = os.fstat(lock)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_nlink != 1:
        os.close(lock)
        raise PlaceError(f"{name} is not a plain file of {_me()} alone; remove it, or choose another runtime_dir")
    return lock


def socket_fault(path: str) -> PlaceError | None:
    """Why no public socket can be bound at ``path``; None where it can, also where its folder has to be made."""
    folder, name = os.path.split(path)
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return PlaceError(f"{folder}: {_words(error)}; choose another folder")
    if not stat.S_ISDIR(found.st_mode):
        return PlaceError(f"{folder} is no directory (links are not followed); choose another folder")
    if found.st_uid != os.getuid():
        return PlaceError(f"{folder} belongs to user {found.st_uid}, not to {_me()}; choose another folder")
    if found.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        return PlaceError(
            f"{folder} is open to other users ({stat.S_IMODE(found.st_mode):04o}); chmod 700 it, or 750 to let its"
            " group connect, or choose another folder"
        )
    if os.path.exists(os.path.join(folder, LOCK_NAME)) and (name in _RESERVED or name.startswith(_OWN_PREFIXES)):
        return PlaceError(f"{path} is a name that the daemon itself uses in its runtime_dir; choose another name")
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISSOCK(mode):
        return PlaceError(f"{path} is there and no socket; remove it, or choose another name")
    return None


def make_socket_folder(path: str) -> None:
    """The folder of a public socket, closed to others where it is new.

    Raises:
        PlaceError: it cannot be made.
    """
    folder = os.path.dirname(path)
    try:
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
            os.chmod(folder, 0o700)  # whatever the umask is
    except OSError as error:
        raise PlaceError(f"{folder}: {_words(error)}; choose another folder") from None
    if (fault := socket_fault(path)) is not None:
        raise fault


def _me() -> str:
    return f"user {os.getuid()}"


def _words(error: OSError) -> str:
    return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
