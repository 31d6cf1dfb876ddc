"""Builds the C# client and runs its tests against a real daemon: ``make test-csharp``.

With a .NET SDK it is ``dotnet test``. Without one, what needs no package is compiled by ``compiler.py`` in an
environment of its own (``.venv-csharp/``, from PyPI and npm) and run by the console runner. ``--netmq DIR`` names
a folder with ``NetMQ.dll``, ``AsyncIO.dll`` and ``NaCl.dll``: what needs them is compiled and run as well.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.contract.test_keys import Locked
from tests.support.daemon import Daemon
from tests.support.gateway_process import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "clients" / "csharp"
PLACE = ROOT / ".venv-csharp"
ROSLYN = "@autorest/csharp@3.0.0-beta.20251203.1"
"""Carries Roslyn 4.1, whose C# is 10."""
NETMQ = ("NetMQ.dll", "AsyncIO.dll", "NaCl.dll")
IMPLICIT = (
    *("System", "System.Collections.Generic", "System.IO", "System.Linq", "System.Net.Http", "System.Threading"),
    "System.Threading.Tasks",
)
"""What an SDK's ``ImplicitUsings`` stands for, which the sample has."""
LIMIT_S = 900
FETCH_S = 240
"""For each thing that is fetched: pip alone would try an index that never answers for a quarter of an hour."""
CANNOT_FETCH = (subprocess.SubprocessError, OSError, LookupError, ValueError, tarfile.TarError)
"""No index, none that answers, no npm, no disk, or not the files that were asked for."""


