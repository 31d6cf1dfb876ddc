"""Key files of the public sockets: where they are, reading, making, listing. pyzmq's certificate files.

| file below ``<state_dir>/keys`` | what |
|---|---|
| ``server.key_secret`` | the daemon's own, unless ``security.secret_key_file`` names another |
| ``local.key_secret`` | of the gateway and the command line: whoever can read it may do everything |
| ``clients/NAME.key`` | a client that is let in, and its scope; ``security.clients_dir`` names another folder |

Secrets have the mode 0600, folders 0700. Nothing that is there is overwritten.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq import auth

from configs import scopes
from configs.wording import two_sentences

FOLDER = "keys"
SERVER, LOCAL, CLIENTS = "server", "local", "clients"
PUBLIC, SECRET = ".key", ".key_secret"
KEY_CHARS = 40
"""Of a key as text (Z85)."""
NAME_MAX = 64
MOST = 1024
"""Client keys; files beyond that are not read."""
LONGEST_BYTES = 65_536
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{NAME_MAX}}}")
_Z85 = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_ENTRY = re.compile(r"^[ \t]+(?P<name>[\w-]+)\s*=\s*(?P<value>.*?)\s*$", re.MULTILINE)


class KeyFileError(Exception):
    """A key file cannot be used; the text names it, the fact and, where there is one, the next step."""

    def __init__(self, fact: str, step: str = "") -> None:
        self.fact = fact
        self.step = step
        super().__init__(two_sentences(fact, step))


class Pair(NamedTuple):
    """Both halves of a key, as text."""

    public: bytes
    secret: bytes


@dataclass(frozen=True, slots=True)
class Listed:
    """A client that is let in."""

    name: str
    public: str
    level: int
    """Index of its highest scope."""

    def may(self, scope: str) -> bool:
        """Whether its scope is enough."""
        return self.level >= scopes.level(scope)

    @property
    def scope(self) -> tuple[str, ...]:
        """All scopes that it has."""
        return scopes.up_to(self.level)


def folder(state_dir: str) -> Path:
    """Where the daemon's own keys are."""
    return Path(state_dir, FOLDER)


def default_secret_file(state_dir: str) -> str:
    """Of the server."""
    return str(folder(state_dir) / f"{SERVER}{SECRET}")


def default_clients_dir(state_dir: str) -> str:
    """Of the clients' public keys."""
    return str(folder(state_dir) / CLIENTS)


# --- reading ---------------------------------------------------------------------------------------------


def read_pair(path: str | Path) -> Pair:
    """A secret key file.

    Raises:
        KeyFileError: it is not there, not readable, open to others, or no such file.
    """
    form = "name a secret key file of pyzmq's form, such as zmq.auth.create_certificates writes"
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise KeyFileError(f"{path} is no regular file", form)
        if mode & (stat.S_IWGRP | stat.S_IRWXO):
            raise KeyFileError(f"{path} is open to other users ({stat.S_IMODE(mode):04o})", f"chmod 600 {path}")
        public, secret = auth.load_certificate(path)
    except ValueError:
        raise KeyFileError(f"{path} has no public key", form) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror or error}") from None
    if secret is None or not (_is_key(public) and _is_key(secret)):
        raise KeyFileError(f"{path} has not both a public and a secret key of {KEY_CHARS} characters", form)
    return Pair(public, secret)


def local_pair(state_dir: str) -> Pair:
    """Of the gateway and the command line of this daemon.

    Raises:
        KeyFileError: they are not there yet, or are another user's.
    """
    return read_pair(folder(state_dir) / f"{LOCAL}{SECRET}")


def _public(path: Path) -> bytes:
    """Raises OSError, KeyFileError."""
    try:
        public, _ = auth.load_certificate(path)
    except ValueError:
        raise KeyFileError(f"{path} has no public key") from None
    if not _is_key(public):
        raise KeyFileError(f"{path}: a public key has {KEY_CHARS} characters (Z85)")
    return public


def read_listed(path: str | Path) -> Listed:
    """A client's public key file. Without a scope in its metadata it may do everything: nobody has limited it.

    Raises:
        KeyFileError: it cannot be read, or says something that is not understood.
    """
    path = Path(path)
    try:
        text = path.read_bytes()[:LONGEST_BYTES].decode("utf-8")
        public = _public(path)
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    said = {found["name"]: found["value"].strip("\"'") for found in _ENTRY.finditer(text)}
    try:
        highest = scopes.highest(said["scope"]) if "scope" in said else scopes.level(scopes.OPERATE)
    except ValueError:
        known = ", ".join(scopes.SCOPES)
        raise KeyFileError(f"{path}: scope {said['scope']!r} is not a list of {known}") from None
    return Listed(path.stem, public.decode(), highest)


