"""The kernel for group norm with SiLU: right where it can be run, and left out where it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor
from torch.nn import functional as F

from models.musetalk import norm

CPU = torch.device("cpu")
COMPARE = """
import torch
from torch.nn import functional as F
from models.musetalk.norm_triton import fused_group_norm
for channels, groups, side, dtype, limit in (
    (320, 32, 8, torch.float32, 2e-5), (2560, 32, 4, torch.float16, 4e-3), (16, 16, 7, torch.float32, 2e-5),
    (512, 32, 48, torch.float32, 2e-5), (1920, 32, 8, torch.bfloat16, 4e-2),
):
    drawn = torch.Generator().manual_seed(channels)
    x = (torch.randn(2, channels, side, side + 1, generator=drawn) * 3 + 50).to(dtype)
    weight, bias = (torch.rand(channels, generator=drawn).to(dtype) for _ in range(2))
    wanted = F.group_norm(x.double(), groups, weight.double(), bias.double(), 1e-5)
    for silu, parts in ((True, 64), (False, 3)):
        found = fused_group_norm(x, groups, weight, bias, 1e-5, silu, parts)
        assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last)
        apart = (found.double() - (F.silu(wanted) if silu else wanted)).abs().max().item()
        assert apart <= limit, (channels, silu, apart)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton comes with the CUDA build of torch")
def test_the_kernel_is_group_norm_with_silu_in_tritons_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMPARE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr


def right(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool) -> Tensor:
    return F.silu(F.group_norm(x, groups, weight, bias, eps))


def wrong(x: Tensor, *_: object) -> Tensor:
    return x


def without_compiler(*_: object) -> Tensor:
    raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")


@pytest.mark.parametrize(
    ("kernel", "said"),
    [(right, ""), (wrong, "differs by"), (without_compiler, "C compiler")],
    ids=["right", "wrong", "no compiler"],
)
def test_a_kernel_that_does_not_work_here_is_left_out_and_named(
    kernel: norm.Fused, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(norm, "fused", kernel)
    with capture_logs() as logs:
        norm.try_fused(CPU, torch.float32)
    assert (norm.fused is kernel) == (not said)
    assert len(logs) == bool(said)
    assert all(said in str(entry["reason"]) for entry in logs)


def test_memory_that_is_short_says_nothing_about_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> Tensor:
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(norm, "fused", short)
    with pytest.raises(RuntimeError, match="out of memory"):
        norm.try_fused(CPU, torch.float32)
    assert norm.fused is short
