"""What the host costs with networks that cost nothing, the device's matmul rate, and whether NVENC opens."""

from __future__ import annotations

import statistics
import time
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.gpu_job.timing import cpu_ms, timed
from models.api import SpeechWindow
from models.musetalk.constants import AUDIO_DIM, LATENT, TOKENS
from models.musetalk.gate import weights
from models.musetalk.generator import Generator
from models.musetalk.prepared import compose
from models.musetalk.stream import quanta

MATMUL_SIDE = 4096


def matmul_rate(device: torch.device, dtype: torch.dtype, until: float) -> dict[str, Any]:
    """TFLOP/s of a square product in ``dtype``: what a share of the device's speed is quoted against."""
    side = MATMUL_SIDE if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device).to(dtype)
    times = timed(lambda: a @ a, device.type == "cuda", until, 100)
    return {"side": side, "tflops": round(2 * side**3 / statistics.median(times) / 1e9, 3), "n": len(times)}


class _Nothing(nn.Module):
    """Stands for a network that costs nothing, so that what is left is the host's cost."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.out: dict[int, Tensor] = {}

    def forward(self, latents: Tensor, audio: Tensor | None = None) -> Tensor:
        """Zeros."""
        size = latents.shape[0]
        if size not in self.out:
            self.out[size] = torch.zeros(size, *self.shape, device=latents.device, dtype=latents.dtype)
        return self.out[size]


@torch.inference_mode()
def host_cost(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """CPU milliseconds, one thread: assembly of 32 frames of 8 sessions, and what a frame costs on the host.

    The last counts choosing, cutting, assembling and handing over; the blend into the template's crop, which is
    part of the paste, stands apart.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    size, sessions = 32, 8
    templates = [torch.zeros(256, LATENT, LATENT, 8, device=device, dtype=dtype) for _ in range(sessions)]
    audio = [torch.zeros(8, TOKENS, AUDIO_DIM, device=device, dtype=dtype) for _ in range(sessions)]
    latents_of = [templates[k % sessions][k] for k in range(size)]
    audio_of = [audio[k % sessions][k // sessions] for k in range(size)]
    generator = Generator(
        _Nothing((4, LATENT, LATENT)), _Nothing((3, 256, 256)), device, dtype, (1, 2, 4, 8, 16, 32)
    )
    generator.warm(lambda *_: None)
    bucket = generator._bucket(size)
    assembly, whole = [], []
    for _ in range(50):
        begin = time.thread_time()
        bucket.fill(latents_of, audio_of)
        assembly.append((time.thread_time() - begin) * 1000)
        begin = time.thread_time()
        generator.generate(latents_of, audio_of)
        whole.append((time.thread_time() - begin) * 1000)
    call = statistics.median(whole)
    if device.type == "cpu":  # there the networks' last step, the conversion to bytes, runs on the host as well
        crops = np.empty((size, 256, 256, 3), np.uint8)
        call = statistics.median(assembly) + cpu_ms(lambda: np.copyto(crops, bucket.crops.numpy()))
    pcm = (np.sin(np.arange((2000 + 320 + 80) * 48) * 0.05) * 9000).astype(np.int16)
    item = SpeechWindow(None, 0, 8, 0, pcm, [], [], 0.3, -2_000_000, None)  # type: ignore[arg-type]
    plan = cpu_ms(lambda: (weights(item), quanta(item))) / 8
    own, face = np.zeros((2, 256, 256, 3), np.uint8)
    mask = np.zeros((256, 256), np.uint8)
    mask[120:250, 30:226] = 255
    matrix = np.array([[1.1, 0, -9.0], [0, 1.1, -4.0]])
    blend = cpu_ms(lambda: compose(np.array(own), face, mask, matrix, 1.0))
    torch.set_num_threads(threads)
    return {
        "assembly_of_32_cpu_ms": round(statistics.median(assembly), 3),
        "call_per_frame_cpu_ms": round(call / size, 4),
        "gate_and_cut_per_frame_cpu_ms": round(plan, 4),
        "into_the_templates_crop_per_frame_cpu_ms": round(blend, 4),
        "host_per_frame_cpu_ms": round(call / size + plan, 4),
    }


def nvenc() -> str:
    """Whether a hardware encoder opens on this machine."""
    import av

    try:
        context = av.CodecContext.create("h264_nvenc", "w")
        context.width, context.height, context.pix_fmt = 512, 512, "yuv420p"  # type: ignore[attr-defined]
        context.time_base = Fraction(1, 25)
        context.open()
    except Exception as error:  # whatever a driver says
        return f"no: {type(error).__name__}: {error}"
    return "yes"
