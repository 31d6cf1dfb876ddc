"""MuseTalk on one GPU: the whole protocol in one job of under ten minutes, random weights, JSON and a table.

    python -m benchmarks.gpu [--out gpu.json] [--seconds 540] [--upstream CHECKOUT]
    python -m benchmarks.gpu --profile tiny --device cpu       the same code in two minutes, to see that it runs

Four numbers stay apart: frames/s of the GPU path, of generation with blended frames on the host, of delivered
frames at a subscriber in another process, and live streams. Parts, in order: host, sweep, world, cold, loops,
streams, copies; what one leaves of its time the later ones get. Nothing about the device is changed.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import logging
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import structlog
import torch

from benchmarks.gpu_job.job import SHARES, Job

GRACE_S = 45.0
"""Beyond the time of the job, after which it is ended whatever it does, with the stacks of its threads."""


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--profile", choices=("full", "tiny"), default="full")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="", help="of the sweep")
    parser.add_argument("--seconds", type=float, default=0.0, help="of the whole job; 540, tiny 120")
    parser.add_argument("--step-seconds", type=float, default=0.0, help="of a step of the stream ramp; 6, tiny 3")
    parser.add_argument("--loop-seconds", type=float, default=0.0, help="most of loops; all that is left for it")
    parser.add_argument("--sizes", type=int, nargs="*", default=[], help="batches of the sweep")
    parser.add_argument("--encoders", type=int, default=0, help="encoder processes; one per core but two")
    parser.add_argument("--copies", type=int, default=0, help="most processes of upstream at once; 6, tiny 2")
    parser.add_argument("--parts", nargs="*", choices=[*SHARES], default=[*SHARES])
    parser.add_argument("--out", type=Path, default=None, help="JSON, written anew after every part")
    parser.add_argument("--upstream", type=Path, default=None, help="a MuseTalk checkout whose loop is timed too")
    return parser.parse_args()


def main() -> int:
    """Run the parts, print the table, write the JSON."""
    asked = options()
    device = torch.device(asked.device)
    cuda = device.type == "cuda"
    if cuda and not torch.cuda.is_available():
        print("PyTorch sees no GPU; --profile tiny --device cpu shows that the program runs", file=sys.stderr)
        return 1
    if cuda and device.index:
        # As the daemon's own processes: each sees its GPU as number 0.
        print(f"say CUDA_VISIBLE_DEVICES={device.index} and --device cuda:0", file=sys.stderr)
        return 1
    seconds = asked.seconds or (540.0 if asked.profile == "full" else 120.0)
    faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    torch.backends.cudnn.benchmark = True
    if not cuda and "OMP_NUM_THREADS" not in os.environ:
        # Threads that wait for each other in a loop stand still for minutes where cores are shared.
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)
    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="mc-gpu-", dir="/tmp") as folder,
        torch.cuda.device(device) if cuda else nullcontext(),
    ):
        job = Job(asked, device, Path(folder), begin, seconds)
        job.run()
    job.show()
    return 1 if job.failed else 0


def end(code: int) -> None:
    """Leave without taking the interpreter apart: everything is written, and what libraries do then may block."""
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    os._exit(code)


if __name__ == "__main__":
    end(main())
