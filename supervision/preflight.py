"""Whether the daemon can start here with a configuration, told before anything is started.

``musecast up``, ``musecast config check`` and ``musecast doctor`` all ask this, so that they never disagree.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import resource
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from configs import gateway, keys
from configs.checks import UNFIT_TOKEN, token_is_fit
from configs.load import DEFAULT_FILE, load_with_places, place_of, resolve
from configs.schema import Config
from configs.wording import two_sentences
from models import engines
from supervision.gpus import place_stages, visible_gpus
from supervision.place import PlaceError, check_runtime_dir, socket_fault

IPC = "ipc://"
EXIT_TAKEN = 70
EXIT_CONFIG = 78
FILES_TO_START = 256
"""Open files that the largest process of a daemon without clients never needs."""
FILES_PER_PEER = 4
"""The two connections of a client, and room."""
PORT_GRACE_S = 1.0
"""A daemon that was killed a moment ago, and its broker with it, lets go of its ports within this."""
PORT_RETRY_S = 0.05
GATEWAY_MODULES = ("fastapi", "uvicorn", "websockets", "python_multipart", "prometheus_client")
"""Of the extra `gateway`."""
WEBRTC_MODULE = "aiortc"


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration that is valid in itself.

    Attributes:
        asked: as it was written, its folders made absolute.
        config: what runs: ``asked`` with the GPUs that are there.
        places: see ``place_of``.
    """

    asked: Config
    config: Config
    places: Mapping[str, str]

    def where(self, key: str) -> str:
        """Where somebody has written this key; "" for the packaged defaults."""
        place = place_of(self.places, key)
        return "" if place.startswith(str(DEFAULT_FILE)) else place


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way of a start, or of a part of it.

    Attributes:
        key: of the configuration; "" when it is about none.
        message: the fact.
        hint: the next step.
        exit_code: what the start ends with; 0: it goes on without, and says so.
        where: file and line, or what else gave the key its value; "" for a default.
    """

    key: str
    message: str
    hint: str
    exit_code: int = EXIT_CONFIG
    where: str = ""

    def __str__(self) -> str:
        head = "".join(f"{part}: " for part in (self.where, self.key) if part)
        return two_sentences(f"{head}{self.message}", self.hint)


def read(path: str | os.PathLike[str] | None, sets: Sequence[str] = ()) -> Plan:
    """The configuration in force, see ``configs.load``.

    Raises:
        ConfigError: it is not valid, or names a GPU that is not there.
    """
    config, places = load_with_places(path, sets)
    asked = resolve(config)
    return Plan(asked, place_stages(asked, visible_gpus()), places)


def obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Everything that the start looks at once it holds ``runtime_dir``, the worst first."""
    found = [
        *_core(),
        *engine_obstacles(plan),
        *_files(plan.config),
        *security_obstacles(plan),
        *port_obstacles(plan),
        *gateway_obstacles(plan),
    ]
    yield from sorted(found, key=lambda one: one.exit_code == 0)


def engine_obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Engines that do not exist or cannot load: fatal where a kind is left without any; each fault once."""
    found: dict[tuple[str, str], Obstacle] = {}
    for kind in engines.KNOWN:
        names = getattr(plan.config.engines, kind)
        failed: list[engines.Lack] = []
        for name in names:
            key = f"engines.{kind}"
            unknown = engines.unknown(kind, name)
            if unknown is not None:
                found[key, name] = Obstacle(key, unknown.message, unknown.hint, where=plan.where(key))
            elif (lack := engines.lacking(kind, name, plan.config)) is not None:
                failed.append(lack)
        code = EXIT_CONFIG if len(failed) == len(names) else 0
        for key, error in failed:
            message = error.message if code else f"{error.message}: {kind} does without"
            found.setdefault((key, message), Obstacle(key, message, error.hint, code, plan.where(key)))
    yield from found.values()


def port_obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Public addresses that cannot be bound."""
    deadline = time.monotonic() + PORT_GRACE_S
    for name in ("control", "stream"):
        address = getattr(plan.config.endpoints, name)
        obstacle = _bind_obstacle(f"endpoints.{name}", address, plan, deadline)
        if obstacle is not None:
            yield obstacle


