"""The parts of the job, their time, and the rows that they leave."""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import memory_mb
from benchmarks.gpu_job import table
from benchmarks.gpu_job.budget import Budget
from benchmarks.gpu_job.closeness import closeness
from benchmarks.gpu_job.held import Readings, Watch, commit_of, machine, record
from benchmarks.gpu_job.host import host_cost, matmul_rate, nvenc
from benchmarks.gpu_job.sweep import SIZES, Sweep
from benchmarks.gpu_job.variants import sources
from benchmarks.gpu_job.world import constants
from models.musetalk import norm

SHARES = {
    "host": 3.0, "sweep": 31.0, "world": 6.0, "cold": 13.0, "loops": 20.0, "streams": 17.0, "copies": 10.0,
}  # fmt: skip
TINY_SHARES = {
    "host": 4.0, "sweep": 12.0, "world": 6.0, "cold": 18.0, "loops": 32.0, "streams": 15.0, "copies": 13.0,
}  # fmt: skip
"""Of the time, where all parts run; on a CPU starting processes is most of it."""
LEAST_S = 2.0
"""A part that would get less is left out."""
COLD_LEAST_S = 150.0
"""A cold start is worth nothing before it is through: it gets so long at least, of the time of the later parts."""
CLOSENESS_SHARE = 0.4
"""Of the time of ``sweep``."""
NEED_THE_WORLD = {"cold", "loops", "streams"}
LIVE_PICTURE = "1280x720"


class Job:
    """One run.

    Args:
        asked: the options.
        device: where.
        folder: scratch, short enough for sockets.
        begin: of the process, monotonic.
        seconds: in all.
    """

    def __init__(
        self, asked: argparse.Namespace, device: torch.device, folder: Path, begin: float, seconds: float
    ) -> None:
        self._asked, self._device, self._folder = asked, device, folder
        self._cuda, self._tiny = device.type == "cuda", asked.profile == "tiny"
        self._dtype = getattr(torch, asked.dtype or ("float16" if self._cuda else "float32"))
        self._readings = Readings(device)
        if self._cuda:
            norm.try_fused(device, self._dtype)
        shares = TINY_SHARES if self._tiny else SHARES
        parts = {*asked.parts, "world"} if NEED_THE_WORLD & {*asked.parts} else {*asked.parts}
        wanted = {name: share for name, share in shares.items() if name in parts}
        if not asked.upstream:
            wanted.pop("copies", None)
        self._budget = Budget(seconds - (time.monotonic() - begin), wanted)
        self._wanted = wanted
        self._begin = begin
        self._live = ExitStack()
        self._engine: Any = None
        self._matmul = 0.0
        self._watch = Watch(self._readings)
        self.failed = False
        held = record(device, self._dtype, self._readings, profile=asked.profile, seconds=seconds, **constants())
        if asked.upstream:
            held["upstream"] = {"checkout": asked.upstream.name, "commit": commit_of(asked.upstream)}
        self.result: dict[str, Any] = {"held": {**held, "after": {}}, "parts": {}, "rows": []}

    def run(self) -> None:
        """Every part that is wanted; one that fails leaves its reason and the others run."""
        actions: dict[str, Callable[[float], None]] = {
            "host": self._host, "sweep": self._sweep, "world": lambda _: self._world() and None,
            "cold": self._cold, "loops": self._loops, "streams": self._streams, "copies": self._copies,
        }  # fmt: skip
        try:
            for name in self._wanted:
                self._part(name, actions[name])
        finally:
            self._live.close()
            self.result["held"]["after"] = self._readings.now()
            self.result["seconds"] = round(time.monotonic() - self._begin, 1)
            self._write()

    def show(self) -> None:
        """The table."""
        table.show(self.result)
        print(f"{self.result['seconds']} s in all")

    def _part(self, name: str, action: Callable[[float], None]) -> None:
        until, begin = self._budget.start(name), time.monotonic()
        told: dict[str, Any] = {"limit_s": round(until - begin, 1)}
        if until - begin < LEAST_S:
            self.result["parts"][name] = {**told, "skipped": "no time left"}
            print(f"{name}: no time left", flush=True)
            return
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        with Watch(self._readings) as watch:
            self._watch = watch
            try:
                action(until)
            except Exception as error:
                traceback.print_exc()
                self.failed = True
                told["error"] = f"{type(error).__name__}: {error}"
        told |= {"seconds": round(time.monotonic() - begin, 1), **watch.told()}
        if self._cuda:
            told["vram_peak_mb"] = torch.cuda.max_memory_reserved() >> 20
        told["rss_mb"] = round(memory_mb(os.getpid())["rss"], 1)
        self.result["parts"][name] = {**self.result["parts"].get(name, {}), **told}
        print(f"{name}: {told}", flush=True)
        self._write()

    def _add(self, part: str, *rows: dict[str, Any]) -> None:
        """Keep rows; each says where, how fast the clock was and what was run."""
        now = self._watch.latest()
        clocks = {key: now[key] for key in ("sm_mhz", "memory_mhz", "power_w", "temperature_c") if key in now}
        common = {
            "part": part, "machine": machine(self._device), "clocks": clocks,
            "commit": self.result["held"]["commit"],
        }  # fmt: skip
        self.result["rows"] += [{**common, **row} for row in rows]

    def _note(self, part: str, **more: Any) -> None:
        self.result["parts"].setdefault(part, {}).update(more)

    def _write(self) -> None:
        if self._asked.out:
            self._asked.out.write_text(json.dumps(self.result, indent=1), "utf-8")

    # --- the parts ------------------------------------------------------------------------------------------

    def _host(self, until: float) -> None:
        rate = matmul_rate(self._device, self._dtype, until)
        self._matmul = rate["tflops"]
        self._add(
            "host", {"what": "matmul", **rate}, {"what": "host cost", **host_cost(self._device, self._dtype)}
        )
        self._add("host", {"what": "hardware encoder opens", "h264_nvenc": nvenc()})

    def _sweep(self, until: float) -> None:
        unet, vae = sources(self._asked.profile, self._device)
        begin = time.monotonic()
        half = begin + CLOSENESS_SHARE * (until - begin)
        self._add("closeness", *closeness(unet, vae, self._device, self._dtype, half))
        del unet, vae
        sizes = tuple(self._asked.sizes) or (SIZES if self._cuda else (1, 2))
        sweep = Sweep(
            self._asked.profile, self._device, self._dtype, sizes, self._readings.loaded_mhz, until
        )  # fmt: skip
        rows = sweep.run()
        for row in rows:
            if self._matmul and "tflops" in row:
                row["of_matmul"] = round(row["tflops"] / self._matmul, 3)
        self._add("gpu_path", *rows)
        self._add("ratio", *sweep.ratios())
        self._note("sweep", rounds=sweep.rounds.told)
        del sweep
        if self._cuda:
            torch.cuda.empty_cache()

    def _world(self) -> Any:
        """Weights, configuration and templates on disk, made once."""
        from benchmarks.gpu_job import world

        if not (self._folder / "weights").exists():
            root, profile = self._folder, self._asked.profile
            world.write_weights(root / "weights", profile, self._device)
            self._config = world.configuration(root, profile, self._device, torch.get_num_threads())
            names = [LIVE_PICTURE] if self._tiny else [*world.PICTURES]
            self._templates = {name: world.write_template(self._config, name) for name in names}
            if self._cuda:
                torch.cuda.empty_cache()
        return world

    def _cold(self, until: float) -> None:
        import msgspec

        from benchmarks.gpu_job import cold

        self._world()
        path = self._folder / "cold.json"
        path.write_bytes(msgspec.json.encode(self._config))
        until = max(until, min(time.monotonic() + COLD_LEAST_S, self._budget.end))
        self._add("cold", cold.measure(path, self._templates[LIVE_PICTURE].path, until))

    def _ready(self) -> Any:
        """The engine and the delivery line, opened once; how the engine leaves TF32 is part of the record."""
        from benchmarks.gpu_job.line import Line
        from models.musetalk.engine import MuseTalkLipSync

        self._world()
        if self._engine is None:
            self._engine = MuseTalkLipSync(self._config)
            self._live.callback(self._engine.close)
            self._engine.load(lambda *_: None)
            self._line = self._live.enter_context(Line(self._folder, self._config, self._asked.encoders))
            self._note("loops", encoders=self._line.encoders, engine=self._engine.device_name)
        return self._engine

    def _loops(self, until: float) -> None:
        from benchmarks.gpu_job.loops import Loops

        engine, world = self._ready(), self._world()
        upstream = self._upstream()
        pcm = world.speech(2.2 + max(8, *engine.buckets) * 0.04)
        loops = Loops(engine, self._templates, self._line, upstream, self._readings.loaded_mhz, pcm)
        most_s = self._asked.loop_seconds
        self._add("loops", *loops.run(min(until, time.monotonic() + most_s) if most_s else until))
        self._add("ratio", *loops.ratios())
        self._note("loops", rounds=loops.rounds.told, rss_mb_each=self._line.rss_mb())
        if upstream is not None:
            self._note("loops", stood_in=upstream.stood_in)

    def _upstream(self) -> Any:
        if not self._asked.upstream:
            return None
        from benchmarks.gpu_job.upstream import Upstream

        pictures = self._folder / "png"
        (pictures / "tmp").mkdir(parents=True)
        dtype = torch.float16 if self._cuda else torch.float32
        try:
            return Upstream(self._asked.upstream.resolve(), self._asked.profile, self._device, dtype, pictures)
        except Exception as error:  # another checkout, other packages: ours is timed all the same
            traceback.print_exc()
            self.failed = True
            self._note("loops", upstream_error=f"{type(error).__name__}: {error}")
            return None

    def _streams(self, until: float) -> None:
        from benchmarks.gpu_job.ramp import Ramp

        ramp = Ramp(self._ready(), self._templates[LIVE_PICTURE], self._line)
        self._add("first_unit", ramp.first_unit())
        step_s = self._asked.step_seconds or (3.0 if self._tiny else 6.0)
        rows = ramp.run(step_s, until, lambda: self._readings.now().get("sm_mhz"))
        self._add("streams", *rows)
        passed = [row["streams"] for row in rows if row.get("passes")]
        self._note("streams", most=max(passed, default=0), step_s=step_s, picture=LIVE_PICTURE)

    def _copies(self, until: float) -> None:
        from benchmarks.gpu_job import copies

        self._live.close()  # the device is theirs alone
        self._engine = None
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()
        most = self._asked.copies or (6 if self._cuda else 2)
        checkout = self._asked.upstream.resolve()
        found = copies.measure(checkout, self._asked.profile, str(self._device), self._folder, most, until)
        self._add("copies", *found)
