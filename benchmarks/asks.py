"""What preparing a template for MuseTalk asks of the networks: calls per frame, and processor seconds per picture.

    python -m benchmarks.asks

Calls are counted by preparing films of 24, 248 and (there and back) 88 frames; what the networks find is stood in
for, because random ones find nothing. Seconds are of random networks on one thread, by processor time; the VAE is
tiny, the others have their own size. "alone" is how preparation asked before it was batched: each frame
by itself, the detector in each, two landmark passes with a call for the mirror image, latents by four.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe
from models.musetalk import asks
from models.musetalk.faces import Networks
from models.musetalk.prepare import MuseTalkPreparer
from models.musetalk.tensors import PreparationNetworks
from models.musetalk.weights import convert
from tests.engines.musetalk import scene, stand_in
from tests.engines.musetalk.checkpoints import write_preparing, write_speaking

ALONE = {asks.FACES: (1.0, 1.0), asks.POINTS: (4.0, 2.0), asks.CLASSES: (1.0, 1.0), asks.LATENTS: (0.25, 1.0)}
"""Calls and pictures per frame. A picture of ``points`` is seen twice, as it is and mirrored."""
SHAPES = {
    asks.FACES: (360, 640),
    asks.POINTS: (384, 288),
    asks.CLASSES: (512, 512),
    asks.LATENTS: (256, 256),
}
ROUNDS = 2


def counted(folder: Path, preparation: str, frames: int, kind: str) -> dict[str, tuple[float, float]]:
    """Calls of a network and pictures per frame of the template, by kind of ask."""
    weights = folder / "weights"
    stand_in.pretend_converted(weights)
    networks, config = stand_in.StandIn(), scene.config(weights, preparation=preparation)
    source = Networks(networks, strict=preparation == "strict")
    preparer = MuseTalkPreparer(config, networks, source=source)
    stand_in.write(folder, [preparer], lambda k: [(k % 12, 0)], frames, kind)
    found: dict[str, tuple[float, float]] = {}
    for name, count in networks.asked.items():
        calls = 2 * count if name == asks.STRICT_POINTS else count
        where = asks.POINTS if name == asks.STRICT_POINTS else name
        found[where] = (calls / frames, networks.pictures[name] / frames)
    return found


def seconds(root: Path) -> dict[str, tuple[float, float]]:
    """Processor seconds per picture, by kind of ask: asked one by one and in batches."""
    networks = PreparationNetworks(root, torch.device("cpu"))
    random = np.random.default_rng(0)
    found = {}
    for kind, (height, width) in SHAPES.items():
        pictures = random.integers(0, 256, (asks.BATCH, height, width, 3), np.uint8)
        networks.tensors(kind, [pictures[:1]], lambda *_: None)
        found[kind] = (timed(networks, kind, pictures[:1]), timed(networks, kind, pictures))
        networks.rest()
    return found


def timed(networks: PreparationNetworks, kind: str, pictures: np.ndarray) -> float:
    """The least processor time of a few rounds, per picture."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        networks.tensors(kind, [pictures], lambda *_: None)
        taken.append((time.process_time() - began) / len(pictures))
    return min(taken)


def main() -> None:
    """Print both tables."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="musecast-bench-") as temporary:
        folder = Path(temporary)
        rows = {"alone": ALONE}
        for label, preparation, frames, kind in (
            ("strict", "strict", 24, "builtin"),
            ("refined", "refined", 248, "builtin"),
            ("refined, film", "refined", 88, "video"),
        ):
            rows[label] = counted(folder / label.replace(", ", "-"), preparation, frames, kind)
        root = folder / "official"
        write_speaking(root)
        write_preparing(root)
        convert(root)
        costs = seconds(root)
    print(f"{'processor s per picture':26}" + "".join(f"{kind:>12}" for kind in SHAPES))
    for place, label in enumerate(("alone", f"batches of {asks.BATCH}")):
        print(f"{label:26}" + "".join(f"{costs[kind][place]:12.3f}" for kind in SHAPES))
    print(f"\n{'calls per frame':26}" + "".join(f"{kind:>12}" for kind in SHAPES) + f"{'all':>8}{'s':>8}")
    for label, row in rows.items():
        place = 0 if label in ("alone", "strict") else 1
        cost = sum(row[kind][1] * costs[kind][place] for kind in SHAPES)
        calls = "".join(f"{row[kind][0]:12.3f}" for kind in SHAPES)
        print(f"{label:26}{calls}{sum(one[0] for one in row.values()):8.2f}{cost:8.2f}")
    print(describe())


if __name__ == "__main__":
    main()
