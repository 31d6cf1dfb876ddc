"""Networks of diffusers, without transformers, which it takes along wherever both are installed."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, cast


def diffusers(name: str) -> Any:
    """A class of diffusers. Nothing here uses transformers, whose import is a quarter of the start of a process.

    A name that is None in ``sys.modules`` cannot be found (Python's reference, "The module cache").
    """
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    hidden = modules.setdefault("transformers", None) is None
    try:
        import diffusers as library

        return getattr(library, name)
    finally:
        if hidden:
            modules.pop("transformers", None)
