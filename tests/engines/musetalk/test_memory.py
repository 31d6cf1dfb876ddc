"""A device that runs out of memory: smaller batches at once, larger ones later, and all of it is told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

from models.api import EngineError
from models.musetalk.batching import RETRY_S
from models.musetalk.constants import AUDIO_DIM, LATENT, TOKENS
from models.musetalk.generator import Generator
from models.musetalk.gpu import device_name, gpu_use, is_gone
from tests.support.doubles import quiet
from tests.support.gpus import pynvml as nvml

SHORT = torch.OutOfMemoryError("CUDA out of memory")
OTHERS = [
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
]
"""How what does not ask PyTorch's allocator says it."""


class Scarce(nn.Module):
    """Stands where the UNet does; its memory ends above a batch of ``most``."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 8
        self.error: RuntimeError = SHORT
        self.sizes: list[int] = []

    def forward(self, latents: Tensor, audio: Tensor) -> Tensor:
        self.sizes.append(len(latents))
        if len(latents) > self.most:
            raise self.error
        return latents[:, :4] + audio.mean(dim=(1, 2))[:, None, None, None]


class Picture(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(nn.functional.interpolate(latents[:, :3], scale_factor=8))


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def scarce() -> Scarce:
    return Scarce()


@pytest.fixture
def generator(scarce: Scarce, now: list[float]) -> Generator:
    made = Generator(scarce, Picture(), torch.device("cpu"), torch.float32, (1, 2, 4, 8), clock=lambda: now[0])
    made.warm(quiet)
    scarce.sizes.clear()
    return made


def inputs(count: int) -> tuple[list[Tensor], list[Tensor]]:
    drawn = torch.Generator().manual_seed(1)
    latents = torch.randn(count, LATENT, LATENT, 8, generator=drawn)
    return list(latents), list(torch.randn(count, TOKENS, AUDIO_DIM, generator=drawn))


def test_every_frame_is_made_in_halved_batches_and_it_is_said(generator: Generator, scarce: Scarce) -> None:
    wanted = generator.generate(*inputs(16)).crops
    scarce.most = 2
    scarce.sizes.clear()
    with capture_logs() as logs:
        made = generator.generate(*inputs(16))
    assert scarce.sizes == [8, 4] + [2] * 8
    assert np.array_equal(made.crops, wanted)
    assert made.finite.all()
    said = [(entry["failed_batch"], entry["largest_batch"]) for entry in logs]
    assert said == [(8, 4), (4, 2)]
    assert generator.figures == {"generated": 32, "batch_fill": 1, "oom": 2, "batch_max": 2}


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_memory_that_is_short_has_many_names(generator: Generator, scarce: Scarce, error: RuntimeError) -> None:
    """A graph is instantiated, a kernel loaded and a handle made without PyTorch's allocator."""
    scarce.most, scarce.error = 2, error
    assert generator.generate(*inputs(8)).finite.all()
    assert generator.figures["batch_max"] == 2


def test_any_other_error_is_not_taken_for_it(generator: Generator, scarce: Scarce) -> None:
    scarce.most, scarce.error = 0, RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        generator.generate(*inputs(1))
    assert generator.figures["oom"] == 0


def test_the_pool_of_the_graphs_is_forgotten_with_the_last_of_them(generator: Generator, scarce: Scarce) -> None:
    """PyTorch asserts that a pool which a capture shares is in use."""
    generator._pool = (0, 1)
    scarce.most = 4
    generator.generate(*inputs(8))
    assert generator._pool == (0, 1), "smaller graphs still hold it"
    scarce.most = 0
    with pytest.raises(EngineError, match="not even one frame"):
        generator.generate(*inputs(8))
    assert not generator._ready
    assert generator._pool is None


def test_the_larger_batches_come_back_one_by_one_when_there_is_room(
    generator: Generator, scarce: Scarce, now: list[float]
) -> None:
    scarce.most = 2
    generator.generate(*inputs(8))
    scarce.most = 8
    for waited, largest in ((RETRY_S - 1, 2), (1, 4), (RETRY_S - 1, 4), (1, 8), (1000, 8)):
        now[0] += waited
        scarce.sizes.clear()
        generator.generate(*inputs(8))
        assert max(scarce.sizes) == largest
        assert generator.figures["batch_max"] == largest
    assert generator.figures["oom"] == 2


def test_a_try_that_comes_too_early_costs_one_batch_and_the_next_waits_again(
    generator: Generator, scarce: Scarce, now: list[float]
) -> None:
    scarce.most = 4
    generator.generate(*inputs(8))
    now[0] += RETRY_S
    scarce.sizes.clear()
    assert generator.generate(*inputs(8)).finite.all()
    assert scarce.sizes == [8, 4, 4]
    now[0] += RETRY_S - 1
    scarce.sizes.clear()
    generator.generate(*inputs(8))
    assert scarce.sizes == [4, 4]
    assert generator.figures["oom"] == 2


def test_what_does_not_fit_at_the_start_is_never_in_the_way(scarce: Scarce, now: list[float]) -> None:
    scarce.most = 1
    made = Generator(scarce, Picture(), torch.device("cpu"), torch.float32, (1, 2, 4, 8), clock=lambda: now[0])
    made.warm(quiet)
    scarce.sizes.clear()
    assert made.generate(*inputs(3)).finite.all()
    assert scarce.sizes == [1, 1, 1]


# --- a CPU, where a batch gains nothing and takes its time ------------------------------------------------------


def slow(scarce: Scarce, now: list[float], frame_s: float) -> Generator:
    """A generator whose frames take ``frame_s`` each."""

    class Slow(Picture):
        def forward(self, latents: Tensor) -> Tensor:
            now[0] += frame_s * len(latents)
            return super().forward(latents)

    return Generator(scarce, Slow(), torch.device("cpu"), torch.float32, (1, 2, 4, 8), clock=lambda: now[0])


