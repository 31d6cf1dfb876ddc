"""Upstream's own generation loop: its checkout is imported by path, nothing of it is kept.

Its ``Avatar.inference`` runs as it is: batches of 20, a queue, the blend in a thread of its own, random weights.
What the loop does not touch and is not installed is stood in for (``stood_in``); audio features are given, for us
as for it. U0: without saving pictures; U1: saving them; U2: U0 with its blended frames piped to the same x264.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.gpu_job.variants import sources
from benchmarks.gpu_job.world import PICTURES, face_box, pictures
from models.musetalk.constants import AUDIO_DIM, LATENT, SCALING, TOKENS

BATCH = 20
SCRIPT = "scripts/realtime_inference.py"
ALWAYS = (
    "musetalk.utils.preprocessing", "musetalk.utils.face_parsing", "musetalk.utils.audio_processor",
)  # fmt: skip
"""Loads networks when it is imported, or serves preparation and audio: not part of the timed loop."""
IF_ABSENT = ("omegaconf", "einops", "librosa", "torchvision", "torchvision.transforms", "transformers", "tqdm")


class Played(NamedTuple):
    """What a clip came to: frames blended, seconds from beginning to end, when each was done (monotonic)."""

    frames: int
    seconds: float
    stamps: list[float]


class _Absent(ModuleType):
    """Stands for a package that the loop imports and never calls."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def refuse(*arguments: Any, **more: Any) -> Any:
            raise RuntimeError(f"{self.__name__}.{name} is stood in for")

        return refuse


class _Features:
    """Gives the loop its audio features."""

    def __init__(self, chunks: torch.Tensor) -> None:
        self._chunks = chunks
        self.frames = len(chunks)

    def get_audio_feature(self, path: str, weight_dtype: Any = None) -> tuple[None, int]:
        return None, 0

    def get_whisper_chunk(self, *arguments: Any, **more: Any) -> torch.Tensor:
        return self._chunks[torch.arange(self.frames) % len(self._chunks)]


class Upstream:
    """The loop of a checkout.

    Args:
        checkout: of MuseTalk.
        profile: "full" or "tiny".
        device: where.
        dtype: float16, as upstream has it; float32 on a CPU.
        folder: where U1 writes its pictures.

    Raises:
        ImportError: it does not import here.
    """

    def __init__(
        self, checkout: Path, profile: str, device: torch.device, dtype: torch.dtype, folder: Path
    ) -> None:
        self.stood_in: list[str] = []
        self._folder = folder
        unet, vae = sources(profile, device)  # before anything is stood in for: diffusers looks what is installed
        with self._stand_ins(), _path(checkout), _silence():
            unet_module = importlib.import_module("musetalk.models.unet")
            vae_module = importlib.import_module("musetalk.models.vae")
            self._blending = importlib.import_module("musetalk.utils.blending")
            spec = importlib.util.spec_from_file_location("upstream_realtime", checkout / SCRIPT)
            if spec is None or spec.loader is None:
                raise ImportError(f"there is no {SCRIPT} in {checkout}")
            self._script: Any = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self._script)
        self._networks(unet_module, vae_module, unet.to(dtype), vae.to(dtype), device, dtype)
        self._blend: Callable[..., np.ndarray] = self._script.get_image_blending
        self._avatars: dict[str, Any] = {}

    @contextmanager
    def _stand_ins(self) -> Iterator[None]:
        names = [*ALWAYS, *(name for name in IF_ABSENT if not _there(name))]
        self.stood_in = names
        sys.modules.update({name: _Absent(name) for name in names})
        try:
            yield
        finally:
            for name in names:
                sys.modules.pop(name, None)

    def _networks(
        self, unets: Any, vaes: Any, source: nn.Module, autoencoder: nn.Module, device: torch.device,
        dtype: torch.dtype,
    ) -> None:  # fmt: skip
        unet, vae = unets.UNet.__new__(unets.UNet), vaes.VAE.__new__(vaes.VAE)
        unet.model, unet.device = source, device
        vae.vae, vae.device, vae.scaling_factor = autoencoder, device, SCALING
        drawn = torch.Generator(device).manual_seed(1)
        chunks = torch.randn(BATCH, TOKENS, AUDIO_DIM, device=device, generator=drawn).to(dtype)
        self._latent = torch.randn(1, 8, LATENT, LATENT, device=device, generator=drawn).to(dtype)
        self._features = _Features(chunks)
        given = {
            "unet": unet, "vae": vae, "pe": unets.PositionalEncoding(d_model=AUDIO_DIM).to(device, dtype),
            "timesteps": torch.tensor([0], device=device), "device": device, "weight_dtype": dtype,
            "whisper": None, "audio_processor": self._features,
            "args": Namespace(audio_padding_length_left=2, audio_padding_length_right=2, skip_save_images=True),
        }  # fmt: skip
        vars(self._script).update(given)

    def _avatar(self, name: str) -> Any:
        """As its preparation would leave it; masks are grey, which costs it least."""
        if name not in self._avatars:
            height, width = PICTURES[name]
            frames = pictures(height, width)
            box = [*face_box(height, width)]
            square, _ = self._blending.get_crop_box(box, 1.5)
            mask = np.zeros((square[3] - square[1], square[2] - square[0]), np.uint8)
            mask[len(mask) // 2 : -len(mask) // 6, len(mask[0]) // 6 : -len(mask[0]) // 6] = 255
            kind = _class_of(self._script.Avatar)
            made = kind.__new__(kind)
            made.avatar_path = str(self._folder)
            made.video_out_path = str(self._folder)
            made.batch_size, made.idx = BATCH, 0
            made.frame_list_cycle, made.coord_list_cycle = frames, [box] * len(frames)
            made.input_latent_list_cycle = [self._latent] * len(frames)
            made.mask_list_cycle = [cv2.GaussianBlur(mask, (25, 25), 0)] * len(frames)
            made.mask_coords_list_cycle = [square] * len(frames)
            self._avatars[name] = made
        return self._avatars[name]

    def play(
        self, name: str, frames: int, *, save: bool = False, sink: Callable[[int, np.ndarray], None] | None = None
    ) -> Played:
        """One clip through its loop.

        Args:
            name: of ``PICTURES``.
            frames: a multiple of 20; upstream blends one less.
            save: U1, PNG files.
            sink: U2, takes the number and the blended picture in the loop's own thread.
        """
        avatar = self._avatar(name)
        stamps: list[float] = []
        failed: list[BaseException] = []

        def blended(*arguments: Any) -> np.ndarray:
            made = self._blend(*arguments)
            if sink is not None and not failed:
                try:
                    sink(len(stamps), made)
                except BaseException as error:  # its thread must come to its end, or the loop waits for ever
                    failed.append(error)
            stamps.append(time.monotonic())
            return made

        self._script.get_image_blending = blended
        self._features.frames = frames
        begin = time.monotonic()
        with _silence():
            avatar.inference("none", None, 25, not save)
        if failed:
            raise failed[0]
        return Played(len(stamps), time.monotonic() - begin, stamps)


def _class_of(made: Any) -> Any:
    """The class that ``torch.no_grad`` decorates: recent versions of torch make a function of it."""
    while not isinstance(made, type):
        inside = [cell.cell_contents for cell in made.__closure__ or ()]
        classes = [one for one in inside if isinstance(one, type) and one.__name__ == "Avatar"]
        made = classes[0] if classes else made.__wrapped__
    return made


def _there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def _path(checkout: Path) -> Iterator[None]:
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))


@contextmanager
def _silence() -> Iterator[None]:
    """Upstream prints as it goes."""
    assert threading.current_thread() is threading.main_thread()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield
