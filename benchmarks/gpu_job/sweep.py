"""The GPU path: every batch size of UNet, decoder and both, every rewrite on its own, in interleaved rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch

from benchmarks.gpu_job.figures import figures
from benchmarks.gpu_job.rounds import Rounds
from benchmarks.gpu_job.timing import timed
from benchmarks.gpu_job.variants import EAGER, VARIANTS, Runner, captured, sources
from models.musetalk import norm
from models.musetalk.gpu import out_of_memory

SIZES = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 3
TIMED = 200
"""Calls of each measurement, all rounds together, where time allows."""
ABLATED = (8, 32)
"""Batch sizes at which every rewrite is timed on its own; at the others only the first and the last variant."""
PARTS = ("both", "unet", "vae")
GFLOP = {"unet": (177.8, 168.4), "vae": (622.2, 525.6), "both": (800.0, 693.9)}
"""Per frame of the full-size networks, counted: as upstream has them, and with the doubling folded."""


class Sweep:
    """Every variant at every size.

    Args:
        profile: "full" or "tiny".
        device: where.
        dtype: of the variants.
        sizes: batches.
        clock: of the device under load.
        until: when the time is up, monotonic.
    """

    def __init__(
        self, profile: str, device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...],
        clock: Callable[[], float | None], until: float,
    ) -> None:  # fmt: skip
        self.cuda = device.type == "cuda"
        self._device, self._dtype, self._sizes, self._until = device, dtype, sizes, until
        self._profile = profile
        unet, vae = sources(profile, device)
        self._runners = [Runner(v, unet, vae, dtype) for v in VARIANTS if self.cuda or not v.graph]
        self.rounds = Rounds(clock)
        self._short: set[tuple[str, str, int]] = set()

    @torch.inference_mode()
    def run(self) -> list[dict[str, Any]]:
        """Play the rounds; one row per variant, part and size."""
        begin = time.monotonic()
        span = (self._until - begin) / ROUNDS

        def turn(index: int) -> dict[Hashable, list[float]]:
            return self._round(index, begin + index * span, begin + (index + 1) * span)

        try:
            self.rounds.play(ROUNDS, turn)
        finally:
            norm.use_fused = True
        rows = self.rounds.rows(self._row)
        taken = {key for one in self.rounds.played for key in one.values}
        reasons = {key: {"skipped": "no time left"} for key in self._jobs()}
        reasons |= {key: {"error": "out of memory"} for key in self._short}
        return rows + [
            {"variant": key[0], "section": key[1], "batch": key[2], **why}
            for key, why in reasons.items()
            if key not in taken
        ]

    def _jobs(self) -> list[tuple[str, str, int]]:
        """Everything that is to be measured."""
        return [
            (runner.variant.name, section, size)
            for size in self._sizes
            for section in PARTS
            for runner in self._runners
            if self._is_timed(runner, size)
        ]

    def _is_timed(self, runner: Runner, size: int) -> bool:
        ends = runner in (self._runners[0], self._runners[-1])
        return ends or size in (ABLATED if self.cuda else self._sizes[:1])

    def _round(self, index: int, begin: float, until: float) -> dict[Hashable, list[float]]:
        """Each round begins elsewhere, so that what time leaves out is not the same every time.

        One measurement is always taken, and none is begun when the round's time is up; the first round, in which
        everything runs for the first time, may use up all that there is.
        """
        until = self._until if index == 0 else until
        jobs = [(size, section) for size in self._sizes for section in PARTS]
        first = index * len(jobs) // ROUNDS
        jobs = jobs[first:] + jobs[:first]
        found: dict[Hashable, list[float]] = {}
        for place, (size, section) in enumerate(jobs):
            part_until = begin + (until - begin) * (place + 1) / len(jobs)
            for runner in self._runners:
                if time.monotonic() > until and (found or self.rounds.played):
                    return found
                if self._is_timed(runner, size):
                    times = self._measure(runner, section, size, part_until)
                    if times:
                        found[runner.variant.name, section, size] = times
        return found

    def _measure(self, runner: Runner, section: str, size: int, until: float) -> list[float]:
        norm.use_fused = runner.variant.fused
        try:
            action = runner.part(section, *runner.inputs(size, self._device, self._dtype))
            if runner.variant.graph:
                action = captured(action)
            return timed(action, self.cuda, until, -(-TIMED // ROUNDS))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # here, for the error's traceback holds on to what did not fit
        self._short.add((runner.variant.name, section, size))
        return []

    def _row(self, key: Any, times: list[float], _: bool) -> dict[str, Any]:
        name, section, size = key
        rate = 1000 * size / statistics.median(times)
        row = {
            "variant": name, "section": section, "batch": size, **figures(times),
            "ms_per_frame": round(statistics.median(times) / size, 4), "frames_per_s": round(rate, 1),
            "batch_fill": 1.0,
        }  # fmt: skip
        if self._profile == "full":
            variant = next(v for v in VARIANTS if v.name == name)
            row["tflops"] = round(rate * GFLOP[section][variant.fold] / 1000, 3)
        return row

    def ratios(self) -> list[dict[str, Any]]:
        """Eager over the last variant, both networks, at every size."""
        best = self._runners[-1].variant.name
        found = []
        for size in self._sizes:
            ratio = self.rounds.ratio((EAGER.name, "both", size), (best, "both", size))
            if ratio:
                found.append({"what": f"GPU ms, {EAGER.name} / {best}", "batch": size, **ratio})
        return found
