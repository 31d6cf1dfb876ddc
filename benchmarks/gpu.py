"""MuseTalk on one GPU: every batch size, every rewrite on its own, closeness, host cost. One job, ten minutes.

    python -m benchmarks.gpu [--out gpu.json] [--seconds 540] [--upstream CHECKOUT]
    python -m benchmarks.gpu --profile tiny --device cpu       the same code in a minute, to see that it runs

Weights are random (same shapes, same time; useless for judging pictures). GPU time is by CUDA events around
the work, after warm-up; variants take turns within a round. Frames per second count generated frames without
padding. Nothing about the device is changed. Four numbers stay apart: GPU path (here), generation with the
picture on the host (here), delivered and live streams (the daemon's own benchmarks).
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import describe
from models.api import SpeechWindow
from models.musetalk import norm
from models.musetalk.constants import AUDIO_DIM, LATENT, TOKENS, UNET_CONFIG, VAE_CONFIG
from models.musetalk.gate import weights
from models.musetalk.generator import Generator, to_bgr
from models.musetalk.keys import build
from models.musetalk.networks import FastDecoder, FastUNet, ReferenceDecoder, ReferenceUNet
from models.musetalk.prepared import compose
from models.musetalk.stream import quanta

SIZES = (1, 2, 4, 8, 16, 32, 64)
ROUNDS = 3
WARM, WARM_S = 20, 0.5
TIMED, TIMED_S = 200, 0.7
"""Calls and seconds per measurement of one round; whichever ends first, but at least 3 and 10 calls."""
ABLATED = (8, 32)
"""Batch sizes at which every rewrite is timed on its own; at the others only the first and the last variant."""
GFLOP_UPSTREAM, GFLOP_FOLDED = 800.0, 693.9
"""Per frame, counted on full-size networks."""
TINY = {"block_out_channels": [32, 64, 128, 128]}
TINY_VAE = {"block_out_channels": [32, 32, 64, 64]}
CLOSE_FRAMES = 64
CLOCK_MOVES = 0.03
"""A round within which the clock moves by more than this share does not count."""


@dataclass(frozen=True)
class Variant:
    """One way to run the two networks."""

    name: str
    rebuilt: bool = False
    """Our modules instead of diffusers'; otherwise nothing below applies but ``last``."""
    last: bool = False
    """Channels-last memory."""
    fused: bool = False
    fold: bool = False
    graph: bool = False


VARIANTS = (
    Variant("eager"),
    Variant("eager, channels-last", last=True),
    Variant("rebuilt", rebuilt=True, last=True),
    Variant("rebuilt + fold", rebuilt=True, last=True, fold=True),
    Variant("rebuilt + fused norm", rebuilt=True, last=True, fused=True),
    Variant("rebuilt + fused norm + fold", rebuilt=True, last=True, fused=True, fold=True),
    Variant("high (all, CUDA graph)", rebuilt=True, last=True, fused=True, fold=True, graph=True),
)


