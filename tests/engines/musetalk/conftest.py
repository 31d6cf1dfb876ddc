from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("diffusers") is None:
    collect_ignore_glob = ["test_*.py"]
    """The extra ``musetalk`` is not installed: nothing here can be imported."""


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny official files of the networks that speak."""
    import torch

    from tests.engines.musetalk.checkpoints import write_speaking

    torch.set_num_threads(1)  # more would wait for one another beside other tests
    root = tmp_path_factory.mktemp("weights")
    write_speaking(root)
    return root


@pytest.fixture(scope="session")
def converted(official: Path) -> Path:
    """The same, converted."""
    from models.musetalk.weights import convert

    convert(official)
    return official


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller still, converted: what the engine is made of does not matter to its promises."""
    import torch

    from models.musetalk.weights import convert
    from tests.engines.musetalk.checkpoints import write_speaking

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("small")
    write_speaking(root, smaller=True)
    convert(root)
    return root
