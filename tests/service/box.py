"""A machine of its own in a container: Debian, systemd as its first process, the checkout in /opt/musecast."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.service.image import UnavailableError, environment, prepare, release
from tests.support.processes import descendants, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]
HOME = "/opt/musecast"
"""Where docs/operations.md installs to."""
PYTHON = "/opt/python"
"""Where this interpreter lies in the box unless it is Debian's: below /root or /home no service could run it."""
ENTRY = f"#!{HOME}/.venv/bin/python\nimport sys\nfrom clients.cli.main import main\nsys.exit(main())\n"
"""What pip makes of the entry point."""
BOOT_S = 60.0
SETTLED_S = 240.0
"""From the first process to the last service, which may be the daemon."""
COMMAND_S = 240.0
"""For one command; a busy machine takes half a minute for a start, a busier one more."""
SETTLED = ("running", "degraded")


class Box:
    """What is written in it is forgotten when it is closed; ``boot`` and ``off`` may alternate."""

    def __init__(self) -> None:
        """Make everything that a boot needs, and the Debian itself when there is none yet.

        Raises:
            UnavailableError: with the reason. What cannot be had at all is found before anything is fetched.
        """
        self._folder = Path(tempfile.mkdtemp(prefix="mc-box-", dir="/tmp"))
        self.root = self._folder / "root"
        self._groups: list[Path] = []
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._first = 0
        layer = self._folder / "layer"
        for folder in (self.root, layer):
            folder.mkdir()
        try:
            codename = release()
            self._mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(layer))
            self._groups = _make_groups()
            debian = prepare(codename)
            for folder in (layer / "upper", layer / "work"):
                folder.mkdir()
            options = f"lowerdir={debian},upperdir={layer / 'upper'},workdir={layer / 'work'}"
            self._mount("-t", "overlay", "-o", options, "overlay", str(self.root))
        except UnavailableError:
            self.close()
            raise
        self._binds = list(self._install())

    def _mount(self, *arguments: str) -> None:
        done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise UnavailableError(done.stderr.strip().partition("\n")[0])

    def _install(self) -> Iterator[str]:
        """What `git clone` and `make install` leave, made of this checkout and environment; the binds for it."""
        venv = self._folder / "venv"
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        foreign = sys.base_prefix != "/usr"
        python = f"{PYTHON if foreign else '/usr'}/bin/{name}"
        packages = venv / "lib" / name / "site-packages"
        for folder in (venv / "bin", packages, venv / "share" / "musecast", self.root / HOME[1:]):
            folder.mkdir(parents=True)
        (venv / "pyvenv.cfg").write_text(f"home = {os.path.dirname(python)}\n")
        for link in ("python", "python3", name):
            (venv / "bin" / link).symlink_to(python)
        script = venv / "bin" / "musecast"
        script.write_text(ENTRY)
        script.chmod(0o755)
        for stamp in (".installed", ".installed-test"):
            (venv / stamp).touch()
        yield f"{CHECKOUT}:{HOME}"
        yield f"{venv}:{HOME}/.venv"
        yield f"{Path(sys.prefix, 'share', 'musecast').resolve()}:{HOME}/.venv/share/musecast"
        paths = [HOME]
        for found in (path for path in sys.path if path.endswith("site-packages")):
            inside = f"/opt/packages/{len(paths)}"
            yield f"{found}:{inside}"
            paths.append(inside)
        (packages / "musecast.pth").write_text("\n".join(paths) + "\n")
        if foreign:
            yield f"{sys.base_prefix}:{PYTHON}"
            (self.root / "etc/ld.so.conf.d/python.conf").write_text(f"{PYTHON}/lib\n")

    def boot(self) -> None:
        """Until systemd says that all of it has come up.

        Raises:
            UnavailableError: the container cannot be started here; says why.
        """
        binds = [f"--bind-ro={bind}" for bind in self._binds]
        command = ["systemd-nspawn", "--register=no", "--keep-unit", "--private-network", "--hostname=box"]
        command += ["--machine=box", "--console=pipe", *binds, "-D", str(self.root), "-b"]
        joins = "".join(f"echo $$ >{shlex.quote(str(group / 'cgroup.procs'))}; " for group in self._groups)
        log = self._folder / "console"
        with log.open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["/bin/sh", "-c", f"{joins}exec {shlex.join(command)}"],
                env={**environment(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._nspawn_ended() or self._find_first(), BOOT_S)
        if not self._first:
            raise UnavailableError(f"systemd-nspawn: {_last_line(log)}")
        wait_until(lambda: self._state() in SETTLED, SETTLED_S, f"booted; {_last_line(log)}")
        if PYTHON in str(self._binds):
            self.run("ldconfig")

    def _nspawn_ended(self) -> bool:
        assert self._nspawn is not None
        return self._nspawn.poll() is not None

    def _find_first(self) -> bool:
        """The process that is number 1 inside."""
        assert self._nspawn is not None
        for pid in descendants(self._nspawn.pid):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                if (numbers := re.search(r"^NSpid:\s+\d+.*\s1$", status, re.M)) is not None:
                    self._first = pid
                    return numbers is not None
        return False

    def _state(self) -> str:
        return self.run("systemctl is-system-running", check=False).stdout.strip()

    def command(self, line: str, user: str = "root") -> list[str]:
        """What runs ``line`` of shell inside, in the checkout's folder, with an environment of its own."""
        enter = ["nsenter", "-t", str(self._first), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMD_PAGER=cat"]
        become = ["setpriv", f"--reuid={user}", "--clear-groups"] if user != "root" else ["HOME=/root"]
        return [*enter, *clean, *become, "sh", "-c", f"umask 022; cd {HOME} 2>/dev/null; {line}"]

    def run(self, line: str, user: str = "root", *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end; with ``check`` it has to end with 0."""
        command = self.command(line, user)
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=COMMAND_S)
        assert not check or done.returncode == 0, f"{line}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def off(self) -> None:
        """The order to power off, as a machine gets it; whatever does not follow is killed."""
        if self._nspawn is None:
            return
        if self._first:
            self.run("kill -s RTMIN+4 1", check=False)
        try:
            self._nspawn.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn, self._first = None, 0

    def close(self) -> None:
        """Power off, and leave nothing of it behind."""
        self.off()
        for mount in (self.root, self._folder / "layer"):
            subprocess.run(["umount", "-R", mount], check=False, capture_output=True)
        with contextlib.suppress(AssertionError):  # its last processes are on their way out
            wait_until(lambda: not list(filter(_stays, self._groups)), BOOT_S)
        subprocess.run(["rm", "-rf", "--one-file-system", self._folder], check=False)


def _make_groups() -> list[Path]:
    """A control group for the box in each hierarchy that systemd would use: it must not take the machine's own."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    homes = [m[1] for m in mounts if m[2] == "cgroup2" or (m[2] == "cgroup" and "name=systemd" in m[3])]
    if not homes:
        raise UnavailableError("no control groups are mounted that a systemd could use")
    groups = []
    name = f"musecast-{secrets.token_hex(4)}"  # one in all: nspawn makes it where it is missing
    for home in homes:
        group = Path(home, name)
        try:
            group.mkdir()
        except OSError as error:
            raise UnavailableError(f"no control group of its own: {error}") from None
        groups.append(group)
    return groups


def _stays(group: Path) -> bool:
    """Whether a control group is still there after an attempt to remove it and those below it."""
    for folder in (*sorted(group.rglob("*/"), reverse=True), group):
        with contextlib.suppress(OSError):
            folder.rmdir()
    return group.exists()


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "said nothing"
