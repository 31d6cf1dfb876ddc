"""Rules that types cannot say: the limits beside each field, lengths on the segment grid, addresses. Pure."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple, get_type_hints

import msgspec
import zmq

from configs import gateway
from configs.grid import QUANTUM_MS
from configs.schema import Choice, Config, Range, Stage
from configs.stages import ON_DEMAND, STAGES

NOT_REENTRANT = frozenset({"musetalk"})
"""Lip-sync engines that only one thread may use, as they say themselves (``LipSync.reentrant``)."""


class Finding(NamedTuple):
    """A broken rule: the key path it is about, the fact with its limit, and the next step (may be empty)."""

    key: str
    message: str
    hint: str = ""


_FRAMES = Range(0, 4096, " frames")
"""Credit of a lip-sync stage; 0: as its engine's batches have it."""


@lru_cache(maxsize=64)
def _hints(section: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(section, include_extras=True)


def _limited(section: msgspec.Struct, prefix: str = "") -> Iterator[Finding]:
    """Values that are not what the schema says beside their field."""
    for name, hint in _hints(type(section)).items():
        key, value = f"{prefix}{name}", getattr(section, name)
        if isinstance(value, msgspec.Struct):
            yield from _limited(value, f"{key}.")
        for limit in getattr(hint, "__metadata__", ()):
            if isinstance(limit, Range):
                own = _FRAMES if name == "credit" and STAGES[prefix.split(".")[1]].engines == "lipsync" else limit
                yield from _number(key, value, own)
            elif isinstance(limit, Choice) and value not in limit.words:
                yield Finding(key, f"{value!r} is not one of {', '.join(limit.words)}")


def _number(key: str, value: object, limits: Range) -> Iterator[Finding]:
    if not isinstance(value, int | float) or not limits.low <= value <= limits.high:
        yield Finding(key, f"{value}{limits.unit} is outside {limits.low:g} to {limits.high:g}{limits.unit}")


def _stages(config: Config) -> Iterator[Finding]:
    for name in config.stages.__struct_fields__:
        stage: Stage = getattr(config.stages, name)
        if not re.fullmatch(r"cpu|auto|cuda:\d+(,cuda:\d+)*", stage.devices):
            yield Finding(
                f"stages.{name}.devices",
                f"{stage.devices!r} is not cpu, auto or a list like cuda:0,cuda:1",
            )
    if config.stages.prepare.instances != 1:
        yield Finding("stages.prepare.instances", "preparation runs in one process", "leave it at 1")
    for name, kind in STAGES.items():
        if not kind.on_demand and getattr(config.stages, name).idle_exit_s:
            yield Finding(
                f"stages.{name}.idle_exit_s",
                f"only {' and '.join(sorted(ON_DEMAND))} is started on demand",
                "leave it at 0: the other stages stay warm",
            )
    yield from _concurrency(config)


def _concurrency(config: Config) -> Iterator[Finding]:
    """Several threads would fill the same buffers, or each hold a part of a stream."""
    for name, kind in STAGES.items():
        threads = getattr(config.stages, name).concurrency
        chain = config.engines.lipsync[1:] if kind.stands_in_for else config.engines.lipsync[:1]
        alone = [engine for engine in chain if engine in NOT_REENTRANT]
        if threads > 1 and kind.engines == "lipsync" and alone:
            yield Finding(
                f"stages.{name}.concurrency",
                f"it is {threads}, but {alone[0]} does one batch at a time, for all sessions together",
                "leave it at 1; more GPUs are used by more instances",
            )
        if threads > 1 and kind.one_thread:
            yield Finding(f"stages.{name}.concurrency", f"it is {threads}, but {kind.one_thread}", "leave it at 1")


_TCP = re.compile(r"tcp://(?P<host>\[[^\]]*\]|[^:/\s]+):(?P<port>\d{1,5})")


_IPC = "ipc://"


def _endpoint(key: str, value: str, *, curve: bool) -> Iterator[Finding]:
    if value.startswith(_IPC):
        yield from _local(key, value.removeprefix(_IPC))
        return
    match = _TCP.fullmatch(value)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        yield Finding(
            key,
            f"{value!r} is not an address of the form tcp://127.0.0.1:PORT, PORT from 1 to 65535,"
            " or ipc:///folder/name",
        )
    elif match["host"] == "localhost" or (curve and not _is_numeric(match["host"])):
        yield Finding(key, f"{value!r} must name its address in numbers", "write 127.0.0.1, [::1] or 0.0.0.0")
    elif not curve and not re.fullmatch(r"127(\.\d{1,3}){3}|\[::1\]", match["host"]):
        yield Finding(
            key,
            f"{value!r} can be reached from other machines, and takes everybody",
            "set security.curve: true and list who may come (`musecast keys new NAME`), or bind tcp://127.0.0.1:"
            f"{match['port']}; others can also come in by HTTP with a token (gateway.token_file)",
        )


def _is_numeric(host: str) -> bool:
    """Whether it is an address that a client can connect to as well."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _local(key: str, path: str) -> Iterator[Finding]:
    """A local socket: a path that everyone sees in the same way, and short enough for the kernel."""
    nbytes = len(path.encode())
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        yield Finding(key, f"{path!r} is no absolute path of a socket", "write ipc:///run/musecast/public/control")
    elif nbytes > zmq.IPC_PATH_MAX_LEN:
        yield Finding(
            key, f"{path!r} has {nbytes} bytes; the limit is {zmq.IPC_PATH_MAX_LEN}", "choose a shorter path"
        )


def _endpoints(config: Config) -> Iterator[Finding]:
    curve = config.security.curve
    yield from _endpoint("endpoints.control", config.endpoints.control, curve=curve)
    yield from _endpoint("endpoints.stream", config.endpoints.stream, curve=curve)
    for first, second in itertools.combinations(_places(config), 2):
        if first.port == second.port and (first.host == second.host or {first.host, second.host} & _EVERY_HOST):
            fact = f"{first.name} and {second.name} share one address"
            yield Finding(f"endpoints.{second.name}", fact, "give each one of its own")


class _Place(NamedTuple):
    """Where something listens: ``host`` as it is usually written, or the path of a local socket and port 0."""

    name: str
    host: str
    port: int


_EVERY_HOST = frozenset({"0.0.0.0", "::"})


def _places(config: Config) -> Iterator[_Place]:
    """All addresses that can be read."""
    for name in ("control", "stream"):
        value = getattr(config.endpoints, name)
        match = _TCP.fullmatch(value)
        if match is not None:
            yield _Place(name, _usual(match["host"].strip("[]")), int(match["port"]))
        elif value.startswith(_IPC):
            yield _Place(name, os.path.normpath(value.removeprefix(_IPC)), 0)
    with contextlib.suppress(ValueError):
        found = gateway.address(config.endpoints.gateway)
        if found is not None and found.port:
            yield _Place("gateway", _usual(found.host), found.port)


def _usual(host: str) -> str:
    """An address in its one usual spelling."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    return host


_HOST = re.compile(r"[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]")
_ORIGIN = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?")
TOKEN_CHARS = 16


def _gateway(config: Config) -> Iterator[Finding]:
    key = "endpoints.gateway"
    try:
        found = gateway.address(config.endpoints.gateway)
    except ValueError:
        yield Finding(key, f"{config.endpoints.gateway!r} is not an address of the form {gateway.FORM}")
        return
    settings = config.gateway
    if found is not None and not found.loopback and not settings.token and not settings.token_file:
        yield Finding(
            key,
            f"{found.url} can be reached from other machines, and there is no token",
            f"set gateway.token_file (or gateway.token) to {TOKEN_CHARS} characters or more, or bind"
            f" http://127.0.0.1:{found.port}",
        )
    if settings.token and settings.token_file:
        yield Finding("gateway.token_file", "gateway.token is set, too", "keep one of the two")
    if settings.token and not token_is_fit(settings.token):
        yield Finding("gateway.token", *UNFIT_TOKEN)
    for host in settings.allowed_hosts:
        if not _HOST.fullmatch(host):
            yield Finding("gateway.allowed_hosts", f"{host!r} is not a name such as avatar.example.org")
    for origin in settings.allowed_origins:
        if not _ORIGIN.fullmatch(origin):
            yield Finding(
                "gateway.allowed_origins", f"{origin!r} is not an origin such as https://www.example.org"
            )


UNFIT_TOKEN = (
    f"a token is {TOKEN_CHARS} to 512 letters, digits and -._~+/=",
    "`openssl rand -hex 24` makes one",
)


def token_is_fit(token: str) -> bool:
    """Whether it is long enough, and can stand in a header."""
    return re.fullmatch(rf"[A-Za-z0-9\-._~+/=]{{{TOKEN_CHARS},512}}", token) is not None


def _timeline(config: Config) -> Iterator[Finding]:
    for name in ("idle_lead_ms", "max_segment_ms"):
        value = getattr(config.timeline, name)
        if value % QUANTUM_MS:
            below = max(QUANTUM_MS, value // QUANTUM_MS * QUANTUM_MS)
            yield Finding(
                f"timeline.{name}",
                f"{value} ms is not a multiple of {QUANTUM_MS} ms, the smallest segment",
                f"the next ones are {below} and {below + QUANTUM_MS}",
            )


CEILING_ABOVE_SOUND_KBPS = 200
"""For a picture that can still be looked at."""


def _video(config: Config) -> Iterator[Finding]:
    video = config.video
    least = video.audio_kbps + CEILING_ABOVE_SOUND_KBPS
    if 0 < video.max_kbps < least:
        yield Finding(
            "video.max_kbps",
            f"{video.max_kbps} kbit/s is too little with {video.audio_kbps} kbit/s of sound; the least is {least}",
            "raise it, lower video.audio_kbps, or set 0 for no ceiling",
        )


def _servers(config: Config) -> Iterator[Finding]:
    for key, url in (("ollama.host", config.ollama.host), ("openai.base_url", config.openai.base_url)):
        if not re.fullmatch(r"https?://([^\s/:\[\]]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?(/\S*)?", url):
            yield Finding(key, f"{url!r} is not an address of the form http://127.0.0.1:11434")


def findings(config: Config) -> Iterator[Finding]:
    """All broken rules of a configuration whose types are already right."""
    yield from _limited(config)
    yield from _stages(config)
    yield from _endpoints(config)
    yield from _gateway(config)
    yield from _timeline(config)
    yield from _video(config)
    yield from _servers(config)
    for name, chain in msgspec.structs.asdict(config.engines).items():
        if not chain:
            yield Finding(f"engines.{name}", "an engine chain needs at least one engine")
    if not config.supervisor.backoff_s:
        yield Finding("supervisor.backoff_s", "a list of waits in seconds needs at least one entry")
    for wait in config.supervisor.backoff_s:
        yield from _number("supervisor.backoff_s", wait, Range(0, 3600, " s"))
