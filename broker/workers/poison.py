"""Poison items, set aside for whoever looks into them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from broker.workers.ledger import Entry

KEPT = 100
"""The newest ones."""


def bury(folder: Path, entry: Entry, epoch: int, *, died: str, reason: str) -> None:
    """Write the item's header, never its buffers, to a file of its own below ``folder``.

    Args:
        epoch: this broker's.
        died: the instance that it ended last, and why.
    """
    with contextlib.suppress(OSError):  # a full disk costs the evidence, not the daemon
        item, _ = entry.build(epoch)
        folder.mkdir(parents=True, exist_ok=True)
        note = {"died": died, "reason": reason, "item": msgspec.to_builtins(item)}
        path = folder / f"{time.time_ns()}.json"
        path.write_bytes(msgspec.json.format(msgspec.json.encode(note), indent=1))
        for old in sorted(folder.glob("*.json"))[:-KEPT]:
            old.unlink()
