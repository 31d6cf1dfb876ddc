"""Group norm and SiLU in one, for channels-last maps: a Triton kernel on a GPU, two PyTorch steps elsewhere.

PyTorch's own group norm is slow in channels-last memory, and in an eager decoder norm and activation are close
to half of the time.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Fused = Callable[[Tensor, int, Tensor, Tensor, float, bool], Tensor]
fused: Fused | None = None
try:
    from models.musetalk.norm_triton import fused_group_norm

    fused = fused_group_norm
except ImportError:
    pass


use_fused = True
"""False only to measure what the kernel is worth."""


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool) -> Tensor:
    """Group norm of f ``[B, C, H, W]``, then SiLU where ``silu``; keeps the memory format."""
    if fused is not None and use_fused and x.is_cuda:
        return fused(x, groups, weight, bias, eps, silu)
    y = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(y) if silu else y