@pytest.mark.parametrize(("frame_s", "sizes"), [(0.1, (1, 2, 4, 8)), (1.3, (1, 2)), (6.0, (1,))])
def test_a_slow_cpu_gets_batches_that_end_long_before_they_count_as_hung(
    scarce: Scarce, now: list[float], frame_s: float, sizes: tuple[int, ...]
) -> None:
    made = slow(scarce, now, frame_s)
    begin = now[0]
    made.warm(quiet, 20.0)
    assert tuple(made.sizes) == sizes
    assert now[0] - begin == pytest.approx(frame_s * sum(sizes[:2])), "what two sizes tell is not tried"
    scarce.sizes.clear()
    assert made.generate(*inputs(8)).finite.all()
    assert max(scarce.sizes) == sizes[-1]


def test_a_cpu_that_is_too_slow_for_one_frame_says_so_before_it_is_ready(scarce: Scarce, now: list[float]) -> None:
    with pytest.raises(EngineError, match=r"34.0 s on this CPU.*20 s counts as hung.*item_timeout_s to 136"):
        slow(scarce, now, 34.0).warm(quiet, 20.0)


def test_no_room_for_one_frame_is_an_error_that_may_pass(generator: Generator, scarce: Scarce) -> None:
    scarce.most = 0
    with pytest.raises(EngineError, match="not even one frame") as caught:
        generator.generate(*inputs(1))
    assert caught.value.retryable
    scarce.most = 8
    assert generator.generate(*inputs(1)).finite.all()


# --- what comes before the networks: features and the template's latents --------------------------------------


class Elsewhere:
    """Something else that needs memory; there is enough of it ``until`` so many attempts have failed."""

    def __init__(self, until: int) -> None:
        self.until, self.tried = until, 0

    def __call__(self) -> str:
        self.tried += 1
        if self.tried <= self.until:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "made"


def nothing() -> bool:
    return False


def test_memory_that_is_short_elsewhere_makes_batches_smaller_too_and_later_larger_again(
    generator: Generator, scarce: Scarce, now: list[float]
) -> None:
    with capture_logs() as logs:
        assert generator.with_room(Elsewhere(2), nothing) == "made"
    assert [(entry["failed_batch"], entry["largest_batch"]) for entry in logs] == [(8, 4), (4, 2)]
    assert (generator.figures["oom"], generator.figures["batch_max"]) == (2, 2)
    generator.generate(*inputs(8))
    assert max(scarce.sizes) == 2
    for largest in (4, 8):
        now[0] += RETRY_S
        generator.generate(*inputs(8))
        assert generator.figures["batch_max"] == largest


def test_what_can_be_made_again_goes_before_batches_become_smaller(generator: Generator) -> None:
    kept = ["template"]

    def spare() -> bool:
        return bool(kept) and kept.pop() == "template"

    with capture_logs() as logs:
        assert generator.with_room(Elsewhere(1), spare) == "made"
    assert [entry["event"] for entry in logs] == ["lipsync.memory_spared"]
    assert (generator.figures["oom"], generator.figures["batch_max"]) == (1, 8)
    generator.with_room(Elsewhere(1), spare)
    assert generator.figures["batch_max"] == 4


def test_no_room_beside_a_batch_of_one_is_an_error_that_may_pass(generator: Generator) -> None:
    endless = Elsewhere(1000)
    with pytest.raises(EngineError, match="not even one frame") as caught:
        generator.with_room(endless, nothing)
    assert caught.value.retryable
    assert endless.tried == 4, "once per batch size"


def test_padding_is_told_apart_from_frames(generator: Generator) -> None:
    generator.generate(*inputs(7))
    assert generator.figures["batch_fill"] == pytest.approx(7 / 8, abs=1e-3)


def test_figures_of_a_gpu_are_megabytes_and_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch reads utilisation and the memory of all processes by NVML."""
    for name, value in (
        ("memory_reserved", 2_500_000_000),
        ("device_memory_used", 3_000_000_000),
        ("utilization", 41),
    ):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    card = SimpleNamespace(total_memory=80_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    assert gpu_use(torch.device("cuda:0")) == (2500.0, 41.0, 3000.0, 80_000.0)

    def absent(device: torch.device) -> int:
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "utilization", absent)
    assert gpu_use(torch.device("cuda:0")) == (2500.0, None, 3000.0, 80_000.0)


def test_a_gpu_that_cannot_be_read_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's torch may have no CUDA at all, which is one of the ways to be unreadable."""
    assert gpu_use(torch.device("cpu")) == (None, None, None, None)
    if not torch.cuda.is_available():
        found = gpu_use(torch.device("cuda:0"))
        assert (found.utilisation, found.device_used_mb, found.device_mb) == (None, None, None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f")
    assert device_name(torch.device("cuda:0")) == "cuda:GPU-8f"
    assert device_name(torch.device("cpu")) == "cpu"


def test_a_gpu_is_gone_when_the_driver_says_so_and_not_when_it_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML as ``tests/support/gpus`` has it, which needs no driver."""
    device, name = torch.device("cuda:0"), "GPU-8f"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
    monkeypatch.setenv("CUDA_DOUBLE_LOST", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert not is_gone(device), "nobody to ask"
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert not is_gone(device)
    (tmp_path / name).touch()
    assert is_gone(device)
    assert not is_gone(torch.device("cpu"))
    monkeypatch.setattr(nvml, "nvmlDeviceGetHandleByUUID", nvml.unknown)
    assert not is_gone(device), "CUDA takes names that NVML does not"
