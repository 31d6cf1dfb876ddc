"""Who is let in: the keys of ``security.clients_dir``, and that of the daemon's own gateway and commands."""

from __future__ import annotations

import os
from collections.abc import Callable

import structlog

from configs import keys, scopes
from configs.keys import KeyFileError, Listed

log = structlog.get_logger()
_Stamp = tuple[int, int, int]


class Keyring:
    """The listed keys, by their public half; reads files, no socket.

    Args:
        own: public key of the gateway and the command line, which may do everything.
        clients_dir: a file ``NAME.key`` for each client.
    """

    def __init__(self, own: str, clients_dir: str) -> None:
        self._own = Listed(keys.LOCAL, own, scopes.level(scopes.OPERATE))
        self._folder = clients_dir
        self._folder_stamp = -1
        self._files: dict[str, tuple[_Stamp, Listed | None]] = {}
        self._listed: dict[str, Listed] = {own: self._own}
        self._unread = False
        self.on_change: Callable[[], None] = lambda: None
        """Is told that somebody was added, removed or has another scope."""
        self.look()

    def find(self, public: str | None) -> Listed | None:
        """Whose key this is; None where nobody is listed with it (any more)."""
        return None if public is None else self._listed.get(public)

    def is_own(self, public: str) -> bool:
        """Whether it is the daemon's own key, which the gateway and all commands share."""
        return public == self._own.public

    def __contains__(self, public: object) -> bool:
        return public in self._listed

    def handshake(self, public: str) -> Listed | None:
        """``find`` for somebody who comes; a folder that has changed since is read first."""
        try:
            changed = os.stat(self._folder).st_mtime_ns != self._folder_stamp
        except OSError:
            changed = True
        if changed:
            self.look()
        return self.find(public)

    def look(self) -> None:
        """Read what has changed; once a second is right. Where the folder cannot be read, the list stays."""
        try:
            stamp = os.stat(self._folder).st_mtime_ns
            files = {one.name: (one.path, one.stat()) for one in keys.key_files(self._folder)}
        except FileNotFoundError:
            stamp, files = -1, {}
        except OSError as error:
            if not self._unread:
                step = "the list stays as it was"
                log.error("keys.unreadable", folder=self._folder, reason=str(error), step=step)
            self._unread = True
            return
        self._unread = False
        self._folder_stamp = stamp
        before, self._files = self._files, {}
        for name, (path, found) in files.items():
            stamps = (found.st_mtime_ns, found.st_size, found.st_ino)
            known = before.get(name)
            self._files[name] = known if known is not None and known[0] == stamps else (stamps, _read(path))
        listed = {one.public: one for _, one in self._files.values() if one is not None}
        listed[self._own.public] = self._own
        if listed != self._listed:
            self._listed = listed
            log.info("keys.changed", clients=len(listed) - 1)
            self.on_change()


def _read(path: str) -> Listed | None:
    try:
        return keys.read_listed(path)
    except KeyFileError as error:
        log.warning("key.unusable", reason=str(error), step="nobody is let in by it")
        return None
