"""DWPose, S3FD and BiSeNet of the official layout, random weights, through real ``prepare`` and ``lipsync``.

The test is the broker between the two processes: it hands asks and answers on and keeps both. The film stands
still, so most asks repeat an earlier one to the byte; a repeat is answered as the process answered the first time.
"""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest

from broker.ipc import wire
from broker.ipc.messages import (
    Done,
    Failed,
    Greeting,
    Message,
    PrepareAsk,
    PrepareItem,
    Ready,
    TemplateReady,
    TensorAnswer,
    TensorItem,
    TensorResult,
)
from models.musetalk import asks
from stages.tensors import arrays_of
from tests.support.harness import EQUALS, PATIENT, Bench, environment
from tests.support.limits import LOAD_S
from tests.support.pictures import astronaut

for needed in ("torch", "diffusers", "mmcv"):
    if importlib.util.find_spec(needed) is None:
        pytest.skip("the extra musetalk or mmcv-lite is not installed", allow_module_level=True)

LIMIT_S = LOAD_S
FRAMES = 13
"""The shortest film."""
SHIFT = 300
"""More than suits any face."""
SETTINGS = (
    "engines.lipsync=[musetalk,warp]",
    "musetalk.preparation=strict",
    "musetalk.version=v10",
    "musetalk.max_batch=1",
    "musetalk.encoder_steps=160",
    PATIENT,
    *EQUALS,
)
Arrays = list[np.ndarray]


def stands_still(picture: np.ndarray) -> bytes:
    """A film of ``FRAMES`` equal frames, coded without loss, so that they are equal to the byte."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        for _ in range(FRAMES):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        out.mux(stream.encode(None))
    return file.getvalue()


class Asked(NamedTuple):
    """One ask that went to the lip-sync process, and its answer."""

    kind: str
    given: Arrays
    made: Arrays


class Middle(Bench):
    """Between two real stage processes."""

    def __init__(self, folder: Path, *sets: str) -> None:
        super().__init__(folder, *sets)
        self.ends = {
            name: (
                self.make.push_bind(self.endpoints.work(name, 1)),
                self.make.push_bind(self.endpoints.orders(name, 1)),
            )
            for name in ("lipsync.0", "prepare.0")
        }
        self.asked: list[Asked] = []
        self._known: dict[bytes, tuple[TensorResult, list[bytes]]] = {}

    def start(self) -> None:
        """Both processes, ready."""
        for name, (_, orders) in self.ends.items():
            command = (sys.executable, "-m", "stages", name.partition(".")[0], "--instance", name, "--epoch", "1")
            more = ("--config", self.config_path, "--boot", "test", "--parent", str(os.getpid()))
            one = environment(OMP_NUM_THREADS="1")
            self.processes.append(
                subprocess.Popen([*command, *more], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=one)
            )
            self.send(orders, Greeting(broker=1))
        ready: set[str] = set()
        while ready != self.ends.keys():
            message, _ = self.next()
            if isinstance(message, Ready):
                ready.add(message.src)

    def next(self) -> tuple[Message, list[memoryview]]:
        assert self.ingress.poll(int(LIMIT_S * 1000)), "nobody says anything"
        return wire.unpack(self.ingress.recv_multipart())

    def prepare(self, name: str, video: bytes) -> TemplateReady | Failed:
        """Have it made, and hand on what is asked meanwhile."""
        item = PrepareItem(
            id="p",
            attempt=1,
            broker=1,
            sid="",
            turn=0,
            template_id=name,
            kind="source",
            force=True,
            bbox_shift=SHIFT,
        )
        self.send(self.ends["prepare.0"][0], item, video)
        found: TemplateReady | Failed | None = None
        while found is None:
            message, buffers = self.next()
            if isinstance(message, PrepareAsk):
                self._hand_on(message, [bytes(buffer) for buffer in buffers])
            elif isinstance(message, TemplateReady | Failed):
                found = message
        return found

    def _hand_on(self, ask: PrepareAsk, buffers: list[bytes]) -> None:
        key = b"".join([ask.kind.encode(), *buffers])
        if key not in self._known:
            item = TensorItem(
                id=f"t{len(self._known)}", attempt=1, broker=1, sid="", turn=0,
                engine=ask.engine, kind=ask.kind, heads=ask.heads,
            )  # fmt: skip
            self.send(self.ends["lipsync.0"][0], item, *buffers)
            self._known[key] = result, made = self._result()
            views = [memoryview(buffer) for buffer in buffers], [memoryview(buffer) for buffer in made]
            self.asked.append(Asked(ask.kind, arrays_of(ask.heads, views[0]), arrays_of(result.heads, views[1])))
        result, made = self._known[key]
        answer = TensorAnswer(broker=1, id=ask.id, attempt=1, number=ask.number, heads=result.heads)
        self.send(self.ends["prepare.0"][1], answer, *made)

    def _result(self) -> tuple[TensorResult, list[bytes]]:
        found: tuple[TensorResult, list[bytes]] | None = None
        while True:
            message, buffers = self.next()
            assert not isinstance(message, Failed), message
            if isinstance(message, TensorResult):
                found = message, [bytes(buffer) for buffer in buffers]
            if isinstance(message, Done) and message.src == "lipsync.0":
                assert found is not None
                return found


@pytest.fixture
def middle(preparing: Path) -> Iterator[Middle]:
    with tempfile.TemporaryDirectory(prefix="mc-", dir="/tmp") as name:
        made = Middle(Path(name), f"weights_dir={preparing}", *SETTINGS)
        yield made
        made.close()


def test_what_the_networks_say_crosses_two_processes_unchanged(middle: Middle, preparing: Path) -> None:
    import torch

    from models.musetalk.prepared import load_prepared
    from models.musetalk.tensors import PreparationNetworks
    from models.templates.store import open_template
    from tests.support.doubles import quiet

    middle.start()
    still = np.ascontiguousarray(astronaut()[20:212, 120:312])
    ready = middle.prepare("still", stands_still(still))
    assert isinstance(ready, TemplateReady), ready
    assert ready.engines == ["warp", "musetalk"]
    assert len(middle.asked) <= 8, "the film does not stand still"
    assert {one.kind for one in middle.asked} == {asks.FACES, asks.STRICT_POINTS, asks.CLASSES, asks.LATENTS}
    torch.set_num_threads(1)
    here = PreparationNetworks(preparing, torch.device("cpu"))
    for one in {asked.kind: asked for asked in middle.asked}.values():
        wanted = here.tensors(one.kind, one.given, quiet)
        assert len(one.made) == len(wanted)
        for made, right in zip(one.made, wanted, strict=True):
            assert made.dtype == right.dtype
            assert np.array_equal(made, right), one.kind
    prepared = load_prepared(open_template(ready.template.path, ready.template.hash))
    assert prepared.meta["settings"] == {"preparation": "strict", "parsing": "jaw", "faces": "networks"}
    told = ready.bbox_shift
    assert told is not None
    assert told == prepared.meta["bbox_shift"]
    _, high = np.array(told["range"])
    assert (told["asked"], told["used"]) == (SHIFT, min(max(high, 0), SHIFT))
    (latents,) = next(one.made for one in middle.asked if one.kind == asks.LATENTS)
    assert np.array_equal(prepared.latents[0], latents[0])
