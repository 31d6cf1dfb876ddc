"""``musetalk``: lip-sync by MuseTalk, one process per GPU, one batch for several sessions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.grid import QUANTUM_FRAMES, QUANTUM_MS
from configs.schema import Config
from models.api import FRAME_US, EngineError, EngineGoneError, EngineLostError, FrameJob, Progress, SpeechWindow
from models.meter import GpuUse, Meter
from models.musetalk.audio import positional_encoding
from models.musetalk.constants import AUDIO_DIM
from models.musetalk.gate import weights
from models.musetalk.generator import Generator
from models.musetalk.gpu import device_name, gpu_use, is_gone, is_lost
from models.musetalk.loading import load_networks
from models.musetalk.manifest import source_digest
from models.musetalk.prepared import Prepared, compose, load_prepared, own_crop, to_template_crop
from models.musetalk.stream import FeatureStream, Quantum, quanta
from models.musetalk.tensors import PreparationNetworks
from models.musetalk.whole import WholeFeatures
from models.templates.store import Template

U8 = NDArray[np.uint8]
SIZES = (1, 2, 4, 8, 16, 32, 64)
DEVICE_TEMPLATES = 16
"""Templates whose latents stay on the device: 8 MiB each for 10 s in float32."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Face:
    """One face to generate; made at most once, also when two frames are interpolated from it.

    ``latent`` is f ``[32, 32, 8]``, ``audio`` f ``[50, 384]``, both on the device.
    """

    latent: Tensor
    audio: Tensor
    crop: U8 | None = None
    """None: not generated yet, or not finite."""
    done: bool = False


@dataclass(slots=True)
class Mouth:
    """What one frame shows: ``faces`` with ``weight`` over the template; nothing without faces."""

    weight: float = 0.0
    faces: Sequence[Face] = field(default_factory=tuple)
    share: float = 0.5
    """Of the second of two faces."""
    exact: bool = False
    """A face that is not finite is an error, not left out."""


