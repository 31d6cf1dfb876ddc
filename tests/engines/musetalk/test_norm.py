"""The kernel for group norm with SiLU: left out where it does not work."""

from __future__ import annotations

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor
from torch.nn import functional as F

from models.musetalk import norm

CPU = torch.device("cpu")


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