def sources(profile: str, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """UNet and VAE with seeded random weights that keep activations finite; f32 on the device."""
    torch.manual_seed(0)
    made = []
    for kind, config, small in (("unet", UNET_CONFIG, TINY), ("vae", VAE_CONFIG, TINY_VAE)):
        with device:
            module = build(kind, {**config, **(small if profile == "tiny" else {})})
        made.append(module)
    return made[0], made[1]


class Runner:
    """One variant's networks, and a step of any batch size."""

    def __init__(self, variant: Variant, unet: nn.Module, vae: nn.Module, dtype: torch.dtype) -> None:
        self.variant = variant
        with torch.inference_mode():
            if variant.rebuilt:
                self.unet: nn.Module = FastUNet(unet, fold=variant.fold)
                self.decoder: nn.Module = FastDecoder(vae, fold=variant.fold)
            else:
                self.unet, self.decoder = ReferenceUNet(unet), ReferenceDecoder(vae)
            self.unet, self.decoder = self._cast(self.unet, dtype), self._cast(self.decoder, dtype)

    def _cast(self, module: nn.Module, dtype: torch.dtype) -> nn.Module:
        module = deepcopy(module).to(dtype)
        return module.to(memory_format=torch.channels_last) if self.variant.last else module

    def inputs(self, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Seeded latents and audio."""
        generator = torch.Generator(device).manual_seed(1)
        latents = torch.randn(size, 8, LATENT, LATENT, device=device, generator=generator).to(dtype)
        audio = torch.randn(size, TOKENS, AUDIO_DIM, device=device, generator=generator).to(dtype)
        return (latents.contiguous(memory_format=torch.channels_last) if self.variant.last else latents), audio

    def part(self, name: str, latents: Tensor, audio: Tensor) -> Callable[[], Tensor]:
        """The UNet, the decoder, or both with the conversion to BGR bytes."""
        if name == "unet":
            return lambda: self.unet(latents, audio)
        if name == "vae":
            small = latents[:, :4].contiguous()
            return lambda: self.decoder(small)
        return lambda: to_bgr(self.decoder(self.unet(latents, audio)))


def captured(action: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The action as a CUDA graph; each call replays it and returns the same memory."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            action()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = action()

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


def timed(action: Callable[[], object], cuda: bool, until: float, most: int) -> list[float]:
    """Milliseconds of each call, after warm-up; fewer calls when the time is nearly up."""
    times: list[float] = []
    begin = time.monotonic()
    for k in range(WARM if cuda else 1):
        action()
        if k >= 2 and cuda:
            torch.cuda.synchronize()
            if time.monotonic() - begin > WARM_S:
                break
    if not cuda:
        for _ in range(min(most, 3)):
            begin = time.perf_counter()
            action()
            times.append((time.perf_counter() - begin) * 1000)
        return times
    torch.cuda.synchronize()
    begin = time.monotonic()
    while len(times) < most:
        count = min(10, most - len(times))
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        marks[0].record()
        for mark in marks[1:]:
            action()
            mark.record()
        torch.cuda.synchronize()
        times += [a.elapsed_time(b) for a, b in itertools.pairwise(marks)]
        if time.monotonic() - begin > TIMED_S or time.monotonic() > until:
            break
    return times


def summary(times: list[float], size: int) -> dict[str, float]:
    """Milliseconds and frames per second."""
    ordered = sorted(times)
    p50 = statistics.median(ordered)
    return {
        "p50_ms": round(p50, 3),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
        "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 3),
        "max_ms": round(ordered[-1], 3),
        "n": len(ordered),
        "ms_per_frame": round(p50 / size, 4),
        "frames_per_s": round(1000 * size / p50, 1),
    }


def matmul_rate(device: torch.device, dtype: torch.dtype, until: float) -> float:
    """TFLOP/s of a 4096-cube product in ``dtype``."""
    side = 4096 if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device).to(dtype)
    times = timed(lambda: a @ a, device.type == "cuda", until, 100)
    return 2 * side**3 / statistics.median(times) / 1e9


def clocks() -> dict[str, str]:
    """Clocks, power and temperature as found, by nvidia-smi; empty without it."""
    query = (
        "name,driver_version,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu,"
        "utilization.gpu,memory.used"
    )
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(query.split(","), (part.strip() for part in text.split("\n", 1)[0].split(",")), strict=False))


def sm_clock() -> float:
    """The clock of the multiprocessors in MHz, right after work; 0 where it cannot be read."""
    try:
        return float(clocks().get("clocks.sm", 0))
    except ValueError:
        return 0.0


def counts(sm_mhz_first: float, sm_mhz_last: float) -> bool:
    """Whether a round counts: its clock is known and moved by at most 3 %."""
    return sm_mhz_first > 0 and abs(sm_mhz_last - sm_mhz_first) <= CLOCK_MOVES * sm_mhz_first


@torch.inference_mode()
def sweep(
    profile: str, device: torch.device, dtype: torch.dtype, deadline: float, sizes: tuple[int, ...]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every variant at every size, rounds interleaved; and how close each is to f32."""
    unet, vae = sources(profile, device)
    cuda = device.type == "cuda"
    close = closeness(unet, vae, device, dtype)
    runners = [Runner(v, unet, vae, dtype) for v in VARIANTS if cuda or not v.graph]
    found: dict[tuple[str, str, int], list[float]] = {}
    ratios: dict[int, list[float]] = {}
    jobs = [(size, part) for size in sizes for part in ("both", "unet", "vae")]
    begin = time.monotonic()
    steady: list[dict[str, float]] = []
    for round_number in range(ROUNDS if cuda else 1):
        before = sm_clock()
        for index, (size, part) in enumerate(jobs):
            done = (round_number * len(jobs) + index) / (ROUNDS * len(jobs))
            until = begin + (deadline - begin) * (done + 1 / (ROUNDS * len(jobs)))
            medians = {}
            for runner in runners:
                if cuda and size not in ABLATED and runner not in (runners[0], runners[-1]):
                    continue
                norm.use_fused = runner.variant.fused
                try:
                    action = runner.part(part, *runner.inputs(size, device, dtype))
                    if runner.variant.graph:
                        action = captured(action)
                    times = timed(action, cuda, until, -(-TIMED // ROUNDS))
                except torch.OutOfMemoryError:
                    torch.cuda.empty_cache()
                    continue
                found.setdefault((runner.variant.name, part, size), []).extend(times)
                medians[runner.variant.name] = statistics.median(times)
                del action
            if part == "both" and {VARIANTS[0].name, runners[-1].variant.name} <= medians.keys():
                ratios.setdefault(size, []).append(medians[VARIANTS[0].name] / medians[runners[-1].variant.name])
            if time.monotonic() > deadline:
                break
        steady.append({"sm_mhz_first": before, "sm_mhz_last": sm_clock()})
    norm.use_fused = True
    rows = [
        {"variant": name, "part": part, "batch": size, **summary(times, size)}
        for (name, part, size), times in found.items()
    ]
    return rows, {
        "closeness": close,
        "ratio_to_eager_per_round": {k: [round(r, 3) for r in v] for k, v in ratios.items()},
        "rounds": [{**one, "counts": counts(**one)} for one in steady],
    }


@torch.inference_mode()
def closeness(unet: nn.Module, vae: nn.Module, device: torch.device, dtype: torch.dtype) -> list[dict[str, Any]]:
    """Levels between each variant in ``dtype`` and diffusers in f32; random weights, hence a smoke test."""
    frames = CLOSE_FRAMES if device.type == "cuda" else 2
    batch = min(8, frames)
    exact = Runner(Variant("f32"), unet, vae, torch.float32)
    rows = []
    for variant in VARIANTS:
        if variant.graph and device.type != "cuda":
            continue
        runner = Runner(variant, unet, vae, dtype)
        norm.use_fused = variant.fused
        inputs = runner.inputs(batch, device, dtype)
        action = runner.part("both", *inputs)
        action = captured(action) if variant.graph else action
        differences = []
        for k in range(frames // batch):
            torch.manual_seed(k)
            latents = torch.randn(batch, 8, LATENT, LATENT, device=device)
            audio = torch.randn(batch, TOKENS, AUDIO_DIM, device=device)
            wanted = exact.part("both", latents, audio)().float()
            for mine, given in zip(inputs, (latents, audio), strict=True):
                mine.copy_(given)  # in place, as a graph reads its inputs
            differences.append((action().float() - wanted).abs().cpu())
        levels = torch.cat(differences).flatten().numpy()
        error = float((levels**2).mean())
        rows.append(
            {
                "variant": variant.name,
                "max_levels": int(levels.max()),
                "p99_9_levels": float(np.percentile(levels, 99.9)),
                "psnr_db": round(10 * float(np.log10(255**2 / max(error, 1e-9))), 2),
            }
        )
    norm.use_fused = True
    return rows


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


def cpu_ms(action: Callable[[], object], calls: int = 50) -> float:
    """Median CPU milliseconds of this thread per call."""
    times = []
    for _ in range(calls):
        begin = time.thread_time()
        action()
        times.append((time.thread_time() - begin) * 1000)
    return statistics.median(times)


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


def main() -> int:
    """Run everything, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="")
    parser.add_argument("--seconds", type=float, default=540.0, help="stop taking new measurements after this")
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--upstream", type=Path, default=None, help="a MuseTalk checkout whose loop is timed too")
    options = parser.parse_args()
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    if cuda and not torch.cuda.is_available():
        print("PyTorch sees no GPU; --profile tiny --device cpu shows that the program runs", file=sys.stderr)
        return 1
    dtype = getattr(torch, options.dtype or ("float16" if cuda else "float32"))
    sizes = tuple(options.sizes) or (SIZES if cuda else (1, 2))
    begin = time.monotonic()
    deadline = begin + options.seconds
    torch.backends.cudnn.benchmark = True
    with torch.cuda.device(device) if cuda else nullcontext():
        before = clocks()
        result: dict[str, Any] = {
            "machine": describe(), "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(),
            "fused_norm": norm.fused is not None, "profile": options.profile, "dtype": str(dtype),
            "tf32": torch.backends.cuda.matmul.allow_tf32, "clocks_before": before, "nvenc": nvenc(),
            "matmul_tflops": round(matmul_rate(device, dtype, deadline), 3), "host": host_cost(device, dtype),
        }  # fmt: skip
        share = 0.75 if options.upstream else 0.95
        rows, extra = sweep(options.profile, device, dtype, begin + share * options.seconds, sizes)
        result |= extra | {"rows": rows}
        if cuda:
            result["peak_memory_mb"] = torch.cuda.max_memory_allocated() >> 20
        if options.upstream:
            from benchmarks.gpu_upstream import time_upstream

            result["upstream"] = time_upstream(options.upstream, options.profile, device)
        result["clocks_after"] = clocks()
    result["seconds"] = round(time.monotonic() - begin, 1)
    show(result)
    if options.out:
        options.out.write_text(json.dumps(result, indent=1), "utf-8")
    return 0


def show(result: dict[str, Any]) -> None:
    """The table."""
    print(result["machine"])
    print(
        f"{result['profile']} {result['dtype']}, matmul {result['matmul_tflops']} TFLOP/s, host {result['host']}"
    )
    heads = ("batch", 6), ("p50 ms", 10), ("p99 ms", 10), ("ms/frame", 10), ("frames/s", 10), ("TFLOP/s", 9)
    print(f"{'variant':32}{'part':>6}" + "".join(f"{name:>{width}}" for name, width in heads))
    for row in sorted(result["rows"], key=lambda r: (r["part"], r["batch"], r["variant"])):
        folded = "fold" in row["variant"] or "high" in row["variant"]
        work = (GFLOP_FOLDED if folded else GFLOP_UPSTREAM) if row["part"] == "both" else 0
        rate = f"{row['frames_per_s'] * work / 1000:9.1f}" if work and result["profile"] == "full" else ""
        print(
            f"{row['variant']:32}{row['part']:>6}{row['batch']:6}{row['p50_ms']:10.2f}{row['p99_ms']:10.2f}"
            f"{row['ms_per_frame']:10.3f}{row['frames_per_s']:10.1f}{rate}"
        )
    print(f"eager / best, per round: {result['ratio_to_eager_per_round']}, clocks {result['rounds']}")
    for row in result["closeness"]:
        print(
            f"{row['variant']:32} max {row['max_levels']}, 99.9 % {row['p99_9_levels']:.1f}, {row['psnr_db']} dB"
        )
    if "upstream" in result:
        print(f"upstream's loop: {result['upstream']}")


if __name__ == "__main__":
    sys.exit(main())