class MuseTalkLipSync:
    """MuseTalk behind the seam ``models.api.LipSync``."""

    name = "musetalk"
    skips = True
    """``SpeechWindow.skip`` is honoured: the broker may ask for every other frame."""
    reentrant = False
    """All batches go through the same buffers on the device."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.buckets: Sequence[int] = tuple(s for s in SIZES if s <= config.musetalk.max_batch)
        self._generator: Generator | None = None
        self._stream: FeatureStream | None = None
        self._whole: WholeFeatures | None = None
        self._positions = torch.empty(0)
        self._latents: OrderedDict[tuple[str, str], Tensor] = OrderedDict()
        self._vae = ""
        self._preparation: PreparationNetworks | None = None
        self.not_finite = 0
        """Faces that came out with NaN or infinity and were replaced by the template's own pixels."""
        self._uploads = 0
        self._meter = Meter()

    @property
    def generated(self) -> int:
        """Faces generated since ``load``."""
        return 0 if self._generator is None else self._generator.generated

    @property
    def device_name(self) -> str:
        """Where it runs, as ``status`` names it. After ``load``."""
        assert self._generator is not None, "load comes first"
        return device_name(self._generator.device)

    @property
    def gpu(self) -> Callable[[], GpuUse] | None:
        """How to read the GPU in use, None without one. After ``load``."""
        generator = self._generator
        if generator is None or generator.device.type != "cuda":
            return None
        return lambda: gpu_use(generator.device)

    @property
    def figures(self) -> dict[str, float]:
        """What was counted and timed since ``load``; from any thread.

        ``templates``: how often a template's latents went to the device. ``ms.features`` and ``ms.networks`` are
        per generated frame, ``ms.compose`` per rendered one; on a GPU the networks' time includes what is left
        of the features', which are launched and not waited for.
        """
        generator = self._generator
        if generator is None:
            return {}
        totals = {"not_finite": self.not_finite, "templates": self._uploads}
        return {**generator.figures, **totals, **self._meter.figures()}

    def load(self, progress: Progress) -> None:
        """Load the weights and run every batch size once.

        Raises:
            EngineError: FAILED, with the file or the setting that is wrong and the next step.
        """
        settings, stages = self._config.musetalk, self._config.stages
        own = stages.lipsync if self._config.engines.lipsync[0] == self.name else stages.fallback
        torch.set_num_threads(own.threads)
        precise = settings.tier == "lossless"
        graphs = settings.graphs and not precise
        # cuDNN times its algorithms once per shape and thread, and this is not the thread that renders: only a
        # graph brings over what was chosen here.
        torch.backends.cudnn.benchmark = graphs
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not precise
        networks = load_networks(self._config, own.devices, progress)
        self._stream = FeatureStream(networks.encoder, settings.encoder_steps)
        self._whole = WholeFeatures(networks.encoder)
        self._positions = positional_encoding(AUDIO_DIM).to(networks.device)
        self._vae = source_digest(Path(self._config.weights_dir), "vae")
        self._generator = Generator(
            networks.unet, networks.decoder, networks.device, networks.dtype, self.buckets,
            graphs, meter=self._meter,
        )  # fmt: skip
        self._generator.warm(progress, own.item_timeout_s)
        self.buckets = self._generator.sizes
        self._preparation = PreparationNetworks(Path(self._config.weights_dir), networks.device)
        silence = Quantum(np.zeros(self._stream.span_samples, np.int16), 0, 0, None, 0.0)
        longest = self._config.timeline.max_segment_ms // QUANTUM_MS
        for count in range(1, 1 + (longest if networks.device.type == "cuda" else 1)):
            self._stream.windows([silence] * count)
        log.info(
            "lipsync.ready", device=str(networks.device), dtype=str(networks.dtype).removeprefix("torch."),
            tier=settings.tier, version=settings.version, batches=list(self.buckets),
        )  # fmt: skip

    def close(self) -> None:
        """Release the device's memory."""
        self._generator = self._stream = self._whole = self._preparation = None
        self._latents.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def tensors(self, kind: str, arrays: Sequence[NDArray[Any]], progress: Progress) -> list[NDArray[Any]]:
        """See ``models.api.TensorSource`` and ``models.musetalk.asks``."""
        assert self._preparation is not None, "load comes first"
        with self._on_device():
            return self._preparation.tensors(kind, arrays, progress)

    def rest(self) -> None:
        """See ``models.api.TensorEngine``."""
        assert self._preparation is not None, "load comes first"
        self._preparation.rest()

    def plan(self, window: SpeechWindow) -> list[FrameJob]:
        """The frames ``start``.. of the window, in order; their audio features are computed here.

        Raises:
            EngineError: INVALID_ARGUMENT when the PCM does not fit the window, FAILED when the template was
                not prepared for this engine and these weights.
            EngineLostError: the device is lost to this process.
        """
        assert self._stream is not None, "load comes first"
        prepared = self._prepared(window.template)
        try:
            found = quanta(window)
        except ValueError as error:
            raise EngineError("INVALID_ARGUMENT", str(error)) from error
        shown = weights(window)
        loop = window.template.frames
        poses = [(window.frame0 + k) % loop for k in range(window.frames)]
        valid = prepared.valid & window.template.valid
        shown *= [bool(valid[poses[window.start + k]]) for k in range(len(shown))]
        wanted = [
            () if w <= 0 else sources(window.start + k, window.frames, window.skip) for k, w in enumerate(shown)
        ]
        needed = sorted({frame for frames in wanted for frame in frames})
        with self._on_device():
            faces = self._faces(window, found, needed, poses, prepared) if needed else {}
        return [
            FrameJob(
                window.template,
                poses[window.start + k],
                Mouth(
                    float(shown[k]),
                    tuple(faces[frame] for frame in frames),
                    (window.start + k - frames[0]) / (frames[1] - frames[0]) if len(frames) > 1 else 0.0,
                    window.exact,
                ),
            )
            for k, frames in enumerate(wanted)
        ]

    def _faces(
        self,
        window: SpeechWindow,
        found: list[Quantum],
        needed: list[int],
        poses: Sequence[int],
        prepared: Prepared,
    ) -> dict[int, Face]:
        """A face for each of the frames ``needed``."""
        generator = self._generator
        assert generator is not None

        def features() -> tuple[dict[int, int], Tensor]:
            row, found_features = (
                self._whole_rows(window, needed) if window.passages else self._rows(window, found, needed)
            )
            return row, (found_features.float() + self._positions).to(generator.dtype)

        with self._meter.timed("features", len(needed)):
            row, audio = generator.with_room(features, self._spare)
        latents = generator.with_room(lambda: self._device_latents(window.template, prepared), self._spare)
        return {frame: Face(latents[poses[frame]], audio[row[frame]]) for frame in needed}

    def _spare(self) -> bool:
        """Release what can be made again: templates on the device, the networks of a preparation."""
        resting = self._preparation is not None and self._preparation.rest()
        there = bool(self._latents)
        self._latents.clear()
        return there or resting

    def _rows(
        self, window: SpeechWindow, found: list[Quantum], needed: list[int]
    ) -> tuple[dict[int, int], Tensor]:
        """Features, and which row each frame has; only quanta that hold one of the frames are encoded."""
        assert self._stream is not None
        base = window.start // QUANTUM_FRAMES
        used = sorted({frame // QUANTUM_FRAMES for frame in needed})
        first = {q: k * QUANTUM_FRAMES for k, q in enumerate(used)}
        # ``start`` inside a quantum may need a frame before it, which is still in the first quantum.
        features = self._stream.windows([found[q - base] for q in used])
        return {frame: first[frame // QUANTUM_FRAMES] + frame % QUANTUM_FRAMES for frame in needed}, features

    def _whole_rows(self, window: SpeechWindow, needed: list[int]) -> tuple[dict[int, int], Tensor]:
        """The same from whole passages."""
        assert self._whole is not None
        turn_frame = -window.speech_from_us // FRAME_US
        first, count = needed[0], needed[-1] + 1 - needed[0]
        features = self._whole.windows(window.passages, turn_frame + first, count)
        return {frame: frame - first for frame in needed}, features

    def render(self, jobs: Sequence[FrameJob]) -> U8:
        """Render jobs of any sessions: u8 BGR ``[n, 256, 256, 3]``.

        Faces that are not finite are left out: their frames show the template's own pixels.

        Raises:
            EngineError: FAILED for such a face where the item wants exactly what was asked for.
            EngineLostError: the device is lost to this process.
        """
        assert self._generator is not None, "load comes first"
        waiting = {id(face): face for job in jobs for face in job.data.faces if not face.done}
        if waiting:
            faces = list(waiting.values())
            with self._on_device(), self._meter.timed("networks", len(faces)):
                made = self._generator.generate([f.latent for f in faces], [f.audio for f in faces])
            for face, crop, finite in zip(faces, made.crops, made.finite, strict=True):
                face.crop, face.done = (crop if finite else None), True
            self._count_failures(int((~made.finite).sum()))
        if any(job.data.exact and face.crop is None for job in jobs for face in job.data.faces):
            raise EngineError(
                "FAILED", f"a generated face is not finite in {str(self._dtype()).removeprefix('torch.')}",
                "set musetalk.dtype to float32",
            )  # fmt: skip
        with self._meter.timed("compose", len(jobs)):
            return np.stack([_frame(job) for job in jobs])

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """Tell what one piece of work does wrong from a device that does nothing right any more."""
        assert self._generator is not None
        device = self._generator.device
        try:
            yield
        except RuntimeError as error:
            if not is_lost(device):
                raise
            if is_gone(device):
                raise EngineGoneError(
                    "FAILED", f"{device_name(device)} is gone: {error}", "see nvidia-smi and the kernel's log"
                ) from error
            raise EngineLostError(f"{device_name(device)} is lost to this process: {error}") from error

    def _count_failures(self, count: int) -> None:
        if count:
            self.not_finite += count
            log.warning("lipsync.not_finite", faces=count, total=self.not_finite, dtype=str(self._dtype()))

    def _dtype(self) -> torch.dtype:
        assert self._generator is not None
        return self._generator.dtype

    def _prepared(self, template: Template) -> Prepared:
        prepared = load_prepared(template)
        if prepared.meta["vae"] != self._vae:
            raise EngineError(
                "FAILED", f"template {template.id} was prepared with other VAE weights", "prepare it again"
            )
        return prepared

    def _device_latents(self, template: Template, prepared: Prepared) -> Tensor:
        """The template's latents on the device; the least recently used are dropped."""
        assert self._generator is not None
        key = (str(template.path), template.hash)
        found = self._latents.get(key)
        if found is None:
            host = torch.from_numpy(prepared.latents.transpose(0, 2, 3, 1).copy())
            found = host.to(self._generator.device, self._generator.dtype)
            self._latents[key] = found
            self._uploads += 1
            while len(self._latents) > DEVICE_TEMPLATES:
                self._latents.popitem(last=False)
        self._latents.move_to_end(key)
        return found


def sources(frame: int, frames: int, skip: int) -> tuple[int, ...]:
    """The generated frames that one frame of a segment is made from: itself, or the ones on either side.

    Every ``skip``-th frame and the segment's last one are generated.
    """
    if frame % skip == 0 or frame == frames - 1:
        return (frame,)
    before = frame // skip * skip
    return (before, min(before + skip, frames - 1))


def _frame(job: FrameJob) -> U8:
    mouth: Mouth = job.data
    own = own_crop(job.template, job.pose)
    crops = [face.crop for face in mouth.faces if face.crop is not None]
    if not crops or len(crops) < len(mouth.faces):
        return own
    face = crops[0] if len(crops) == 1 else _between(crops[0], crops[1], mouth.share)
    prepared = load_prepared(job.template)
    matrix = to_template_crop(prepared.boxes[job.pose], job.template.boxes[job.pose])
    compose(own, face, prepared.mask[job.pose], matrix, mouth.weight)
    return own


def _between(a: U8, b: U8, share: float) -> U8:
    """``share`` of ``b`` in steps of 1/256, the rest of ``a``; halves are rounded up."""
    of_b = round(256 * share)
    return ((a.astype(np.uint32) * (256 - of_b) + b.astype(np.uint32) * of_b + 128) >> 8).astype(np.uint8)