def security_obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Key files that the start could not use."""
    config = plan.config
    if not config.security.curve:
        return
    security = config.security
    for key, fact, step in keys.faults(config.state_dir, security.secret_key_file, security.clients_dir):
        yield Obstacle(key, fact, step, where=plan.where(key))


def _local_obstacle(key: str, address: str, plan: Plan) -> Obstacle | None:
    """A local socket: nothing else may be there, and nobody may listen, for libzmq replaces what it finds."""
    where, path = plan.where(key), address.removeprefix(IPC)
    fault = socket_fault(path)
    if fault is not None:
        fact, _, step = str(fault).rpartition("; ")
        return Obstacle(key, fact, step.capitalize(), where=where)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(PORT_GRACE_S)
        try:
            probe.connect(path)
        except OSError:
            return None  # nobody is there, or only what a killed daemon has left
    hint = f"`ss -lxp src {path}` shows by which: stop it, or set another {key}"
    return Obstacle(key, f"{address} is taken by another program", hint, EXIT_TAKEN, where)


def _bind_obstacle(key: str, address: str, plan: Plan, deadline: float) -> Obstacle | None:
    if address.startswith(IPC):
        return _local_obstacle(key, address, plan)
    error = _try_to_bind(address)
    while error is not None and error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
        time.sleep(PORT_RETRY_S)  # a port that becomes free tells nobody
        error = _try_to_bind(address)
    if error is None:
        return None
    where = plan.where(key)
    parts = urlsplit(address)
    if error.errno == errno.EADDRINUSE:
        hint = f"`ss -ltnp 'sport = :{parts.port}'` shows by which: stop it, or set another {key}"
        return Obstacle(key, f"{address} is taken by another program", hint, EXIT_TAKEN, where)
    if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT) and "[" in address:
        hint = f"Write {parts.scheme}://127.0.0.1:{parts.port}"
        return Obstacle(key, f"{address}: this machine has no IPv6", hint, where=where)
    return Obstacle(key, f"{address} cannot be bound: {error.strerror}", f"Set another {key}", where=where)


GATEWAY_KEY = "endpoints.gateway"


def gateway_obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Why there can be no gateway: fatal where an address was written, a warning where it is "auto"."""
    address = gateway.address(plan.config.endpoints.gateway)
    if address is None:
        return
    written = plan.config.endpoints.gateway != "auto"
    where = plan.where(GATEWAY_KEY)
    missing = [name for name in GATEWAY_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        fact = f"the extra `gateway` is not installed ({', '.join(missing)})"
        hint = "Run `make install` in the checkout, or pip install '.[gateway]', or set endpoints.gateway: off"
        yield Obstacle(GATEWAY_KEY, fact, hint, EXIT_CONFIG if written else 0, where)
        return
    yield from _token_file(plan)
    yield from _webrtc(plan)
    found = _bind_obstacle(GATEWAY_KEY, address.url, plan, time.monotonic() + PORT_GRACE_S)
    if found is not None:
        yield found if written else replace(found, exit_code=0)


def _webrtc(plan: Plan) -> Iterator[Obstacle]:
    key = "gateway.webrtc"
    if plan.config.gateway.webrtc and importlib.util.find_spec(WEBRTC_MODULE) is None:
        fact = f"the extra `webrtc` is not installed ({WEBRTC_MODULE})"
        hint = "Run pip install '.[webrtc]' in the checkout, or set gateway.webrtc: false"
        yield Obstacle(key, fact, hint, where=plan.where(key))


def without_gateway(config: Config) -> Config:
    """The same without it, where "auto" could not be had."""
    return msgspec.structs.replace(config, endpoints=msgspec.structs.replace(config.endpoints, gateway="off"))


def _token_file(plan: Plan) -> Iterator[Obstacle]:
    path = plan.config.gateway.token_file
    if not path:
        return
    key = "gateway.token_file"
    try:
        token = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fact = f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        yield Obstacle(key, fact, "Name a file that the daemon's user can read", where=plan.where(key))
        return
    if not token_is_fit(token):
        fact, hint = UNFIT_TOKEN
        yield Obstacle(key, f"{path}: {fact}", hint, where=plan.where(key))


def folder_obstacles(plan: Plan) -> Iterator[Obstacle]:
    """Folders that cannot be made or written. Nothing is made; the start itself finds out by making them."""
    try:
        check_runtime_dir(plan.config.runtime_dir)
    except PlaceError as error:
        fact, _, step = str(error).rpartition("; ")
        yield Obstacle("runtime_dir", fact, step.capitalize(), where=plan.where("runtime_dir"))
    for key in ("runtime_dir", "state_dir"):
        path = getattr(plan.config, key)
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if not os.path.isdir(path) or not os.access(path, os.W_OK | os.X_OK):
            fact = f"{getattr(plan.config, key)} cannot be made or written: see {path}"
            yield Obstacle(key, fact, f"Set another {key}", where=plan.where(key))


def lift_file_limit(config: Config) -> None:
    """Let this process and its children open as many files as they may and may come to need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _files_wanted(config)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_least(wanted, hard), hard))


def _files_wanted(config: Config) -> int:
    return FILES_TO_START + FILES_PER_PEER * (config.limits.sessions + config.limits.subscribers)


def _least(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _files(config: Config) -> Iterator[Obstacle]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _files_wanted(config)
    if _least(wanted, hard) == wanted:
        return
    hint = f"Raise it (`ulimit -Hn`, LimitNOFILE= of a service) to {wanted} or more"
    if hard < FILES_TO_START:
        yield Obstacle("", f"the limit of open files is {hard}; {FILES_TO_START} are needed to start", hint)
    else:
        fact = f"the limit of open files is {hard}, too low for limits.sessions and limits.subscribers"
        yield Obstacle("", fact, hint + ", or lower those", 0)


def _core() -> Iterator[Obstacle]:
    for module in engines.missing_core():
        fact = f"the package of the module {module} is missing"
        yield Obstacle("", fact, "Run `make install` in the checkout, or pip install .")


def _try_to_bind(address: str) -> OSError | None:
    parts = urlsplit(address)
    host = parts.hostname or ""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as libzmq does
            probe.bind((host, parts.port))
    except OSError as error:
        return error
    return None
