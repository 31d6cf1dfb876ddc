"""A minimal Debian with a real systemd to boot, and what makes and boots it; kept below the environment."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(sys.prefix, "service")
TOOLS = CACHE / "tools"
PACKAGES = ("mmdebstrap", "systemd-container", "libsystemd-shared")
"""Unpacked beside the tests where the machine has not installed them: nothing about it is changed."""
INCLUDE = ("systemd", "systemd-sysv", "dbus", "python3", "make")
LIMIT_S = 300.0
"""For fetching and unpacking some 60 MB of packages."""
LISTS_S = 120.0
"""For what apt knows, and for its three packages: a mirror may never answer."""
NOT_IN_IT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


class UnavailableError(Exception):
    """This machine cannot boot a system beside its own; says why."""


def environment() -> dict[str, str]:
    """With the unpacked tools in reach, and the libraries that belong to them."""
    libraries = [str(path.parent) for path in TOOLS.glob("usr/lib/*/systemd/libsystemd-shared-*.so")]
    path = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin", str(TOOLS / "usr/bin")))
    return {**os.environ, "PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}


def release() -> str:
    """Which Debian this machine is: the box is one of the same, because it runs the same libraries.

    Raises:
        UnavailableError: it is none, or we are not root.
    """
    if os.geteuid() != 0:
        raise UnavailableError("only root can boot a container with a systemd of its own")
    try:
        found = platform.freedesktop_os_release()
    except OSError as error:
        raise UnavailableError(f"nothing says which system this is: {error}") from None
    if found.get("ID") != "debian" or "VERSION_CODENAME" not in found:
        raise UnavailableError(f"its Debian is made by Debian's own tools; this is {found.get('PRETTY_NAME')}")
    return found["VERSION_CODENAME"]


def prepare(codename: str) -> Path:
    """The folder of such a Debian, made when there is none yet; not to be written to.

    Raises:
        UnavailableError: with the reason.
    """
    try:
        return _prepare(codename)
    except OSError as error:  # no room, or a folder that cannot be written to
        raise UnavailableError(str(error)) from None


def _prepare(codename: str) -> Path:
    _get_tools()
    root = CACHE / f"root-{codename}-{'-'.join(INCLUDE)}"
    if not root.is_dir():
        print("making a Debian to boot (once; a minute or two)", flush=True)
        new = root.with_name("new")
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(new, ignore_errors=True)
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_IN_IT]
        make = ["mmdebstrap", "--mode=root", "--variant=minbase", "--skip=output/dev", *excluded]
        _run([*make, f"--include={','.join(INCLUDE)}", codename, str(new)])
        new.rename(root)
    return root


def _get_tools() -> None:
    if all(shutil.which(name, path=environment()["PATH"]) for name in ("mmdebstrap", "systemd-nspawn")):
        return
    shutil.rmtree(TOOLS, ignore_errors=True)
    packages = CACHE / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    try:
        _run(["apt-get", "download", "-qq", *PACKAGES], packages, LISTS_S)
    except UnavailableError:  # the lists of a fresh image are empty or old
        _run(["apt-get", "update", "-qq"], limit_s=LISTS_S)
        _run(["apt-get", "download", "-qq", *PACKAGES], packages, LISTS_S)
    for package in packages.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(TOOLS)])
    shutil.rmtree(packages)


def _run(command: list[str], folder: Path | None = None, limit_s: float = LIMIT_S) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise UnavailableError(f"{command[0]} ended with {done.returncode}: {said[-1]}")
