"""``musecast doctor``: can it run here, and what to do about what cannot."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import typer

from clients.cli.common import (
    ANSWER_S,
    EXIT_FAILED,
    ConfigOption,
    JsonOption,
    SetOption,
    listened_to,
    out,
    print_json,
    read_config,
)
from clients.client import Client, NoDaemonError
from configs.schema import Config

Verdict = Literal["ok", "warn", "fail"]
COLOURS: dict[str, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
OLDEST_PYTHON = (3, 11)
GPU_TIMEOUT_S = 10.0
LEAST_FREE_MB = 500
"""The two built-in templates and a few rings."""

PACKAGES = ("pyzmq", "msgpack", "msgspec", "structlog", "av", "numpy", "opencv-python-headless")
ENGINE_MODULES = {
    "pocketsphinx": ("pocketsphinx", "pip install pocketsphinx"),
    "espeak": ("espeakng_loader", "pip install 'musecast[espeak]' (GPL), or choose another engines.tts"),
}


class Finding(NamedTuple):
    """One line of the report."""

    verdict: Verdict
    subject: str
    fact: str
    next_step: str = ""


def doctor(json: JsonOption = False, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Check this machine; exit 1 when the daemon could not run here."""
    settings = read_config(config, overrides)
    findings = [*_python(), *_engines(settings), *_media(), *_folders(settings), *_ports(settings), *_tools()]
    if json:
        print_json([one._asdict() for one in findings])
    else:
        for one in findings:
            step = f"\n{'':6}-> {one.next_step}" if one.next_step else ""
            out.print(
                f"[{COLOURS[one.verdict]}]{one.verdict:<5}[/] [bold]{one.subject}[/] {one.fact}{step}",
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


def _engines(config: Config) -> Iterator[Finding]:
    for kind in ("asr", "llm", "tts", "lipsync"):
        for name in getattr(config.engines, kind):
            module, step = ENGINE_MODULES.get(name, ("", ""))
            if not module or importlib.util.find_spec(module):
                yield Finding("ok", f"engines.{kind}", name)
            else:
                yield Finding("fail", f"engines.{kind}", f"{name} needs the package {module}", step)


def _media() -> Iterator[Finding]:
    import av

    try:
        for name in ("libx264", "aac"):
            av.CodecContext.create(name, "w")
        yield Finding("ok", "encoder", "H.264 and AAC of PyAV")
    except (av.FFmpegError, ValueError) as error:
        yield Finding("fail", "encoder", f"PyAV cannot encode: {error}", "install the av wheel from PyPI")


def _folders(config: Config) -> Iterator[Finding]:
    for key in ("runtime_dir", "state_dir"):
        path = Path(getattr(config, key))
        parent = next(one for one in (path, *path.parents) if one.exists())
        try:
            with tempfile.TemporaryFile(dir=parent):
                pass
        except OSError as error:
            yield Finding("fail", key, f"{path} cannot be written: {error.strerror}", f"set {key} to another")
            continue
        free_mb = shutil.disk_usage(parent).free // 1_000_000
        if free_mb < LEAST_FREE_MB:
            step = f"free at least {LEAST_FREE_MB} MB, or set {key}"
            yield Finding("warn", key, f"{path}: {free_mb} MB free", step)
        else:
            yield Finding("ok", key, f"{path}: {free_mb} MB free")


def _ports(config: Config) -> Iterator[Finding]:
    control, stream = config.endpoints.control, config.endpoints.stream
    if listened_to(control):
        with Client(control, stream) as client, contextlib.suppress(NoDaemonError):
            health = client.request("health", timeout_s=ANSWER_S)
            yield Finding("ok", "daemon", f"running, {health['status']}, at {control}")
            return
    for name in ("control", "stream"):
        address = getattr(config.endpoints, name)
        parts = urlsplit(address)
        if parts.scheme != "tcp" or parts.port is None:
            yield Finding("ok", f"endpoints.{name}", address)
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((parts.hostname, parts.port))
                yield Finding("ok", f"endpoints.{name}", f"{address} is free")
            except OSError as error:
                step = f"`ss -ltnp` shows who holds it; or set endpoints.{name}"
                yield Finding("fail", f"endpoints.{name}", f"{address}: {error.strerror}", step)


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
