"""What a run holds constant and what it found: device, clocks, versions, switches, commit. Nothing is changed."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks.gpu_job.child import ROOT
from benchmarks.machine import cpu_model, describe

LOAD_S = 0.3
"""How long the device is kept busy before its clock is read: at rest it says nothing."""
SAMPLE_S = 0.25
LOADED_PERCENT = 50.0


class Readings:
    """NVML of one device; every reading is empty on a CPU, without NVML, or where the driver does not allow it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._nvml: Any = None
        self._handle: Any = None
        if device.type != "cuda":
            return
        try:
            import pynvml

            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(device).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
            self._nvml = pynvml
        except Exception as error:  # no package, no driver, a MIG slice
            print(f"no NVML readings: {type(error).__name__}: {error}", flush=True)

    @property
    def driver(self) -> str:
        """The driver's version, "" where it cannot be read."""
        return str(self._ask(lambda n, h: n.nvmlSystemGetDriverVersion()) or "")

    def now(self) -> dict[str, float]:
        """Clocks in MHz, power in W, temperature in degrees Celsius, busy in %, memory used in MB."""
        asked: dict[str, Callable[[Any, Any], float]] = {
            "sm_mhz": lambda n, h: float(n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM)),
            "memory_mhz": lambda n, h: float(n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM)),
            "power_w": lambda n, h: n.nvmlDeviceGetPowerUsage(h) / 1000,
            "power_limit_w": lambda n, h: n.nvmlDeviceGetEnforcedPowerLimit(h) / 1000,
            "temperature_c": lambda n, h: float(n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU)),
            "busy_percent": lambda n, h: float(n.nvmlDeviceGetUtilizationRates(h).gpu),
            "memory_used_mb": lambda n, h: n.nvmlDeviceGetMemoryInfo(h).used / 1e6,
        }
        found = {name: self._ask(read) for name, read in asked.items()}
        return {name: round(float(value), 1) for name, value in found.items() if value is not None}

    def loaded_mhz(self) -> float | None:
        """The clock of the multiprocessors while they work; None where it cannot be read."""
        if self._nvml is None:
            return None
        a = torch.randn(4096, 4096, device=self._device, dtype=torch.float16)
        done, until = torch.cuda.Event(), time.monotonic() + LOAD_S
        while time.monotonic() < until:
            torch.mm(a, a)
            done.record()
            done.synchronize()
        for _ in range(20):  # in flight while the clock is read
            torch.mm(a, a)
        found = self.now().get("sm_mhz")
        torch.cuda.synchronize()
        return found

    def _ask(self, read: Callable[[Any, Any], Any]) -> Any:
        if self._nvml is None:
            return None
        try:
            return read(self._nvml, self._handle)
        except Exception:  # NVML has its own class for each thing that a device does not tell
            return None


class Watch:
    """Reads the device while a part runs, in a thread of its own; a context manager.

    Args:
        readings: of the device.
    """

    def __init__(self, readings: Readings) -> None:
        self._readings = readings
        self._over = threading.Event()
        self._found: list[dict[str, float]] = []
        self._thread = threading.Thread(target=self._run, name="readings", daemon=True)

    def __enter__(self) -> Self:
        if self._readings.now():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._found.append(self._readings.now())

    def latest(self) -> dict[str, float]:
        """The last reading under load; without one the last there is, or the present."""
        busy = [one for one in self._found if one.get("busy_percent", 0) >= LOADED_PERCENT]
        return (busy or self._found or [self._readings.now()])[-1]

    def told(self) -> dict[str, Any]:
        """Mean of busy, and the highest memory use, power and temperature; {} without readings."""
        if not self._found:
            return {}
        column = {name: [one[name] for one in self._found if name in one] for name in self._found[0]}
        told: dict[str, Any] = {"samples": len(self._found)}
        if busy := column.get("busy_percent"):
            told["gpu_busy_percent"] = round(sum(busy) / len(busy), 1)
        for name in ("memory_used_mb", "power_w", "temperature_c"):
            if values := column.get(name):
                told[f"{name}_max"] = max(values)
        if clocks := column.get("sm_mhz"):
            told["sm_mhz"] = [min(clocks), max(clocks)]
        return told


def commit() -> str:
    """The commit of this checkout, with a + when files were changed; "" outside of one."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def commit_of(checkout: Path) -> str:
    """The same of another checkout."""
    try:
        return _git("rev-parse", "--short=12", "HEAD", root=checkout)
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str, root: Path = ROOT) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def machine(device: torch.device) -> str:
    """The processor and the GPU, in one line."""
    cores = len(os.sched_getaffinity(0))
    gpu = f" + {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ", no GPU"
    return f"{cpu_model()}, {cores} cores{gpu}"


def record(device: torch.device, dtype: torch.dtype, readings: Readings, **more: Any) -> dict[str, Any]:
    """Everything that is held constant, and the device as found."""
    from models.musetalk import norm

    backends = torch.backends
    return {
        "machine": machine(device), "when": describe(), "driver": readings.driver, "commit": commit(),
        "torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": backends.cudnn.version(),
        "cudnn_benchmark": backends.cudnn.benchmark,
        "allow_tf32": {"matmul": backends.cuda.matmul.allow_tf32, "cudnn": backends.cudnn.allow_tf32},
        "threads": {"torch": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "")},
        "dtype": str(dtype).removeprefix("torch."), "fused_norm": norm.fused is not None,
        "before": readings.now(), **more,
    }  # fmt: skip
