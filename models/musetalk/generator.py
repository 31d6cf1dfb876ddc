"""Latents and audio to faces: batches of fixed sizes, one CUDA graph each, memory that runs out survived."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.api import CROP, EngineError, Progress
from models.meter import DIGITS, Meter
from models.musetalk.batching import BucketLimit, split
from models.musetalk.constants import AUDIO_DIM, LATENT, TOKENS
from models.musetalk.gpu import out_of_memory

log = structlog.get_logger(__name__)
T = TypeVar("T")

WARM_RUNS = 3
"""Before a capture: cuDNN chooses its algorithms, allocators grow."""
MOST_OF_LIMIT, FRAME_OF_LIMIT = 1 / 4, 1 / 2
"""Of an item's time limit: what a batch on a CPU may take, and what one frame must not exceed. Warming is timed on
a machine that starts other processes too, and a later batch shares it with them."""
TRIED_ON_CPU = 2
"""Frames of the largest batch that a CPU runs before it is ready."""


class Faces(NamedTuple):
    """Generated crops u8 BGR ``[n, 256, 256, 3]``, and which of them hold only finite numbers."""

    crops: NDArray[np.uint8]
    finite: NDArray[np.bool_]


def to_bgr(x: Tensor) -> Tensor:
    """RGB f ``[B, 3, H, W]`` in -1..1 to BGR u8 ``[B, H, W, 3]``, rounded half to even."""
    scaled = (x.float() / 2 + 0.5).clamp(0, 1) * 255
    return scaled.round().to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous()


def _shortage(error: RuntimeError) -> str:
    """What an error says about memory that is short; any other error goes on its way."""
    if not out_of_memory(error):
        raise error
    return str(error) or "out of memory"


class _Bucket:
    """Static buffers of one batch size, and its graph."""

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.size = size
        pinned = device.type == "cuda"
        self.rows = torch.zeros(size, LATENT, LATENT, 8, device=device, dtype=dtype)
        self.latents = self.rows.permute(0, 3, 1, 2)
        """The same memory as the network's input: channels-last ``[size, 8, 32, 32]``."""
        self.audio = torch.zeros(size, TOKENS, AUDIO_DIM, device=device, dtype=dtype)
        self.crops = torch.empty(size, CROP, CROP, 3, dtype=torch.uint8, device=device)
        self.finite = torch.empty(size, dtype=torch.bool, device=device)
        self.host_crops = torch.empty(size, CROP, CROP, 3, dtype=torch.uint8, pin_memory=pinned)
        self.host_finite = torch.empty(size, dtype=torch.bool, pin_memory=pinned)
        self.graph: torch.cuda.CUDAGraph | None = None

    def fill(self, latents: Sequence[Tensor], audio: Sequence[Tensor]) -> None:
        """Copy the inputs in, one launch each; what is beyond them keeps its old, finite numbers."""
        torch.stack(list(latents), out=self.rows[: len(latents)])
        torch.stack(list(audio), out=self.audio[: len(audio)])


