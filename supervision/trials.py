"""Every engine of the chains tried for real, each in a process of its own: what ``doctor`` tells of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from configs.schema import Config

KINDS = ("asr", "llm", "tts")
TRIAL_S = 300.0
"""For one engine: a language model may have to be loaded by its server."""


class Trial(NamedTuple):
    """What came of one engine."""

    kind: str
    engine: str
    ok: bool
    fact: str
    next_step: str


def trials(config: Config) -> Iterator[Trial]:
    """One after another, in the order of the chains."""
    data = msgspec.json.encode(config)
    for kind in KINDS:
        for name in getattr(config.engines, kind):
            yield _trial(kind, name, data)


def _trial(kind: str, name: str, config: bytes) -> Trial:
    command = [sys.executable, "-m", "models.trial", kind, name]
    try:
        run = subprocess.run(command, input=config, capture_output=True, timeout=TRIAL_S, check=False)
        found = json.loads(run.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Trial(kind, name, False, f"it did nothing within {TRIAL_S:g} s", "")
    except (ValueError, IndexError):
        last = run.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
        return Trial(kind, name, False, f"its process ended with {run.returncode}: {last[0]}", "")
    return Trial(kind, name, bool(found["ok"]), found["fact"], found["next_step"])
