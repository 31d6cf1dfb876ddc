"""The configuration, typed. ``configs/default.yaml`` documents every key; a test keeps the two equal.

Maps, never lists of stages. Frozen: read once at the edge, handed down as objects.
"""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: unknown keys are errors."""


class Endpoints(Section, frozen=True):
    """Public addresses."""

    control: str = "tcp://127.0.0.1:28880"
    stream: str = "tcp://127.0.0.1:28881"
    gateway: str | bool = "off"


class Engines(Section, frozen=True):
    """Engine chains: the first is chosen, the rest is the fallback chain."""

    asr: list[str] = msgspec.field(default_factory=lambda: ["pocketsphinx"])
    llm: list[str] = msgspec.field(default_factory=lambda: ["faq"])
    tts: list[str] = msgspec.field(default_factory=lambda: ["espeak"])
    lipsync: list[str] = msgspec.field(default_factory=lambda: ["warp"])


class Stage(Section, frozen=True):
    """How one stage's processes run. 0 or "" where the stage's own default applies."""

    instances: int = 1
    nice: int = 0
    item_timeout_s: float = 20.0
    load_timeout_s: float = 300.0
    threads: int = 1
    """OMP, BLAS and cv2 threads inside the process."""
    concurrency: int = 1
    """Handler threads."""
    credit: int = 2
    """Outstanding items (frames for lipsync, where 0 is two of the engine's largest batches)."""
    devices: str = "cpu"
    idle_exit_s: float = 0.0
    """On-demand stages end after this long without work; 0: they stay."""


class Stages(Section, frozen=True):
    """One section per stage."""

    asr: Stage = Stage(nice=2, credit=8)
    llm: Stage = Stage(nice=2, concurrency=4, credit=4, item_timeout_s=60.0)
    tts: Stage = Stage(nice=2, concurrency=4, credit=4, item_timeout_s=30.0)
    lipsync: Stage = Stage(nice=5, credit=64)
    fallback: Stage = Stage(nice=5, credit=64)
    encode: Stage = Stage(instances=2, nice=5, item_timeout_s=10.0)
    prepare: Stage = Stage(nice=15, item_timeout_s=300.0, credit=1, idle_exit_s=60.0)


class Timeline(Section, frozen=True):
    """Media time; the lengths are multiples of 320 ms except ``lead_ms``."""

    lead_ms: int = 1000
    idle_lead_ms: int = 640
    max_segment_ms: int = 1280
    skip_frames: int = 1
    """2: live sessions have every other frame generated and the rest interpolated, where the engine can."""


class Limits(Section, frozen=True):
    """What the daemon accepts."""

    sessions: int = 64
    turns_waiting: int = 8
    text_chars: int = 20_000
    control_bytes: int = 33_554_432
    subscribers: int = 256
    session_idle_s: float = 600.0
    audio_bytes_waiting: int = 67_108_864
    """Client audio of one session that is accepted and not yet rendered."""
    utterance_s: float = 60.0
    """The longest utterance that is kept for replay; a longer one is ended."""
    history_messages: int = 40


class Ring(Section, frozen=True):
    """What a late client can still fetch."""

    bytes_per_session: int = 33_554_432
    events_per_session: int = 4096
    keep_s: float = 60.0


class Supervisor(Section, frozen=True):
    """Restart policy (OTP's intensity and period)."""

    beat_s: float = 1.0
    beats_missed: int = 5
    backoff_s: list[float] = msgspec.field(default_factory=lambda: [0, 0.5, 1, 2, 4, 8, 16, 30])
    intensity: int = 5
    window_s: float = 60.0
    stop_s: float = 10.0
    """From SIGTERM to SIGKILL when the daemon stops."""
    fence_s: float = 2.0
    """How long a broker may take to answer FENCED before it counts as hung."""
    pass_environment: list[str] = msgspec.field(default_factory=list)
    """Variables that processes get beside ``supervision.environment.PASSED``; a name may end in "*"."""


class Templates(Section, frozen=True):
    """The template cache."""

    cache_bytes: int = 8_589_934_592
    """Beyond this, templates that were not shown for longest are deleted."""
    max_video_s: float = 20.0


class Video(Section, frozen=True):
    """H.264 and AAC settings."""

    preset: str = "ultrafast"
    crf: int = 23
    audio_kbps: int = 96


class Asr(Section, frozen=True):
    """Hearing."""

    language: str = "en"
    vad_threshold: float = 0.5
    min_speech_ms: int = 160
    min_silence_ms: int = 500
    pad_ms: int = 240
    """Audio kept before the first voiced sample."""


class FasterWhisper(Section, frozen=True):
    """The recogniser faster_whisper; its files are below ``weights_dir``."""

    model: str = "base"
    """A size below ``weights_dir``, or the path of a folder."""
    device: str = "auto"
    compute_type: str = "auto"
    """"auto": float16 on a GPU, int8 on a CPU."""
    beam_size: int = 1
    hotwords: str = ""
    """"": the rarest words of the FAQ's questions, where the FAQ answers."""


class Llm(Section, frozen=True):
    """Answering."""

    faq: str = ""
    """Path of a FAQ file; "" is the bundled one."""
    system_prompt: str = ""


class Tts(Section, frozen=True):
    """Speaking."""

    voice: str = ""
    words_per_minute: int = 165


class EdgeTts(Section, frozen=True):
    """The voice edge_tts."""

    endpoint: str = ""
    """ws:// or wss:// of a relay that speaks Edge's protocol; "": the service."""
    voice: str = ""
    rate: str = "+0%"
    volume: str = "+0%"
    pitch: str = "+0Hz"


class Hibari(Section, frozen=True):
    """The voice hibari."""

    voice: str = "heart"


class Musetalk(Section, frozen=True):
    """The lip-sync engine musetalk; its files are below ``weights_dir``."""

    version: str = "v15"
    tier: str = "high"
    """"lossless": the definition itself; "high": the same mathematics, faster; "fast": a small decoder."""
    dtype: str = "auto"
    """"auto": float16 on a GPU, float32 on a CPU."""
    max_batch: int = 32
    graphs: bool = True
    """CUDA graphs, one per batch size."""
    encoder_steps: int = 1500
    """Steps of 20 ms that the audio encoder sees at once; 1500 as in training."""
    preparation: str = "refined"
    parsing: str = "jaw"


class PerKind(Section, frozen=True):
    """Seconds for each kind of engine whose chain switches inside its process."""

    asr: float
    llm: float
    tts: float


class Chain(Section, frozen=True):
    """When the next engine of a chain takes over."""

    first_output_s: PerKind = PerKind(asr=8, llm=8, tts=1.5)
    next_output_s: PerKind = PerKind(asr=8, llm=10, tts=3)
    break_after: int = 2
    """Failures in a row after which an engine is passed over."""
    probe_s: float = 15
    """How long it is passed over before it is tried with an item of the daemon's own."""


class Ollama(Section, frozen=True):
    """The language model engine ollama."""

    host: str = "http://127.0.0.1:11434"
    model: str = "qwen2.5:7b"
    think: bool = False
    keep_alive: str = "30m"
    options: dict[str, bool | int | float | str | list[str]] = msgspec.field(default_factory=dict)
    """Handed to the server: temperature, top_p, stop, ..."""
    num_ctx: int = 8192


class Openai(Section, frozen=True):
    """The language model engine openai: any server that speaks its protocol."""

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    """"": the server's first."""
    api_key_env: str = "OPENAI_API_KEY"


class Log(Section, frozen=True):
    """Logging."""

    level: str = "info"
    format: str = "auto"
    """"auto": readable on a terminal, else JSON; "json"; "console"."""


class Config(Section, frozen=True):
    """Everything."""

    endpoints: Endpoints = Endpoints()
    runtime_dir: str = ""
    """"": $RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/musecast, else /tmp/musecast-<uid>."""
    state_dir: str = ""
    """"": $STATE_DIRECTORY, else $XDG_STATE_HOME/musecast, else ~/.local/state/musecast."""
    weights_dir: str = ""
    template_roots: list[str] = msgspec.field(default_factory=list)
    engines: Engines = Engines()
    stages: Stages = Stages()
    timeline: Timeline = Timeline()
    limits: Limits = Limits()
    ring: Ring = Ring()
    supervisor: Supervisor = Supervisor()
    templates: Templates = Templates()
    video: Video = Video()
    asr: Asr = Asr()
    faster_whisper: FasterWhisper = FasterWhisper()
    llm: Llm = Llm()
    tts: Tts = Tts()
    edge_tts: EdgeTts = EdgeTts()
    hibari: Hibari = Hibari()
    chain: Chain = Chain()
    ollama: Ollama = Ollama()
    openai: Openai = Openai()
    musetalk: Musetalk = Musetalk()
    log: Log = Log()
