"""Group norm and SiLU in one, for channels-last maps: a Triton kernel on a GPU, two PyTorch steps elsewhere.

PyTorch's own group norm is slow in channels-last memory, and in an eager decoder norm and activation are close
to half of the time.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
import torch
from torch import Tensor
from torch.nn import functional as F

from models.musetalk.gpu import out_of_memory

log = structlog.get_logger(__name__)
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


@torch.inference_mode()
def try_fused(device: torch.device, dtype: torch.dtype) -> None:
    """Run the kernel once; where it does not compile (Triton needs a C compiler and Python's headers) or comes out
    wrong, the two steps take its place, and the log says so.
    """
    global fused
    if fused is None:
        return
    x = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = torch.ones(64, device=device, dtype=dtype), torch.zeros(64, device=device, dtype=dtype)
    wanted = F.silu(F.group_norm(x.float(), 32, weight.float(), bias.float(), 1e-5))
    try:
        apart = float((fused(x, 32, weight, bias, 1e-5, True).float() - wanted).abs().max())
        reason = "" if apart <= 0.05 else f"its result differs by {apart:.3g}"
    except Exception as error:  # of Triton, of its compiler, of the loader
        if isinstance(error, RuntimeError) and out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[-1:]}"
    if reason:
        fused = None
        log.warning(
            "lipsync.kernel_unused", kernel="group norm with SiLU", reason=reason, hint="it is only slower"
        )
