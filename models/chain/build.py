"""Chains as the configuration has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from configs.schema import Config
from models.api import Engine, Responder, Synthesizer, Transcriber
from models.chain import responder, synthesizer, transcriber
from models.chain.chain import Chain
from models.chain.policy import Limits
from models.meter import Meter
from models.registry import create

LAST_SHARE = 0.8
"""Of ``item_timeout_s``, at whose end the whole process would be replaced."""

E = TypeVar("E", bound=Engine)


def limits(kind: str, config: Config) -> Limits:
    """The limits of one kind."""
    chain = config.chain
    return Limits(
        getattr(chain.first_output_s, kind),
        getattr(chain.next_output_s, kind),
        chain.break_after,
        chain.probe_s,
        LAST_SHARE * getattr(config.stages, kind).item_timeout_s,
    )


def responders(config: Config, meter: Meter) -> responder.ChainResponder:
    """``engines.llm``, not yet loaded."""
    chain: Chain[Responder] = Chain(
        "llm", _factories("llm", config), limits("llm", config), meter, responder.probe
    )
    return responder.ChainResponder(chain)


def synthesizers(config: Config, meter: Meter) -> synthesizer.ChainSynthesizer:
    """``engines.tts``, not yet loaded."""
    chain: Chain[Synthesizer] = Chain(
        "tts", _factories("tts", config), limits("tts", config), meter, synthesizer.probe
    )
    return synthesizer.ChainSynthesizer(chain)


def transcribers(config: Config, meter: Meter) -> transcriber.ChainTranscriber:
    """``engines.asr``, not yet loaded."""
    chain: Chain[Transcriber] = Chain(
        "asr", _factories("asr", config), limits("asr", config), meter, transcriber.probe
    )
    return transcriber.ChainTranscriber(chain)


def _factories(kind: str, config: Config) -> dict[str, Callable[[], Any]]:
    return {name: partial(create, kind, name, config) for name in getattr(config.engines, kind)}
