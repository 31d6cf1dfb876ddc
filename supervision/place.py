"""The runtime directory: private, ours alone, and free of what an earlier daemon left."""

from __future__ import annotations

import fcntl
import os
import stat

LOCK_NAME = "lock"
_OWN = ("ingress", "members", "health", "config.json")
_OWN_PREFIXES = ("w.", "c.", "hand.", "config.json.")


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
            PlaceError: not a directory, someone else's, or not writable.
        """
        self.path = path
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                raise PlaceError(f"runtime_dir {path} is not a directory of user {os.getuid()}; choose another")
            if stat.S_IMODE(status.st_mode) & 0o077:
                self._close_to_others(path)
            self._lock = os.open(os.path.join(path, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PlaceError(f"runtime_dir {path}: {error.strerror}; choose another") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise InUseError(
                f"runtime_dir {path} is in use by process {holder}; stop it or set another runtime_dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self.clean()

    @staticmethod
    def _close_to_others(path: str) -> None:
        """Only an empty directory, or one that was ours before, is ours to change."""
        names = os.listdir(path)
        if names and LOCK_NAME not in names:
            raise PlaceError(
                f"runtime_dir {path} is open to other users and holds other files; choose another, or chmod 700 it"
            )
        os.chmod(path, 0o700)

    def clean(self) -> None:
        """Remove what daemons put here; nothing else."""
        for name in os.listdir(self.path):
            if name in _OWN or name.startswith(_OWN_PREFIXES):
                os.unlink(os.path.join(self.path, name))

    def close(self) -> None:
        """Clean up and let the next daemon in."""
        self.clean()
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
