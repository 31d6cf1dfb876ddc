"""Engines by name. An engine's module is imported only when it is created, in the process that uses it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from configs.schema import Config
from models import engines
from models.api import Crops, Engine, EngineError, Preparer, Progress, TensorSource

PREPARERS = {
    "warp": "models.warp.preparer:WarpPreparer",
    "musetalk": "models.musetalk.prepare:MuseTalkPreparer",
}
"""Lip-sync engine -> what prepares templates for it. All but ``warp``'s take the ``Config``, who
runs the engine's networks, and ``bbox_shift``. They are imported where no network library is."""

CROPS = {"warp": Crops.MOVED, "musetalk": Crops.MASKED}
"""Lip-sync engine -> what its crops are, for whoever pastes them without the engine."""

log = structlog.get_logger(__name__)


def create(kind: str, name: str, config: Config) -> Any:
    """Make an engine, not yet loaded.

    Args:
        kind: "asr", "llm", "tts" or "lipsync".
        name: one of ``engines.KNOWN[kind]``.
        config: handed to the engine.

    Raises:
        EngineError: ``UNSUPPORTED`` for an unknown name; ``FAILED`` when its module does not import.
    """
    unknown = engines.unknown(kind, name)
    if unknown is not None:
        raise unknown
    module, _, attribute = engines.KNOWN[kind][name].partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        hint = "Install what it needs, or choose another engine"
        raise EngineError("FAILED", f"{kind} engine {name} does not import: {error}", hint) from error
    return factory(config)


def load_first(kind: str, names: Sequence[str], config: Config, progress: Progress) -> Any:
    """The first engine of a chain that loads; those before it are closed, each with a warning in the log.

    Raises:
        EngineError: ``FAILED`` when none loads, with each one's reason; the last one's own error when the chain
            has a single entry.
    """
    failures: list[EngineError] = []
    for name in names:
        engine: Engine | None = None
        try:
            engine = create(kind, name, config)
            engine.load(progress)
            return engine
        except EngineError as error:
            failures.append(error)
            if engine is not None:
                engine.close()
            log.warning("engine.unavailable", kind=kind, engine=name, code=error.code, reason=str(error))
    if len(failures) == 1:
        raise failures[0]
    reasons = "; ".join(f"{name}: {error}" for name, error in zip(names, failures, strict=True))
    raise EngineError(
        "FAILED", f"no {kind} engine loads: {reasons or 'the chain is empty'}", f"See engines.{kind}"
    )


def preparers(
    config: Config, tensors: Callable[[str], TensorSource] | None = None, bbox_shift: int = 0
) -> list[Preparer]:
    """The preparers of every lip-sync engine in the chain, and of ``warp``, which costs next to nothing and is
    what is left when all else fails. One that does not import here is left out, with a warning.

    Args:
        config: handed to those that need it.
        tensors: who runs the networks of an engine, by the engine's name; None: nobody.
        bbox_shift: see ``preprocess_template``.
    """
    made: list[Preparer] = []
    for name in dict.fromkeys(["warp", *config.engines.lipsync]):
        module, _, attribute = PREPARERS[name].partition(":")
        try:
            factory = getattr(importlib.import_module(module), attribute)
        except ImportError as error:
            log.warning("preparer.missing", engine=name, reason=str(error))
            continue
        if name == "warp":
            made.append(factory())
        else:
            made.append(factory(config, tensors(name) if tensors else None, bbox_shift))
    return made