class Generator:
    """The UNet and the decoder on one device.

    Args:
        unet: latents and audio to latents.
        decoder: latents to pictures.
        device: where both are.
        dtype: theirs.
        buckets: batch sizes, ascending from 1.
        graphs: capture a CUDA graph per bucket; no effect on a CPU.
        clock: monotonic seconds.
        meter: is told how full the batches are.
    """

    def __init__(
        self,
        unet: nn.Module,
        decoder: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        buckets: Sequence[int],
        graphs: bool = True,
        clock: Callable[[], float] = time.monotonic,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Meter()
        self.device, self.dtype = device, dtype
        self._unet, self._decoder = unet, decoder
        self._graphs = graphs and device.type == "cuda"
        self._clock = clock
        self._sizes = tuple(buckets)
        self._limit = BucketLimit(buckets)
        self._ready: dict[int, _Bucket] = {}
        self._pool: tuple[int, int] | None = None
        self._side: torch.cuda.Stream | None = None
        self.generated = self.padded = 0
        """Frames generated, and frames of padding generated for nothing."""
        self.shortages = 0
        """Batches that did not fit into the device's memory."""

    @property
    def figures(self) -> dict[str, float]:
        """Totals since the start; ``batch_max`` is the largest batch that fits into the device's memory now."""
        run = self.generated + self.padded
        fill = {"batch_fill": round(self.generated / run, DIGITS)} if run else {}
        return {"generated": self.generated, "oom": self.shortages, "batch_max": self._limit.most, **fill}

    @property
    def sizes(self) -> Sequence[int]:
        """Batch sizes, ascending; after ``warm`` only those that this device is quick enough for."""
        return self._sizes

    def warm(self, progress: Progress, limit_s: float = math.inf) -> None:
        """Run every batch size once; on a GPU the largest first, so that the smaller ones share its memory.

        A CPU gains nothing by batches, and what it does not finish in time is taken for hung: there the sizes end
        where one would take a quarter of the limit. Nothing is compiled or recorded there, so only the smallest
        are run, and the time of a frame tells of the others.

        Args:
            progress: told before each size.
            limit_s: of an item without progress.

        Raises:
            EngineError: not even a batch of one fits, or one frame takes more than half of the limit.
        """
        if self.device.type == "cpu":
            self._warm_cpu(progress, limit_s)
            return
        for done, size in enumerate(reversed(self._sizes)):
            progress("warming", done, len(self._sizes))
            short = ""
            try:
                self._bucket(size)
                torch.cuda.synchronize(self.device)
            except RuntimeError as error:
                short = _shortage(error)
            if short:
                self._out_of_memory(size, short)
        progress("warming", len(self._sizes), len(self._sizes))

    def _warm_cpu(self, progress: Progress, limit_s: float) -> None:
        frame_s = 0.0
        for done, size in enumerate(self._sizes):
            if size * frame_s > MOST_OF_LIMIT * limit_s:
                log.info("lipsync.batches_limited", batches=list(self._sizes[:done]), frame_s=round(frame_s, 2))
                self._sizes = self._sizes[:done]
                self._limit = BucketLimit(self._sizes)
                break
            progress("warming", done, len(self._sizes))
            if size > TRIED_ON_CPU and not self._graphs:
                continue
            begin, short = self._clock(), ""
            try:
                with torch.inference_mode():
                    if (bucket := self._bucket(size)).graph is None:
                        self._forward(bucket)
            except RuntimeError as error:
                short = _shortage(error)
            if short:
                self._out_of_memory(size, short)
                break
            frame_s = (self._clock() - begin) / size
            if frame_s > FRAME_OF_LIMIT * limit_s:
                raise EngineError(
                    "FAILED",
                    f"one frame takes {frame_s:.1f} s on this CPU, and an item without progress for "
                    f"{limit_s:g} s counts as hung",
                    f"use a GPU (stages.lipsync.devices: auto) or engines.lipsync: [warp]; for files that may "
                    f"take long set stages.lipsync.item_timeout_s to {math.ceil(4 * frame_s)} or more",
                )
        progress("warming", len(self._sizes), len(self._sizes))

    def generate(self, latents: Sequence[Tensor], audio: Sequence[Tensor]) -> Faces:
        """Faces for any number of frames.

        Args:
            latents: f ``[32, 32, 8]`` each, on the device.
            audio: f ``[50, 384]`` each, on the device, with positions added.
        """
        crops = np.empty((len(latents), CROP, CROP, 3), np.uint8)
        finite = np.empty(len(latents), np.bool_)
        at = 0
        while at < len(latents):
            taken, size = split(len(latents) - at, self._limit.usable(self._clock()))[0]
            part = slice(at, at + taken)
            short = ""
            try:
                self._run(size, latents[part], audio[part], crops[part], finite[part])
            except RuntimeError as error:
                short = _shortage(error)
            if short:
                self._out_of_memory(size, short)
                continue
            self.generated += taken
            self.padded += size - taken
            self._meter.average("batch_fill.recent", taken, size)
            at += taken
        return Faces(crops, finite)

    def with_room(self, action: Callable[[], T], spare: Callable[[], bool]) -> T:
        """Do what else needs the device's memory: short of it, what can be made anew goes, then large batches.

        Args:
            action: repeated until it fits.
            spare: releases what its owner can make again; tells whether there was any.

        Raises:
            EngineError: FAILED, retryable: it does not fit beside batches of one.
        """
        while True:
            try:
                return action()
            except RuntimeError as error:
                short = _shortage(error)
            if spare():
                self.shortages += 1
                self._free()
                log.warning("lipsync.memory_spared", device=str(self.device))
                continue
            # All graphs share one pool, which is given back only when the last of them is gone.
            self._ready.clear()
            self._out_of_memory(self._limit.most, short)

    @torch.inference_mode()
    def _run(
        self,
        size: int,
        latents: Sequence[Tensor],
        audio: Sequence[Tensor],
        crops: NDArray[np.uint8],
        finite: NDArray[np.bool_],
    ) -> None:
        bucket = self._bucket(size)
        count = len(latents)
        bucket.fill(latents, audio)
        if bucket.graph is not None:
            bucket.graph.replay()
        else:
            self._forward(bucket)
        if self.device.type == "cuda":
            bucket.host_crops[:count].copy_(bucket.crops[:count], non_blocking=True)
            bucket.host_finite[:count].copy_(bucket.finite[:count], non_blocking=True)
            torch.cuda.current_stream(self.device).synchronize()
            crops[...], finite[...] = bucket.host_crops[:count].numpy(), bucket.host_finite[:count].numpy()
        else:
            crops[...], finite[...] = bucket.crops[:count].numpy(), bucket.finite[:count].numpy()

    def _forward(self, bucket: _Bucket) -> None:
        """Networks and conversion, from the bucket's inputs to its outputs."""
        pictures = self._decoder(self._unet(bucket.latents, bucket.audio))
        bucket.finite.copy_(torch.isfinite(pictures).flatten(1).all(dim=1))
        bucket.crops.copy_(to_bgr(pictures))

    @torch.inference_mode()
    def _bucket(self, size: int) -> _Bucket:
        found = self._ready.get(size)
        if found is None:
            found = _Bucket(size, self.device, self.dtype)
            if self._graphs:
                self._capture(found)
            elif self.device.type != "cpu":
                self._forward(found)
            self._ready[size] = found
        return found

    def _capture(self, bucket: _Bucket) -> None:
        # One stream for all: cuBLAS keeps tens of MB of workspace for each that it was used on.
        stream = self._side = self._side or torch.cuda.Stream(self.device)
        here = torch.cuda.current_stream(self.device)
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            for _ in range(WARM_RUNS):
                self._forward(bucket)
        here.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Outside: a capture that cannot be ended for want of memory would leave the thread on its stream.
        with torch.cuda.stream(here), torch.cuda.graph(graph, pool=self._pool, stream=stream):
            self._forward(bucket)
        self._pool = self._pool or graph.pool()
        graph.replay()  # the first launch also carries the graph to the device
        bucket.graph = graph

    def _out_of_memory(self, size: int, reason: str) -> None:
        """Call it outside of the handler: the error's traceback holds on to what did not fit."""
        self.shortages += 1
        most = self._limit.failed(size, self._clock())
        self._ready = {key: bucket for key, bucket in self._ready.items() if key < size}
        if not self._ready:
            self._pool = None  # it has gone with its last graph, and PyTorch refuses a capture into it
        self._free()
        if not most:
            raise EngineError(
                "FAILED", f"not even one frame fits into the memory of {self.device}: {reason}",
                "free the GPU, or set musetalk.tier to fast", retryable=True,
            )  # fmt: skip
        log.warning("lipsync.memory_short", failed_batch=size, largest_batch=most, device=str(self.device))

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
