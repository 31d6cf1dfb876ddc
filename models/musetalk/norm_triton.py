"""Group norm with SiLU for channels-last maps, in Triton. Imported only where Triton is installed.

Three kernels: partial sums per channel over stretches of rows; one scale and one shift per channel from them;
the map times scale plus shift. Tiles are rows x channels, so that reads are whole memory lines however
narrow a group is. Sums are of values minus the group's first value, so that a large mean does not eat the
variance, and are stored rather than added atomically, so that the result does not depend on which program
ends first.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 32
"""Rows (spatial positions) of a tile."""
COLUMNS = 128
"""Most channels of a tile."""
MAX_PARTS = 64
"""Programs along the rows in the first kernel."""


@triton.jit
def _partial_sums(  # type: ignore[no-untyped-def]
    x_ptr, part_ptr, rows, channels, width, steps, parts, ROWS: tl.constexpr, COLS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    image, part, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    column = block * COLS + tl.arange(0, COLS)
    used = column < channels
    base = x_ptr + image.to(tl.int64) * rows * channels
    shift = tl.load(base + column // width * width, mask=used, other=0.0).to(tl.float32)
    total = tl.zeros([ROWS, COLS], tl.float32)
    square = tl.zeros([ROWS, COLS], tl.float32)
    for step in range(steps):
        row = (part * steps + step) * ROWS + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & used[None, :]
        value = tl.load(base + row[:, None] * channels + column[None, :], mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, value - shift[None, :], 0.0)
        total += value
        square += value * value
    out = part_ptr + ((image * parts + part) * 2) * channels + column
    tl.store(out, tl.sum(total, axis=0), mask=used)
    tl.store(out + channels, tl.sum(square, axis=0), mask=used)


@triton.jit
def _coefficients(  # type: ignore[no-untyped-def]
    x_ptr, part_ptr, out_ptr, weight_ptr, bias_ptr, rows, channels, width, parts, eps,
    PARTS: tl.constexpr, COLS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    image, group = tl.program_id(0), tl.program_id(1)
    part, column = tl.arange(0, PARTS), tl.arange(0, COLS)
    used = column < width
    inside = (part[:, None] < parts) & used[None, :]
    at = part_ptr + ((image * parts + part[:, None]) * 2) * channels + group * width + column[None, :]
    total = tl.sum(tl.sum(tl.load(at, mask=inside, other=0.0), axis=1), axis=0)
    square = tl.sum(tl.sum(tl.load(at + channels, mask=inside, other=0.0), axis=1), axis=0)
    shift = tl.load(x_ptr + image.to(tl.int64) * rows * channels + group * width).to(tl.float32)
    count = rows * width
    mean = total / count
    inverse = 1.0 / tl.sqrt(tl.maximum(square / count - mean * mean, 0.0) + eps)
    weight = tl.load(weight_ptr + group * width + column, mask=used, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + group * width + column, mask=used, other=0.0).to(tl.float32)
    scale = weight * inverse
    out = out_ptr + image * 2 * channels + group * width + column
    tl.store(out, scale, mask=used)
    tl.store(out + channels, bias - (mean + shift) * scale, mask=used)


@triton.jit
def _apply(  # type: ignore[no-untyped-def]
    x_ptr, y_ptr, coefficient_ptr, rows, channels,
    SILU: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,  # noqa: N803
):  # fmt: skip
    image, part, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    column = block * COLS + tl.arange(0, COLS)
    used = column < channels
    row = part * ROWS + tl.arange(0, ROWS)
    inside = (row[:, None] < rows) & used[None, :]
    at = coefficient_ptr + image * 2 * channels + column
    scale = tl.load(at, mask=used, other=0.0)
    shift = tl.load(at + channels, mask=used, other=0.0)
    place = image.to(tl.int64) * rows * channels + row[:, None] * channels + column[None, :]
    value = tl.load(x_ptr + place, mask=inside, other=0.0).to(tl.float32)
    value = value * scale[None, :] + shift[None, :]
    if SILU:
        value = value / (1.0 + tl.exp(-value))
    tl.store(y_ptr + place, value.to(y_ptr.dtype.element_ty), mask=inside)


def fused_group_norm(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool, max_parts: int = MAX_PARTS
) -> Tensor:
    """Group norm of f ``[B, C, H, W]``, then SiLU where ``silu``; the result is channels-last."""
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, wide = x.shape
    rows, width = height * wide, channels // groups
    columns = min(COLUMNS, triton.next_power_of_2(channels))
    blocks, tiles = triton.cdiv(channels, columns), triton.cdiv(rows, ROWS)
    parts = min(max_parts, tiles)
    steps = triton.cdiv(tiles, parts)
    sums = torch.empty(batch, parts, 2, channels, dtype=torch.float32, device=x.device)
    found = torch.empty(batch, 2, channels, dtype=torch.float32, device=x.device)
    y = torch.empty_like(x, memory_format=torch.channels_last)
    first: Any = (batch, parts, blocks)
    second: Any = (batch, groups)
    third: Any = (batch, tiles, blocks)
    _partial_sums[first](x, sums, rows, channels, width, steps, parts, ROWS=ROWS, COLS=columns)
    _coefficients[second](
        x, sums, found, weight, bias, rows, channels, width, parts, eps,
        PARTS=triton.next_power_of_2(parts), COLS=triton.next_power_of_2(width),
    )  # fmt: skip
    _apply[third](x, y, found, rows, channels, SILU=silu, ROWS=ROWS, COLS=columns)
    return y