def prepare() -> dict[str, str]:
    """Make the environment unless it is there; what its programs need in theirs."""
    wanted = (ROOT / "tests/csharp/requirements.txt").read_text() + ROSLYN
    stamp = PLACE / "installed"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(PLACE, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", PLACE], check=True)
        quiet = ("-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q", "-r")
        fetch = [str(PLACE / "bin/python"), *quiet, str(ROOT / "tests/csharp/requirements.txt")]
        subprocess.run(fetch, check=True, stdin=subprocess.DEVNULL, timeout=FETCH_S)
        packed = subprocess.run(
            ["npm", "pack", "--silent", ROSLYN],
            cwd=PLACE,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_S,
        ).stdout.split()[-1]
        with tarfile.open(PLACE / packed) as archive:
            for name in ("Microsoft.CodeAnalysis.dll", "Microsoft.CodeAnalysis.CSharp.dll"):
                archive.extract(f"package/{name}", PLACE, filter="data")
        (PLACE / packed).unlink()
        for library in ("libssl", "libcrypto"):  # by the name that the runtime looks for
            (found,) = _packages().glob(f"psycopg2_binary.libs/{library}-*.so.1.1")
            (found.parent / f"{library}.so.1.1").symlink_to(found.name)
        (_packages() / "dotnetcore2/bin/dotnet").chmod(0o755)
        stamp.write_text(wanted)
    libraries = str(_packages() / "psycopg2_binary.libs")
    return {**os.environ, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", "LD_LIBRARY_PATH": libraries}


def _packages() -> Path:
    return next((PLACE / "lib").glob("python3*")) / "site-packages"


def build(env: dict[str, str], netmq: Path | None) -> Path:
    """Compile library, sample and tests; the runner."""
    out = PLACE / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    packages = [netmq / name for name in NETMQ] if netmq else []
    for one in packages:
        shutil.copy(one, out)

    usings = out / "Usings.cs"
    usings.write_text("".join(f"global using {name};\n" for name in IMPLICIT))

    def compiled(name: str, kind: str, folders: list[Path], references: list[Path], *more: Path) -> Path:
        files = [file for folder in folders for file in (folder.rglob("*.cs") if folder.is_dir() else [folder])]
        files = [one for one in files if netmq or "NetMq" not in one.relative_to(CLIENT).as_posix()]
        command = [PLACE / "bin/python", ROOT / "tests/csharp/compiler.py", "--roslyn", PLACE / "package"]
        command += ["--out", out / name, "--kind", kind]
        for reference in references:
            command += ["--reference", reference]
        print(f"compiling {name}: {len(files)} files", flush=True)
        subprocess.run([*command, *sorted(files), *more], check=True, env=env, timeout=LIMIT_S)
        return out / name

    library = compiled("Musecast.dll", "library", [CLIENT / "Musecast"], packages)
    polyfill = CLIENT / "Musecast/Compatibility.cs"
    sample = ("LiveAvatarService/Avatar", "LiveAvatarService/Examples.cs")
    tests = [CLIENT / name for name in (*sample, "tests/Cases", "tests/NetMqCases", "tests/Runner")]
    return compiled("Runner.dll", "console", [*tests, polyfill], [library, *packages], usings)


@contextmanager
def daemon(*, keys: bool) -> Iterator[dict[str, str]]:
    """A daemon with two gateways beside it, one of them to be killed, in the words of the tests' environment.

    Args:
        keys: another daemon, whose sockets take only listed keys.
    """
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mc-state-", dir="/tmp")))
        running = _started(stack, Daemon(state))
        gateways = []
        for _ in range(2):
            gateways.append(GatewayProcess(running))
            stack.callback(gateways[-1].stop)
        told = {
            "MUSECAST_GATEWAY": gateways[0].url,
            "MUSECAST_GATEWAY_TO_KILL": gateways[1].url,
            "MUSECAST_GATEWAY_TO_KILL_PID": str(gateways[1].process.pid),
            "MUSECAST_CONTROL": running.control,
            "MUSECAST_STREAM": running.stream,
            "MUSECAST_GOLDEN": str(ROOT / "tests/wire/public_golden.json"),
        }
        if keys:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mc-keys-", dir="/tmp"))
            locked = Locked(Path(folder), state)
            _started(stack, locked.daemon)
            watching = " ".join(key.decode() for key in locked.list("watcher", "watch"))
            told["MUSECAST_KEYS"] = f"{locked.daemon.control} {locked.daemon.stream} {watching}"
        yield told


def _started(stack: ExitStack, daemon: Daemon) -> Daemon:
    stack.callback(daemon.remove)
    stack.callback(daemon.stop)
    daemon.wait_healthy()
    return daemon


def has_sdk() -> bool:
    """Whether ``dotnet`` is a development kit, not a runtime alone."""
    found = shutil.which("dotnet")
    if found is None:
        return False
    listed = subprocess.run([found, "--list-sdks"], check=False, capture_output=True, timeout=60)
    return bool(listed.stdout.strip())


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="builds the C# client and runs its tests")
    parser.add_argument("--netmq", type=Path, help="a folder with " + ", ".join(NETMQ))
    parser.add_argument("--leave-out", action="store_true", help="0 where what builds it cannot be fetched")
    parser.add_argument("--only", default="", help="cases with this in their names")
    parser.add_argument("--no-daemon", action="store_true", help="only what needs no daemon")
    asked = parser.parse_args()
    if has_sdk():
        with daemon(keys=True) as env:
            command = ["dotnet", "test", str(CLIENT / "tests/XUnit")]
            return subprocess.run(command, check=False, env={**os.environ, **env}, timeout=LIMIT_S).returncode
    try:
        env = prepare()
    except CANNOT_FETCH as error:
        print(f"the C# client is not tested: what builds it cannot be fetched ({error})", file=sys.stderr)
        return 0 if asked.leave_out else 1
    runner = build(env, asked.netmq)
    command = [str(_packages() / "dotnetcore2/bin/dotnet"), str(runner), *([asked.only] if asked.only else [])]
    if asked.no_daemon:
        golden = {"MUSECAST_GOLDEN": str(ROOT / "tests/wire/public_golden.json")}
        return subprocess.run(command, check=False, env={**env, **golden}, timeout=LIMIT_S).returncode
    with daemon(keys=asked.netmq is not None) as of_daemon:
        return subprocess.run(command, check=False, env={**env, **of_daemon}, timeout=LIMIT_S).returncode


if __name__ == "__main__":
    sys.exit(main())
