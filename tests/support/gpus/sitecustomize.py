"""GPUs without one: for processes that have this folder in PYTHONPATH, and a GPU by name in CUDA_VISIBLE_DEVICES.

Python imports this file at its start. PyTorch then says that it has that GPU, and the CPU does its work; a file of
the GPU's name in the folder ``CUDA_DOUBLE_LOST`` is the GPU falling off the bus. Doubled is PyTorch's public
interface, as far as MuseTalk uses it without graphs, and NVML's (``pynvml.py``); everything above is real.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

NAME = os.environ.get("CUDA_VISIBLE_DEVICES", "")
LOST = Path(os.environ.get("CUDA_DOUBLE_LOST", "/nowhere"), NAME)
HELD = 200_000_000


def _answer() -> None:
    if LOST.exists():
        raise RuntimeError("CUDA error: unspecified launch failure")


def _give_gpu(torch: Any) -> None:
    from torch.overrides import TorchFunctionMode

    def on_cpu(value: Any) -> Any:
        if isinstance(value, torch.device) and value.type == "cuda":
            _answer()
            return torch.device("cpu")
        return value

    class OnCpu(TorchFunctionMode):
        """Where something is to be on the GPU, it is on the CPU."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            named = {key: on_cpu(value) for key, value in (kwargs or {}).items() if key != "pin_memory"}
            return func(*map(on_cpu, args), **named)

    run = threading.Thread.run

    def run_on_cpu(self: threading.Thread) -> None:
        with OnCpu():  # a mode holds for one thread
            run(self)

    threading.Thread.run = run_on_cpu  # type: ignore[method-assign]
    OnCpu().__enter__()  # the thread that imports it has begun already
    cuda = torch.cuda
    cuda.is_available = lambda: not LOST.exists()
    cuda.synchronize = lambda *_: _answer()
    cuda.current_stream = lambda *_: SimpleNamespace(synchronize=_answer)
    cuda.empty_cache = _answer
    cuda.memory_reserved = lambda *_: HELD
    cuda.utilization = lambda *_: 50
    cuda.device_memory_used = lambda *_: 2 * HELD
    cuda.get_device_properties = lambda *_: SimpleNamespace(total_memory=24_000_000_000)


class _AfterTorch(MetaPathFinder, Loader):
    """Imports PyTorch as ever, and gives it a GPU."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _give_gpu(module)


if NAME:
    sys.meta_path.insert(0, _AfterTorch())
