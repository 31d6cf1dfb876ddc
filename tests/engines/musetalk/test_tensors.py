"""The networks of a preparation in the process that owns the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.api import EngineError, TensorEngine
from models.musetalk import asks, tensors
from models.musetalk.batching import RETRY_S
from models.musetalk.engine import MuseTalkLipSync
from models.musetalk.tensors import PreparationNetworks, encode, vae_inputs
from tests.engines.musetalk import scene
from tests.engines.musetalk.test_prepare import picture
from tests.support.doubles import quiet

CROPS = np.stack([picture(256, 256, seed) for seed in range(6)])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def networks(small: Path, clock: Clock) -> PreparationNetworks:
    return PreparationNetworks(small, torch.device("cpu"), clock)


def test_a_batch_is_its_pictures_one_by_one(networks: PreparationNetworks) -> None:
    said: list[tuple[str, int, int]] = []
    (whole,) = networks.tensors(asks.LATENTS, [CROPS], lambda *step: said.append(step))
    assert whole.shape == (6, 8, 32, 32)
    assert said[:2] == [("load vae", 0, 1), ("load vae", 1, 1)]
    assert said[2:] == [("latents", 4, 6), ("latents", 6, 6)]
    alone = np.concatenate([networks.tensors(asks.LATENTS, [one[None]], quiet)[0] for one in CROPS])
    assert np.abs(whole - alone).max() <= 1e-4
    (again,) = networks.tensors(asks.LATENTS, [CROPS], quiet)
    assert np.array_equal(again, whole)


def test_whatever_speaking_is_set_to_preparing_is_exact(networks: PreparationNetworks) -> None:
    backends = torch.backends
    before = backends.cudnn.benchmark, backends.cuda.matmul.allow_tf32
    seen: list[tuple[bool, bool, bool]] = []
    real = networks._latents

    def latents(*arguments: Any) -> Any:
        flags = backends.cudnn
        seen.append((flags.benchmark, flags.deterministic, backends.cuda.matmul.allow_tf32))
        return real(*arguments)

    networks._latents = latents  # type: ignore[method-assign]
    try:
        backends.cudnn.benchmark = backends.cuda.matmul.allow_tf32 = True
        networks.tensors(asks.LATENTS, [CROPS[:1]], quiet)
        assert backends.cudnn.benchmark
        assert backends.cuda.matmul.allow_tf32
    finally:
        backends.cudnn.benchmark, backends.cuda.matmul.allow_tf32 = before
    assert seen == [(False, True, False)]


def test_short_memory_makes_smaller_batches_for_a_while(
    networks: PreparationNetworks, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (wanted,) = networks.tensors(asks.LATENTS, [CROPS], quiet)
    sizes: list[int] = []

    def short(vae: Any, inputs: torch.Tensor) -> torch.Tensor:
        sizes.append(len(inputs) // 2)
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(vae, inputs)

    monkeypatch.setattr(tensors, "encode", short)
    (made,) = networks.tensors(asks.LATENTS, [CROPS], quiet)
    assert np.abs(made - wanted).max() <= 1e-4
    assert sizes == [4, 2, 1, 1, 1, 1, 1, 1]
    monkeypatch.setattr(tensors, "encode", encode)
    clock.now += RETRY_S
    said: list[tuple[str, int, int]] = []
    networks.tensors(asks.LATENTS, [CROPS], lambda *step: said.append(step))
    assert said[0] == ("latents", 2, 6), "the larger batch is tried again later"


def test_no_memory_at_all_fails_the_ask_and_says_so(
    networks: PreparationNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(vae: Any, inputs: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tensors, "encode", short)
    with pytest.raises(EngineError, match="not even one picture") as caught:
        networks.tensors(asks.LATENTS, [CROPS], quiet)
    assert caught.value.retryable


def test_what_rests_is_loaded_again(networks: PreparationNetworks) -> None:
    networks.tensors(asks.LATENTS, [CROPS[:1]], quiet)
    networks.rest()
    said: list[tuple[str, int, int]] = []
    networks.tensors(asks.LATENTS, [CROPS[:1]], lambda *step: said.append(step))
    assert said[0] == ("load vae", 0, 1)


@pytest.mark.parametrize(
    ("kind", "arrays"),
    [
        ("dreams", [CROPS]),
        (asks.LATENTS, []),
        (asks.LATENTS, [CROPS, CROPS]),
        (asks.LATENTS, [CROPS[:, :128]]),
        (asks.LATENTS, [CROPS[:0]]),
        (asks.LATENTS, [CROPS.astype(np.float32)]),
        (asks.POINTS, [CROPS]),
    ],
    ids=["kind", "none", "two", "height", "empty", "type", "size"],
)
def test_what_is_no_ask_is_refused(networks: PreparationNetworks, kind: str, arrays: list[Any]) -> None:
    with pytest.raises(EngineError) as caught:
        networks.tensors(kind, arrays, quiet)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_missing_weights_say_what_to_do(networks: PreparationNetworks) -> None:
    with pytest.raises(EngineError, match="weights pull"):
        networks.tensors(asks.FACES, [CROPS], quiet)


def test_the_engine_does_it_with_its_own_device(small: Path) -> None:
    engine = MuseTalkLipSync(scene.config(small, max_batch=1))
    engine.load(quiet)
    assert isinstance(engine, TensorEngine)
    (made,) = engine.tensors(asks.LATENTS, [CROPS[:2]], quiet)
    from models.musetalk.loading import load_module

    wanted = encode(load_module(small, "vae"), vae_inputs(CROPS[:2])).reshape(2, 8, 32, 32).numpy()
    assert np.abs(made - wanted).max() <= 1e-4
    engine.rest()
    engine.close()
