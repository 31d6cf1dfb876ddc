"""One id for everything that belongs to a turn, in every process: made of the ids that items have anyway."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

_TURN = re.compile(r"[^/]+/\d+\.\d+(?=/|$)")
"""``<sid>/<serial>.<turn>``: how the id of a turn's item begins, and the whole name of the turn."""


def trace_of(boot: str, item: str) -> str | None:
    """The trace id (32 hexadecimal digits, as W3C has them) of the turn that an item belongs to; None: to none.

    Args:
        boot: id of the supervisor's run; session ids may be used again in the next.
        item: id of an item, or the name of a turn.
    """
    found = _TURN.match(item)
    return None if found is None else blake2b(f"{boot}/{found[0]}".encode(), digest_size=16).hexdigest()


def traces_of(boot: str, items: Iterable[str]) -> list[str]:
    """Of several items, each once."""
    return [*dict.fromkeys(trace for item in items if (trace := trace_of(boot, item)) is not None)]
