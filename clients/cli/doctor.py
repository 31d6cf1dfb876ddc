"""``musecast doctor``: can it run here, and what to do about what cannot."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import typer
from rich.markup import escape

from clients.cli.common import ANSWER_S, Common, command
from clients.cli.conf import running_daemon, start_obstacles
from clients.cli.exits import EXIT_FAILED
from clients.cli.terminal import MB, out, print_json
from clients.client import NoDaemonError, RequestError
from clients.daemon import door
from configs.gateway import address
from configs.schema import Config

if TYPE_CHECKING:
    from supervision.preflight import Obstacle

Verdict = Literal["ok", "warn", "fail"]
COLOURS: dict[str, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
OLDEST_PYTHON = (3, 11)
GPU_TIMEOUT_S = 10.0
LEAST_FREE_MB = 500
"""The two built-in templates and a few rings."""

PACKAGES = (
    "pyzmq", "msgpack", "msgspec", "structlog", "av", "numpy", "pillow", "pi-heif", "opencv-python-headless",
)  # fmt: skip


class Finding(NamedTuple):
    """One line of the report."""

    verdict: Verdict
    subject: str
    fact: str
    next_step: str = ""


@command
def doctor(*, common: Common) -> None:
    """Check this machine; exit 1 when the daemon could not run here."""
    from supervision import preflight

    plan = preflight.read(common.config, common.overrides)
    running = running_daemon(plan.config)
    obstacles = [*start_obstacles(plan, running)]
    blamed = {one.key for one in obstacles}
    findings = [
        *_python(),
        *(_told(one) for one in obstacles),
        *_start(plan.config, blamed, running),
        _security(plan.config),
        *(() if any(one.exit_code for one in obstacles) else _engines(plan.config, blamed)),
        *_media(),
        _faces(plan.config),
        *_space(plan.config, blamed),
        *_tools(),
    ]
    if common.json:
        print_json([one._asdict() for one in findings])
    else:
        for one in findings:
            step = f"\n{'':6}-> {one.next_step}" if one.next_step else ""
            said = f"[bold]{escape(one.subject)}[/] {escape(one.fact + step)}"
            out.print(
                f"[{COLOURS[one.verdict]}]{one.verdict:<5}[/] {said}",
                soft_wrap=True,
            )
    if any(one.verdict == "fail" for one in findings):
        raise typer.Exit(EXIT_FAILED)


def _python() -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info >= OLDEST_PYTHON:
        yield Finding("ok", "python", f"{version} on {os.cpu_count()} cores")
    else:
        yield Finding("fail", "python", version, "musecast needs Python 3.11 or newer")
    for name in PACKAGES:
        try:
            yield Finding("ok", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding("fail", name, "not installed", "run `make demo` in the checkout, or pip install .")


def _told(one: Obstacle) -> Finding:
    """What ``musecast up`` would say, by the same code."""
    subject = f"{one.where}: {one.key}" if one.where else one.key or "start"
    return Finding("fail" if one.exit_code else "warn", subject, one.message, one.hint)


def _start(config: Config, blamed: set[str], running: dict[str, Any] | None) -> Iterator[Finding]:
    """Engines and addresses with which nothing is wrong."""
    for kind, chain in msgspec.structs.asdict(config.engines).items():
        if f"engines.{kind}" not in blamed:
            yield Finding("ok", f"engines.{kind}", ", ".join(chain))
    if running is not None:
        yield Finding("ok", "daemon", f"running, {running['status']}, at {config.endpoints.control}")
        yield Finding("ok", "endpoints.gateway", _gateway_of(config))
        return
    if "endpoints.gateway" not in blamed:
        where = address(config.endpoints.gateway)
        fact = "off" if where is None else f"{where.url} is free" if where.port else f"any port of {where.host}"
        yield Finding("ok", "endpoints.gateway", fact)
    for name in ("control", "stream"):
        if f"endpoints.{name}" not in blamed:
            yield Finding("ok", f"endpoints.{name}", f"{getattr(config.endpoints, name)} is free")


def _security(config: Config) -> Finding:
    """Who may use the two sockets."""
    if config.security.curve:
        return Finding("ok", "security", "only clients with a key that is listed: `musecast keys list`")
    if config.endpoints.control.startswith("ipc://") and config.endpoints.stream.startswith("ipc://"):
        return Finding("ok", "security", "only the daemon's user, or the group of the sockets' folder")
    return Finding("ok", "security", "every local user may use control and stream; docs/security.md closes them")


def _gateway_of(config: Config) -> str:
    """Where the daemon that runs says that its gateway is."""
    try:
        with door(config).connect() as client:
            found = client.request("status", timeout_s=ANSWER_S)["endpoints"]["gateway"]
    except (NoDaemonError, RequestError) as error:
        return f"not told: {error}"
    return f"the page is at {found}" if found else "none: see `musecast probe status`"


def _engines(config: Config, blamed: set[str]) -> Iterator[Finding]:
    """Each engine of the chains that switch while the daemon runs does one thing for real. Not asked where the
    daemon could not start: that comes first.
    """
    from supervision.trials import trials

    found = [one for one in trials(config) if f"engines.{one.kind}" not in blamed]
    for one in found:
        others = any(other.ok for other in found if other.kind == one.kind)
        verdict: Verdict = "ok" if one.ok else "warn" if others else "fail"
        if one.ok and one.next_step:
            verdict = "warn"
        fact = one.fact if one.ok or not others else f"{one.fact}: the chain does without"
        yield Finding(verdict, one.engine, fact, one.next_step)


def _media() -> Iterator[Finding]:
    import av

    try:
        for name in ("libx264", "aac"):
            av.CodecContext.create(name, "w")
        yield Finding("ok", "encoder", "H.264 and AAC of PyAV")
    except (av.FFmpegError, ValueError) as error:
        yield Finding("fail", "encoder", f"PyAV cannot encode: {error}", "install the av wheel from PyPI")


def _faces(config: Config) -> Finding:
    """What photos and films need beside the daemon itself."""
    from models.engines import lacking_faces

    error = lacking_faces(config)
    if error is None:
        return Finding("ok", "faces", "photos and films can become templates")
    return Finding("warn", "faces", f"photos and films cannot become templates: {error.message}", error.hint)


def _space(config: Config, blamed: set[str]) -> Iterator[Finding]:
    """How much is free where the daemon can write."""
    for key in ("runtime_dir", "state_dir"):
        if key in blamed:
            continue
        path = Path(getattr(config, key))
        parent = next(one for one in (path, *path.parents) if one.exists())
        free_mb = shutil.disk_usage(parent).free // MB
        if free_mb < LEAST_FREE_MB:
            step = f"free at least {LEAST_FREE_MB} MB, or set {key}"
            yield Finding("warn", key, f"{path}: {free_mb} MB free", step)
        else:
            yield Finding("ok", key, f"{path}: {free_mb} MB free")


def _tools() -> Iterator[Finding]:
    ffmpeg = shutil.which("ffmpeg")
    yield Finding("ok", "ffmpeg", ffmpeg or "no ffmpeg program; none is needed, PyAV brings its own")
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("ok", "gpu", "none; the embedded engines need none")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=GPU_TIMEOUT_S, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        yield Finding(
            "warn", "gpu", f"nvidia-smi fails: {error}", "check the driver; the CPU engines work without"
        )
        return
    for line in answer.stdout.strip().splitlines():
        yield Finding("ok", "gpu", line)
