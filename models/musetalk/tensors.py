"""The networks that prepare templates, in the process that owns the device; see ``models.musetalk.asks``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.api import CROP, EngineError, Progress
from models.musetalk import asks, bisenet, pose, s3fd
from models.musetalk.batching import BucketLimit
from models.musetalk.constants import LATENT, MASK_ROW, PARSED, SCALING
from models.musetalk.gpu import exact, out_of_memory
from models.musetalk.loading import load_module

U8 = NDArray[np.uint8]
Arrays = list[NDArray[Any]]

SIZES = (1, 2, 4)
"""Pictures run at once; smaller while memory is short."""
_SHAPES: dict[str, tuple[int | None, int | None]] = {
    asks.FACES: (None, None),
    asks.POINTS: (pose.HEIGHT, pose.WIDTH),
    asks.STRICT_POINTS: (pose.HEIGHT, pose.WIDTH),
    asks.CLASSES: (PARSED, PARSED),
    asks.LATENTS: (CROP, CROP),
}
"""Height and width of the pictures of each kind; None: any."""

log = structlog.get_logger(__name__)


def vae_inputs(crops: U8) -> Tensor:
    """The masked and the whole crop of each: u8 BGR ``[n, 256, 256, 3]`` to f32 ``[2n, 3, 256, 256]``, -1 to 1."""
    rgb = torch.from_numpy(np.ascontiguousarray(crops[..., ::-1])).permute(0, 3, 1, 2).float() / 255
    masked = rgb.clone()
    masked[:, :, MASK_ROW:] = 0
    return (torch.stack([masked, rgb], dim=1).flatten(0, 1) - 0.5) / 0.5


@torch.inference_mode()
def encode(vae: Any, inputs: Tensor) -> Tensor:
    """Scaled latents, the mode of the posterior: f ``[B, 3, 256, 256]`` to ``[B, 4, 32, 32]``."""
    out: Tensor = vae.encode(inputs).latent_dist.mode() * SCALING
    return out


class PreparationNetworks:
    """VAE encoder, DWPose, S3FD and BiSeNet behind the seam ``models.api.TensorSource``.

    Each is loaded at the first ask that needs it and kept until ``rest``.

    Args:
        root: ``weights_dir``.
        device: where they run.
        clock: monotonic seconds.
    """

    def __init__(self, root: Path, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self._root, self._device, self._clock = root, device, clock
        self._loaded: dict[str, Any] = {}
        self._limit = BucketLimit(SIZES)

    def tensors(self, kind: str, arrays: Sequence[NDArray[Any]], progress: Progress) -> Arrays:
        """See ``models.api.TensorSource``.

        Raises:
            EngineError: INVALID_ARGUMENT for what is no such ask; FAILED without weights or memory.
        """
        pictures = _checked(kind, arrays)
        run = {
            asks.FACES: self._faces,
            asks.POINTS: self._points,
            asks.STRICT_POINTS: self._strict_points,
            asks.CLASSES: self._classes,
            asks.LATENTS: self._latents,
        }[kind]
        parts: list[Arrays] = []
        at = 0
        while at < len(pictures):
            size = min(len(pictures) - at, self._limit.usable(self._clock())[-1])
            short = ""
            try:
                with exact(), torch.inference_mode():
                    parts.append(run(pictures[at : at + size], progress))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                short = str(error)
            if short:
                self._out_of_memory(kind, size, short)
                continue
            at += size
            progress(kind, at, len(pictures))
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def rest(self) -> bool:
        """Release the networks and their memory; tells whether there were any."""
        loaded = sorted(self._loaded)
        if loaded:
            log.info("lipsync.preparation_rests", networks=loaded)
        self._loaded.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return bool(loaded)

    def _network(self, name: str, progress: Progress) -> Any:
        found = self._loaded.get(name)
        if found is None:
            progress(f"load {name}", 0, 1)
            module = load_module(self._root, name)
            if name == "vae":
                del module.decoder  # speaking has its own
            found = self._loaded[name] = module.to(self._device)
            progress(f"load {name}", 1, 1)
        return found

    def _faces(self, pictures: U8, progress: Progress) -> Arrays:
        levels = self._network("s3fd", progress)(s3fd.network_input(pictures).to(self._device))
        boxes = [s3fd.decode(levels, index) for index in range(len(pictures))]
        return [np.concatenate(boxes), np.array([len(found) for found in boxes], np.int32)]

    def _points(self, pictures: U8, progress: Progress) -> Arrays:
        return self._found_points(pictures, progress, strict=False)

    def _strict_points(self, pictures: U8, progress: Progress) -> Arrays:
        return self._found_points(pictures, progress, strict=True)

    def _found_points(self, pictures: U8, progress: Progress, *, strict: bool) -> Arrays:
        from models.musetalk import dwpose  # raises EngineError without mmcv-lite

        network = self._network("dwpose", progress)
        x = dwpose.network_input(pictures).to(self._device)
        return [*dwpose.keypoints(*dwpose.scores(network, x, together=not strict), sub_bin=not strict)]

    def _classes(self, pictures: U8, progress: Progress) -> Arrays:
        network = self._network("face-parse", progress)
        best = network(bisenet.network_input(pictures).to(self._device)).argmax(dim=1)
        return [best.to(torch.uint8).cpu().numpy()]

    def _latents(self, pictures: U8, progress: Progress) -> Arrays:
        made = encode(self._network("vae", progress), vae_inputs(pictures).to(self._device))
        return [made.float().cpu().numpy().reshape(len(pictures), 8, LATENT, LATENT)]

    def _out_of_memory(self, kind: str, size: int, reason: str) -> None:
        """Call it outside of the handler: the error's traceback holds on to what did not fit."""
        most = self._limit.failed(size, self._clock())
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        if not most:
            raise EngineError(
                "FAILED", f"not even one picture ({kind}) fits into the memory of {self._device}: {reason}",
                "free the GPU or lower musetalk.max_batch, then prepare it again", retryable=True,
            )  # fmt: skip
        log.warning("lipsync.preparation_memory_short", kind=kind, failed_batch=size, largest_batch=most)


def _checked(kind: str, arrays: Sequence[NDArray[Any]]) -> U8:
    """The pictures of an ask; INVALID_ARGUMENT when it is none."""
    shape = _SHAPES.get(kind)
    if shape is None:
        raise EngineError("INVALID_ARGUMENT", f"musetalk has no tensors of kind {kind!r}: {', '.join(asks.KINDS)}")
    pictures = arrays[0] if len(arrays) == 1 else np.empty(0)
    height, width = shape
    fits = (
        pictures.dtype == np.uint8
        and pictures.ndim == 4
        and pictures.shape[0] > 0
        and pictures.shape[3] == 3
        and height in (None, pictures.shape[1])
        and width in (None, pictures.shape[2])
    )
    if not fits:
        got = [(str(array.dtype), list(array.shape)) for array in arrays]
        size = f"{height or 'H'}, {width or 'W'}"
        raise EngineError("INVALID_ARGUMENT", f"{kind} takes u8 [n, {size}, 3], not {got}")
    return np.asarray(pictures, np.uint8)
