"""Rules that types cannot say: ranges, lengths on the segment grid, addresses. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from configs.grid import MAX_SEGMENT_MS, QUANTUM_MS
from configs.schema import Config, Stage
from configs.stages import ON_DEMAND, STAGES

X264_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
)
NOT_REENTRANT = frozenset({"musetalk"})
"""Lip-sync engines that only one thread may use, as they say themselves (``LipSync.reentrant``)."""
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "json", "console")


class Finding(NamedTuple):
    """A broken rule: the key path it is about, the fact with its limit, and the next step (may be empty)."""

    key: str
    message: str
    hint: str = ""


class Range(NamedTuple):
    """Inclusive limits of a number, for the error message and the check alike."""

    low: float
    high: float
    unit: str = ""


_STAGE: dict[str, Range] = {
    "instances": Range(1, 64),
    "nice": Range(0, 19),
    "item_timeout_s": Range(0.1, 3600, " s"),
    "load_timeout_s": Range(0.1, 3600, " s"),
    "threads": Range(1, 256),
    "concurrency": Range(1, 64),
    "credit": Range(1, 4096),
    "idle_exit_s": Range(0, 86_400, " s"),
}
_FRAMES = Range(0, 4096, " frames")
"""Credit of a lip-sync stage; 0: as its engine's batches have it."""
_RANGES: dict[str, Range] = {
    "timeline.lead_ms": Range(40, 60_000, " ms"),
    "timeline.idle_lead_ms": Range(QUANTUM_MS, 60_000, " ms"),
    "timeline.max_segment_ms": Range(QUANTUM_MS, MAX_SEGMENT_MS, " ms"),
    "timeline.skip_frames": Range(1, 2),
    "limits.sessions": Range(1, 10_000),
    "limits.turns_waiting": Range(0, 1000),
    "limits.text_chars": Range(1, 1_000_000),
    "limits.control_bytes": Range(65_536, 67_108_864, " bytes"),
    "limits.subscribers": Range(1, 100_000),
    "limits.session_idle_s": Range(1, 86_400, " s"),
    "limits.audio_bytes_waiting": Range(65_536, 1 << 40, " bytes"),
    "limits.utterance_s": Range(1, 600, " s"),
    "limits.history_messages": Range(2, 10_000),
    "ring.bytes_per_session": Range(1 << 20, 1 << 40, " bytes"),
    "ring.events_per_session": Range(16, 1_000_000),
    "ring.keep_s": Range(0, 86_400, " s"),
    "supervisor.beat_s": Range(0.05, 60, " s"),
    "supervisor.beats_missed": Range(2, 1000),
    "supervisor.intensity": Range(1, 1000),
    "supervisor.window_s": Range(0.1, 86_400, " s"),
    "supervisor.stop_s": Range(0.5, 600, " s"),
    "supervisor.fence_s": Range(0.1, 60, " s"),
    "templates.cache_bytes": Range(0, 1 << 44, " bytes"),
    "templates.max_video_s": Range(1, 60, " s"),
    "video.crf": Range(0, 51),
    "video.audio_kbps": Range(32, 320, " kbit/s"),
    "asr.vad_threshold": Range(0, 1),
    "asr.min_speech_ms": Range(0, 10_000, " ms"),
    "asr.min_silence_ms": Range(32, 10_000, " ms"),
    "asr.pad_ms": Range(0, 5000, " ms"),
    "faster_whisper.beam_size": Range(1, 10),
    "tts.words_per_minute": Range(80, 450),
    **{
        f"chain.{key}.{kind}": Range(0.1, 600, " s")
        for key in ("first_output_s", "next_output_s")
        for kind in ("asr", "llm", "tts")
    },
    "chain.break_after": Range(1, 100),
    "chain.probe_s": Range(0.1, 3600, " s"),
    "ollama.num_ctx": Range(512, 1_048_576, " tokens"),
    "musetalk.max_batch": Range(1, 64),
    "musetalk.encoder_steps": Range(120, 1500),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "video.preset": X264_PRESETS,
    "faster_whisper.compute_type": (
        "auto", "default", "int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16",
        "float32",
    ),
    "musetalk.version": ("v15", "v10"),
    "musetalk.tier": ("lossless", "high", "fast"),
    "musetalk.dtype": ("auto", "float32", "float16", "bfloat16"),
    "musetalk.preparation": ("refined", "strict"),
    "musetalk.parsing": ("jaw", "neck", "raw"),
    "log.level": LEVELS,
    "log.format": FORMATS,
}


