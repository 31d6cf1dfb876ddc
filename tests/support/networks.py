"""Weights of small random networks in the official layout, written once per run by whichever worker is first."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that all workers of this run share, to be read only; ``make`` fills it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, made = shared / name, shared / f"{name}.made"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks that speak, as they are published."""

    def make(root: Path) -> None:
        from tests.engines.musetalk.checkpoints import write_speaking

        write_speaking(root)

    return once(tmp_path_factory, "official", make)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smaller still, converted: what the engine is made of does not matter to its promises."""

    def make(root: Path) -> None:
        from models.musetalk.weights import convert
        from tests.engines.musetalk.checkpoints import write_speaking

        write_speaking(root, smaller=True)
        convert(root)

    return once(tmp_path_factory, "small", make)


@pytest.fixture(scope="session")
def preparing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``small`` and the networks that prepare templates; their detector is sure of something everywhere."""
    pytest.importorskip("mmcv")

    def make(root: Path) -> None:
        import torch

        from models.musetalk.weights import convert
        from tests.engines.musetalk.checkpoints import tiny, write_preparing, write_speaking
        from tests.support.pictures import give_face_models

        write_speaking(root, smaller=True)
        write_preparing(root)
        detector = tiny("s3fd", 5)
        for name, value in detector.state_dict().items():
            if name.endswith("mbox_conf.bias"):
                value[-1] += 10 if name.startswith("conv7_2") else -10
        torch.save(detector.state_dict(), root / "s3fd" / "s3fd-619a316812.pth")
        convert(root)
        give_face_models(root)

    return once(tmp_path_factory, "preparing", make)
