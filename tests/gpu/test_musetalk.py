"""What only a CUDA device can show: graphs, half precision, memory that runs out, the figures of the GPU.

Full-size networks with random weights; ``make test-gpu``. Closeness here is a smoke test: random weights say
nothing about pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from models.api import EngineError  # noqa: E402 - torch may be absent
from models.musetalk import norm  # noqa: E402
from models.musetalk.constants import UNET_CONFIG, VAE_CONFIG  # noqa: E402
from models.musetalk.engine import MuseTalkLipSync  # noqa: E402
from models.musetalk.generator import Generator  # noqa: E402
from models.musetalk.gpu import gpu_use  # noqa: E402
from models.musetalk.keys import build  # noqa: E402
from models.musetalk.networks import FastDecoder, FastUNet, ReferenceDecoder, ReferenceUNet  # noqa: E402
from models.musetalk.weights import convert  # noqa: E402
from tests.engines.musetalk import scene  # noqa: E402
from tests.engines.musetalk.checkpoints import randomise, write_speaking  # noqa: E402
from tests.support.doubles import quiet  # noqa: E402
from tests.support.speaking import rendered, speech, window  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]
BUCKETS = (1, 2, 4, 8, 16, 32)
LEVELS, SHARE = 2, 0.999
"""``high`` against float32: at most so many levels on this share of the values."""


@pytest.fixture(autouse=True)
def as_in_speaking() -> Iterator[None]:
    """What the engine sets, and no TF32: float32 is what the others are compared with."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
    yield
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


@pytest.fixture(scope="module")
def modules() -> tuple[Any, Any]:
    return randomise(build("unet", UNET_CONFIG), 15), randomise(build("vae", VAE_CONFIG), 1)


def generator(modules: tuple[Any, Any], *, fast: bool, graphs: bool, buckets: tuple[int, ...] = BUCKETS) -> Any:
    device, dtype = torch.device("cuda:0"), torch.float16 if fast else torch.float32
    kinds = (FastUNet, FastDecoder) if fast else (ReferenceUNet, ReferenceDecoder)
    placed = [
        kind(source).eval().requires_grad_(False).to(device, dtype).to(memory_format=torch.channels_last)
        for kind, source in zip(kinds, modules, strict=True)
    ]
    return Generator(*placed, device, dtype, buckets, graphs)


def inputs(count: int, of: Any) -> tuple[list[Any], list[Any]]:
    drawn = torch.Generator().manual_seed(3)
    latents = torch.randn(count, 32, 32, 8, generator=drawn).to(of.device, of.dtype)
    audio = torch.randn(count, 50, 384, generator=drawn).to(of.device, of.dtype)
    return list(latents), list(audio)


def levels(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.abs(a.astype(np.int16) - b.astype(np.int16))


def assert_same(a: np.ndarray, b: np.ndarray) -> None:
    """Two sums of the same halves: kernels differ with the size of a batch, and with them the order of a sum."""
    apart = levels(a, b)
    assert (apart <= 1).mean() >= SHARE
    assert apart.max() <= 8


def test_high_is_close_to_lossless_and_a_graph_is_what_it_captured(modules: tuple[Any, Any]) -> None:
    found = {}
    for name, fast, graphs in (("lossless", False, False), ("eager", True, False), ("high", True, True)):
        one = generator(modules, fast=fast, graphs=graphs)
        one.warm(quiet)
        made = one.generate(*inputs(13, one))
        assert made.finite.all()
        found[name] = made.crops
        del one
        torch.cuda.empty_cache()
    assert levels(found["high"], found["eager"]).max() <= 1
    assert (levels(found["high"], found["lossless"]) <= LEVELS).mean() >= SHARE
    assert found["lossless"].std() > 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_kernel_is_compiled_and_is_group_norm_with_silu(dtype: Any) -> None:
    assert norm.fused is not None, "Triton is not installed"
    norm.try_fused(torch.device("cuda:0"), dtype)
    assert norm.fused is not None
    limit = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}[dtype]
    for channels, side in ((320, 32), (1280, 4), (2560, 4), (960, 16), (512, 64), (128, 256)):
        x = torch.randn(2, channels, side, side, device="cuda:0").to(dtype)
        x = x.contiguous(memory_format=torch.channels_last)
        weight, bias = (torch.rand(channels, device="cuda:0").to(dtype) for _ in range(2))
        for silu in (True, False):
            wanted = torch.nn.functional.group_norm(x.double(), 32, weight.double(), bias.double(), 1e-6)
            wanted = torch.nn.functional.silu(wanted) if silu else wanted
            found = norm.group_norm(x, 32, weight, bias, 1e-6, silu)
            assert found.dtype == dtype
            assert (found.double() - wanted).abs().max().item() <= limit, (channels, side, silu)


def test_a_size_that_was_dropped_with_all_graphs_is_captured_again(modules: tuple[Any, Any]) -> None:
    """The pool of the graphs goes with the last of them; the next capture needs one of its own."""
    one = generator(modules, fast=True, graphs=True, buckets=(1, 2))
    one.warm(quiet)
    wanted = one.generate(*inputs(2, one)).crops
    one._out_of_memory(2, "as if")
    with pytest.raises(EngineError, match="not even one frame"):
        one._out_of_memory(1, "as if")
    again = one.generate(*inputs(2, one)).crops
    assert_same(again, wanted)


def test_every_size_is_captured_when_warm_and_composition_changes_nobodys_pixels(modules: tuple[Any, Any]) -> None:
    one = generator(modules, fast=True, graphs=True)
    one.warm(quiet)
    latents, audio = inputs(max(BUCKETS), one)
    before = torch.cuda.memory_allocated()
    whole = one.generate(latents, audio).crops
    for size in BUCKETS:
        assert_same(one.generate(latents[:size], audio[:size]).crops, whole[:size])
    assert torch.cuda.memory_allocated() == before, "a size was not warm"


def test_a_full_gpu_halves_the_batch_and_every_face_is_made(modules: tuple[Any, Any]) -> None:
    one = generator(modules, fast=True, graphs=False, buckets=(1, 2, 4, 8, 16, 32))
    one.generate(*inputs(1, one))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    hog = torch.empty(max(0, free - (1 << 30)), dtype=torch.uint8, device="cuda:0")
    try:
        made = one.generate(*inputs(32, one))
    finally:
        del hog
        torch.cuda.empty_cache()
    assert made.finite.all()
    assert made.crops.shape == (32, 256, 256, 3)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[MuseTalkLipSync]:
    write_speaking(tmp_path, smaller=True)
    convert(tmp_path)
    config = scene.config(tmp_path)
    lipsync = msgspec.structs.replace(config.stages.lipsync, devices="auto")
    config = msgspec.structs.replace(config, stages=msgspec.structs.replace(config.stages, lipsync=lipsync))
    found = MuseTalkLipSync(config)
    found.load(quiet)
    yield found
    found.close()


def test_the_engine_speaks_on_the_gpu_and_says_how_busy_it_is(engine: MuseTalkLipSync, tmp_path: Path) -> None:
    template = scene.write(tmp_path / "templates", scene.config(tmp_path))
    pcm, _ = speech(24)
    whole = rendered(engine, window(template, pcm, [], 0, 24))
    again = np.concatenate([rendered(engine, window(template, pcm, [], at, 8)) for at in (0, 8, 16)])
    assert_same(whole, again)
    assert engine.not_finite == 0
    use = gpu_use(torch.device("cuda:0"))
    assert use.memory_mb is not None
    assert use.memory_mb > 0