def _at(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _number(key: str, value: object, limits: Range) -> Iterator[Finding]:
    if not isinstance(value, int | float) or not limits.low <= value <= limits.high:
        yield Finding(key, f"{value}{limits.unit} is outside {limits.low:g} to {limits.high:g}{limits.unit}")


def _stages(config: Config) -> Iterator[Finding]:
    for name in config.stages.__struct_fields__:
        stage: Stage = getattr(config.stages, name)
        own = {"credit": _FRAMES} if STAGES[name].engines == "lipsync" else {}
        for field, limits in {**_STAGE, **own}.items():
            yield from _number(f"stages.{name}.{field}", getattr(stage, field), limits)
        if not re.fullmatch(r"cpu|auto|cuda:\d+(,cuda:\d+)*", stage.devices):
            yield Finding(
                f"stages.{name}.devices",
                f"{stage.devices!r} is not cpu, auto or a list like cuda:0,cuda:1",
            )
    if config.stages.prepare.instances != 1:
        yield Finding("stages.prepare.instances", "preparation runs in one process", "leave it at 1")
    for name, kind in STAGES.items():
        if not kind.on_demand and getattr(config.stages, name).idle_exit_s:
            yield Finding(
                f"stages.{name}.idle_exit_s",
                f"only {' and '.join(sorted(ON_DEMAND))} is started on demand",
                "leave it at 0: the other stages stay warm",
            )
    yield from _concurrency(config)


def _concurrency(config: Config) -> Iterator[Finding]:
    """Several threads would fill the same buffers, or each hold a part of a stream."""
    for name, kind in STAGES.items():
        threads = getattr(config.stages, name).concurrency
        chain = config.engines.lipsync[1:] if kind.stands_in_for else config.engines.lipsync[:1]
        alone = [engine for engine in chain if engine in NOT_REENTRANT]
        if threads > 1 and kind.engines == "lipsync" and alone:
            yield Finding(
                f"stages.{name}.concurrency",
                f"it is {threads}, but {alone[0]} does one batch at a time, for all sessions together",
                "leave it at 1; more GPUs are used by more instances",
            )
        if threads > 1 and kind.one_thread:
            yield Finding(
                f"stages.{name}.concurrency", f"it is {threads}, but {kind.one_thread}", "leave it at 1"
            )


_TCP = re.compile(r"tcp://(?P<host>\[[^\]]*\]|[^:/\s]+):(?P<port>\d{1,5})")


def _endpoint(key: str, value: str) -> Iterator[Finding]:
    match = _TCP.fullmatch(value)
    if match is None or not 1 <= int(match["port"]) <= 65_535:
        yield Finding(key, f"{value!r} is not an address of the form tcp://127.0.0.1:PORT, PORT from 1 to 65535")
    elif match["host"] == "localhost":
        yield Finding(key, f"{value!r} must name its address in numbers", "write 127.0.0.1 or [::1]")
    elif not re.fullmatch(r"127(\.\d{1,3}){3}|\[::1\]", match["host"]):
        yield Finding(
            key,
            f"{value!r} can be reached from other machines, and this socket has no authentication",
            "CURVE for ZeroMQ is not available in this version: bind tcp://127.0.0.1:"
            f"{match['port']} and let others in through a tunnel, e.g. "
            f"ssh -L {match['port']}:127.0.0.1:{match['port']}",
        )


def _endpoints(config: Config) -> Iterator[Finding]:
    yield from _endpoint("endpoints.control", config.endpoints.control)
    yield from _endpoint("endpoints.stream", config.endpoints.stream)
    if config.endpoints.control == config.endpoints.stream:
        yield Finding("endpoints.stream", "control and stream share one address", "give each a port of its own")


def _timeline(config: Config) -> Iterator[Finding]:
    for name in ("idle_lead_ms", "max_segment_ms"):
        value = getattr(config.timeline, name)
        if value % QUANTUM_MS:
            below = max(QUANTUM_MS, value // QUANTUM_MS * QUANTUM_MS)
            yield Finding(
                f"timeline.{name}",
                f"{value} ms is not a multiple of {QUANTUM_MS} ms, the smallest segment",
                f"the next ones are {below} and {below + QUANTUM_MS}",
            )


def _servers(config: Config) -> Iterator[Finding]:
    for key in ("ollama.host", "openai.base_url"):
        url = str(_at(config, key))
        if not re.fullmatch(r"https?://([^\s/:\[\]]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?(/\S*)?", url):
            yield Finding(key, f"{url!r} is not an address of the form http://127.0.0.1:11434")


def findings(config: Config) -> Iterator[Finding]:
    """All broken rules of a configuration whose types are already right."""
    for key, limits in _RANGES.items():
        yield from _number(key, _at(config, key), limits)
    for key, choices in _CHOICES.items():
        if _at(config, key) not in choices:
            yield Finding(key, f"{_at(config, key)!r} is not one of {', '.join(choices)}")
    yield from _stages(config)
    yield from _endpoints(config)
    yield from _timeline(config)
    yield from _servers(config)
    for name, chain in msgspec.structs.asdict(config.engines).items():
        if not chain:
            yield Finding(f"engines.{name}", "an engine chain needs at least one engine")
    if not config.supervisor.backoff_s:
        yield Finding("supervisor.backoff_s", "a list of waits in seconds needs at least one entry")
    for wait in config.supervisor.backoff_s:
        yield from _number("supervisor.backoff_s", wait, Range(0, 3600, " s"))