def key_files(clients_dir: str | Path) -> list[os.DirEntry[str]]:
    """The files that may list clients, by name.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(clients_dir) as entries:
        found = sorted((entry for entry in entries if entry.name.endswith(PUBLIC)), key=lambda one: one.name)
    return found[:MOST]


def is_name(text: str) -> bool:
    """Whether a client's key may have this name."""
    return _NAME.fullmatch(text) is not None


def _is_key(text: bytes) -> bool:
    return _Z85.fullmatch(text.decode("latin-1")) is not None


# --- making ----------------------------------------------------------------------------------------------


class Made(NamedTuple):
    """A new key."""

    public: str
    public_file: Path
    secret_file: Path


def make(where: Path, name: str, *, scope: int | None = None, replace: bool = False) -> Made:
    """A new pair as ``NAME.key`` and ``NAME.key_secret``; the folder is made where it is missing.

    The public file comes last and whole: it is what lets somebody in.

    Args:
        scope: highest scope, for the metadata; None: a server's or the daemon's own.
        replace: put it in the place of one that is there.

    Raises:
        FileExistsError: a key of that name is there.
        OSError: it cannot be written.
    """
    make_folder(where)
    if not replace and (there := where / f"{name}{PUBLIC}").exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(there))
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=where))  # mode 0700
    try:
        metadata = {"name": name} | ({} if scope is None else {"scope": ",".join(scopes.up_to(scope))})
        public_file, secret_file = map(Path, auth.create_certificates(scratch, name, metadata))
        public, _ = auth.load_certificate(public_file)
        # pyzmq writes the metadata into the secret file alone; the broker reads the public one.
        lines = "".join(f"    {key} = {value}\n" for key, value in metadata.items())
        text = public_file.read_text("utf-8")
        public_file.write_text(text.replace("metadata\n", f"metadata\n{lines}", 1), "utf-8")
        for path in (public_file, secret_file):
            path.chmod(0o600)
            _give(path, where)
        put = os.replace if replace else os.link  # a link fails where the name is taken
        for path in (secret_file, public_file):
            put(path, where / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Made(public.decode(), where / public_file.name, where / secret_file.name)


def make_own(state_dir: str, secret_key_file: str, clients_dir: str) -> None:
    """What a daemon needs and does not find: its key and that of its gateway and commands, below ``state_dir``.

    A server key that was named by hand is not made: clients would know another one.

    Raises:
        OSError: it cannot be written.
    """
    own = folder(state_dir)
    names = [LOCAL] + ([SERVER] if secret_key_file == default_secret_file(state_dir) else [])
    for name in names:
        if not (own / f"{name}{SECRET}").exists():
            (own / f"{name}{PUBLIC}").unlink(missing_ok=True)  # worth nothing without the other half
            try:
                make(own, name)
            except FileExistsError:  # another daemon with this folder was quicker
                continue
    make_folder(Path(clients_dir))


def make_folder(path: Path) -> None:
    """A folder for keys and, closed as well, those above it that are missing.

    Raises:
        OSError: it cannot be made.
    """
    for one in [*reversed(path.parents), path]:
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)
            _give(one, one.parent)


def _give(path: Path, like: Path) -> None:
    """What root makes belongs to whom the folder does, or a service's user could not read it."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def faults(state_dir: str, secret_key_file: str, clients_dir: str) -> Iterator[tuple[str, str, str]]:
    """What keeps a daemon from using these: the setting, the fact and the next step. Nothing is made."""
    if not zmq.has("curve"):
        yield "security.curve", "this libzmq was built without CURVE", "install the pyzmq wheel from PyPI"
    local, default = folder(state_dir) / f"{LOCAL}{SECRET}", default_secret_file(state_dir)
    for key, path, step in (
        ("security.secret_key_file", secret_key_file, "leave it empty: the daemon makes one below state_dir"),
        ("security.curve", str(local), "remove it: the daemon makes another"),
    ):
        if path not in (str(local), default) or os.path.lexists(path):
            try:
                read_pair(path)
            except KeyFileError as error:
                yield key, error.fact, error.step or step
    try:
        found = os.stat(clients_dir)
    except FileNotFoundError:
        return
    except OSError as error:
        yield "security.clients_dir", f"{clients_dir} cannot be read: {error.strerror}", "name another folder"
        return
    if not stat.S_ISDIR(found.st_mode) or not os.access(clients_dir, os.R_OK | os.X_OK):
        yield "security.clients_dir", f"{clients_dir} is no folder that can be read", "name another folder"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (0, os.getuid()):
        fact = f"{clients_dir} can be written by other users, who could let themselves in"
        yield "security.clients_dir", fact, f"chmod 700 {clients_dir}, owned by the daemon's user or root"
