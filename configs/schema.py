"""The configuration, typed. ``configs/default.yaml`` documents every key; a test keeps the two equal.

What a value may be stands beside its field, where ``checks`` reads it. Maps, never lists of stages. Frozen: read
once at the edge, handed down as objects.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import msgspec

from configs.grid import MAX_SEGMENT_MS, QUANTUM_MS

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
COMPUTE_TYPES = (
    "auto", "default", "int8", "int8_float16", "int8_float32", "int8_bfloat16", "int16", "float16", "bfloat16",
    "float32",
)  # fmt: skip


class Range(NamedTuple):
    """Inclusive limits of a number, for the error message and the check alike."""

    low: float
    high: float
    unit: str = ""


class Choice(NamedTuple):
    """The words that a setting may be."""

    words: tuple[str, ...]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: unknown keys are errors."""


class Endpoints(Section, frozen=True):
    """Public addresses."""

    control: str = "tcp://127.0.0.1:28880"
    stream: str = "tcp://127.0.0.1:28881"
    gateway: str | bool = "auto"
    """"auto", "off" (which YAML reads as False), or an address, see ``configs.gateway``."""


class Security(Section, frozen=True):
    """Who may use the two sockets; see ``configs.keys``."""

    curve: bool = False
    secret_key_file: str = ""
    """The daemon's own; "": <state_dir>/keys/server.key_secret, which is made where it is missing."""
    clients_dir: str = ""
    """The public keys of those that are let in; "": <state_dir>/keys/clients."""


class Gateway(Section, frozen=True):
    """HTTP and WebSocket."""

    token: str = ""
    token_file: str = ""
    allowed_hosts: list[str] = msgspec.field(default_factory=list)
    """Names in ``Host`` beside the address itself and those of the loopback."""
    allowed_origins: list[str] = msgspec.field(default_factory=list)
    """Origins of pages elsewhere that may use it, such as https://www.example.org."""
    max_body_bytes: Annotated[int, Range(65_536, 67_108_864, " bytes")] = 33_554_432
    viewers: Annotated[int, Range(1, 10_000)] = 256
    webrtc: bool = False
    """WHEP; needs the extra ``webrtc``."""
    webrtc_viewers: Annotated[int, Range(1, 64)] = 8
    stun: list[str] = msgspec.field(default_factory=list)
    """Addresses such as stun:stun.example.org:3478."""
    livetalking: bool = False
    """The routes of LiveTalking."""


class Engines(Section, frozen=True):
    """Engine chains: the first is chosen, the rest is the fallback chain."""

    asr: list[str] = msgspec.field(default_factory=lambda: ["pocketsphinx"])
    llm: list[str] = msgspec.field(default_factory=lambda: ["faq"])
    tts: list[str] = msgspec.field(default_factory=lambda: ["hibari", "espeak"])
    lipsync: list[str] = msgspec.field(default_factory=lambda: ["warp"])


class Stage(Section, frozen=True):
    """How one stage's processes run. 0 or "" where the stage's own default applies."""

    instances: Annotated[int, Range(1, 64)] = 1
    nice: Annotated[int, Range(0, 19)] = 0
    item_timeout_s: Annotated[float, Range(0.1, 3600, " s")] = 20.0
    load_timeout_s: Annotated[float, Range(0.1, 3600, " s")] = 300.0
    threads: Annotated[int, Range(1, 256)] = 1
    """OMP, BLAS and cv2 threads inside the process."""
    concurrency: Annotated[int, Range(1, 64)] = 1
    """Handler threads."""
    credit: Annotated[int, Range(1, 4096)] = 2
    """Outstanding items (frames for lipsync, where 0 is two of the engine's largest batches)."""
    devices: str = "cpu"
    idle_exit_s: Annotated[float, Range(0, 86_400, " s")] = 0.0
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
    """Media time; the lengths are multiples of 320 ms except those of speech's lead."""

    lead_ms: Annotated[int, Range(40, 60_000, " ms")] = 1000
    least_lead_ms: Annotated[int, Range(40, 60_000, " ms")] = 400
    """``lead_ms`` where that is less."""
    idle_lead_ms: Annotated[int, Range(QUANTUM_MS, 60_000, " ms")] = 640
    max_segment_ms: Annotated[int, Range(QUANTUM_MS, MAX_SEGMENT_MS, " ms")] = 1280
    mode: Annotated[str, Choice(("realtime", "offline"))] = "realtime"
    """Of a session that is started without saying so."""
    skip_frames: Annotated[int, Range(1, 2)] = 1
    """2: live sessions have every other frame generated and the rest interpolated, where the engine can."""


class Limits(Section, frozen=True):
    """What the daemon accepts."""

    sessions: Annotated[int, Range(1, 10_000)] = 64
    sessions_per_client: Annotated[int, Range(0, 10_000)] = 0
    """0: no limit."""
    turns_waiting: Annotated[int, Range(0, 1000)] = 8
    text_chars: Annotated[int, Range(1, 1_000_000)] = 20_000
    control_bytes: Annotated[int, Range(65_536, 67_108_864, " bytes")] = 33_554_432
    requests_per_s: Annotated[int, Range(10, 100_000)] = 5000
    subscribers: Annotated[int, Range(1, 100_000)] = 256
    session_idle_s: Annotated[float, Range(1, 86_400, " s")] = 600.0
    speech_waiting_s: Annotated[float, Range(1, 1_000_000, " s")] = 600.0
    """Speech of all realtime sessions that is accepted and not published; beyond it each has only its share."""
    audio_bytes_waiting: Annotated[int, Range(65_536, 1 << 40, " bytes")] = 67_108_864
    """Client audio of one session that is accepted and not yet rendered."""
    audio_bytes_total: Annotated[int, Range(65_536, 1 << 40, " bytes")] = 134_217_728
    """The same of all sessions; beyond it each has only its share."""
    utterance_s: Annotated[float, Range(1, 600, " s")] = 60.0
    """The longest utterance that is kept for replay; a longer one is ended."""
    history_messages: Annotated[int, Range(2, 10_000)] = 40


class Ring(Section, frozen=True):
    """What a late client can still fetch."""

    bytes_per_session: Annotated[int, Range(1 << 20, 1 << 40, " bytes")] = 33_554_432
    events_per_session: Annotated[int, Range(16, 1_000_000)] = 4096
    keep_s: Annotated[float, Range(0, 86_400, " s")] = 60.0


class Journal(Section, frozen=True):
    """What of the sessions outlives a broker that dies; it lies in ``runtime_dir``."""

    max_bytes: Annotated[int, Range(0, 1 << 44, " bytes")] = 0
    """Of the rings of all sessions together; one beyond it is served without. 0: a quarter of what is free."""


class Supervisor(Section, frozen=True):
    """Restart policy (OTP's intensity and period)."""

    beat_s: Annotated[float, Range(0.05, 60, " s")] = 1.0
    beats_missed: Annotated[int, Range(2, 1000)] = 5
    backoff_s: list[float] = msgspec.field(default_factory=lambda: [0, 0.5, 1, 2, 4, 8, 16, 30])
    intensity: Annotated[int, Range(1, 1000)] = 5
    window_s: Annotated[float, Range(0.1, 86_400, " s")] = 60.0
    stop_s: Annotated[float, Range(0.5, 600, " s")] = 10.0
    """From SIGTERM to SIGKILL when the daemon stops."""
    fence_s: Annotated[float, Range(0.1, 60, " s")] = 2.0
    """How long a broker may take to answer FENCED before it counts as hung."""
    pass_environment: list[str] = msgspec.field(default_factory=list)
    """Variables that processes get beside ``supervision.environment.PASSED``; a name may end in "*"."""


class Templates(Section, frozen=True):
    """The template cache."""

    cache_bytes: Annotated[int, Range(0, 1 << 44, " bytes")] = 8_589_934_592
    """Beyond this, templates that were not shown for longest are deleted."""
    max_video_s: Annotated[float, Range(1, 60, " s")] = 20.0


class Video(Section, frozen=True):
    """H.264 and AAC settings."""

    preset: Annotated[str, Choice(("auto", *X264_PRESETS))] = "auto"
    """"auto": the fastest with what pays, lighter where there is no time; see ``models.media.h264``."""
    crf: Annotated[int, Range(0, 51)] = 23
    max_kbps: Annotated[int, Range(0, 1_000_000, " kbit/s")] = 4000
    """Over any second of a stream, sound included; 0: none."""
    audio_kbps: Annotated[int, Range(32, 320, " kbit/s")] = 96


class Asr(Section, frozen=True):
    """Hearing."""

    language: str = "en"
    vad_threshold: Annotated[float, Range(0, 1)] = 0.5
    min_speech_ms: Annotated[int, Range(0, 10_000, " ms")] = 160
    min_silence_ms: Annotated[int, Range(32, 10_000, " ms")] = 500
    finished_silence_ms: Annotated[int, Range(64, 10_000, " ms")] = 250
    """The same where the text is a finished sentence, or may be one."""
    echo_control: bool | Literal["auto"] = "auto"
    """What the avatar says is told from a person's voice where both reach the microphone; auto: unless the client
    says that it takes its loudspeaker's sound out itself."""
    barge_in_ms: Annotated[int, Range(0, 10_000, " ms")] = 400
    """So much voice interrupts what is being spoken, whatever it says."""
    pad_ms: Annotated[int, Range(0, 5000, " ms")] = 240
    """Audio kept before the first voiced sample."""


class FasterWhisper(Section, frozen=True):
    """The recogniser faster_whisper; its files are below ``weights_dir``."""

    model: str = "base"
    """A size below ``weights_dir``, or the path of a folder."""
    device: str = "auto"
    compute_type: Annotated[str, Choice(COMPUTE_TYPES)] = "auto"
    """"auto": float16 on a GPU, int8 on a CPU."""
    beam_size: Annotated[int, Range(1, 10)] = 1
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
    words_per_minute: Annotated[int, Range(80, 450)] = 165


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

    version: Annotated[str, Choice(("v15", "v10"))] = "v15"
    tier: Annotated[str, Choice(("lossless", "high", "fast"))] = "high"
    """"lossless": the definition itself; "high": the same mathematics, faster; "fast": a small decoder."""
    dtype: Annotated[str, Choice(("auto", "float32", "float16", "bfloat16"))] = "auto"
    """"auto": float16 on a GPU, float32 on a CPU."""
    max_batch: Annotated[int, Range(1, 64)] = 32
    graphs: bool = True
    """CUDA graphs, one per batch size."""
    encoder_steps: Annotated[int, Range(120, 1500)] = 1500
    """Steps of 20 ms that the audio encoder sees at once; 1500 as in training."""
    preparation: Annotated[str, Choice(("refined", "strict"))] = "refined"
    parsing: Annotated[str, Choice(("jaw", "neck", "raw"))] = "jaw"


class PerKind(Section, frozen=True):
    """Seconds for each kind of engine whose chain switches inside its process."""

    asr: Annotated[float, Range(0.1, 600, " s")]
    llm: Annotated[float, Range(0.1, 600, " s")]
    tts: Annotated[float, Range(0.1, 600, " s")]


class Chain(Section, frozen=True):
    """When the next engine of a chain takes over."""

    first_output_s: PerKind = PerKind(asr=8, llm=8, tts=1.5)
    next_output_s: PerKind = PerKind(asr=8, llm=10, tts=3)
    break_after: Annotated[int, Range(1, 100)] = 2
    """Failures in a row after which an engine is passed over."""
    probe_s: Annotated[float, Range(0.1, 3600, " s")] = 15
    """How long it is passed over before it is tried with an item of the daemon's own."""


class Recordings(Section, frozen=True):
    """Sessions that were started with ``record: true``, as files below ``state_dir``."""

    max_bytes: Annotated[int, Range(0, 1 << 44, " bytes")] = 4_294_967_296
    keep_h: Annotated[float, Range(0, 87_600, " h")] = 24.0


class Ollama(Section, frozen=True):
    """The language model engine ollama."""

    host: str = "http://127.0.0.1:11434"
    model: str = "qwen2.5:7b"
    think: bool = False
    keep_alive: str = "30m"
    options: dict[str, bool | int | float | str | list[str]] = msgspec.field(default_factory=dict)
    """Handed to the server: temperature, top_p, stop, ..."""
    num_ctx: Annotated[int, Range(512, 1_048_576, " tokens")] = 8192


class Openai(Section, frozen=True):
    """The language model engine openai: any server that speaks its protocol."""

    base_url: str = "http://127.0.0.1:8000/v1"
    model: str = ""
    """"": the server's first."""
    api_key_env: str = "OPENAI_API_KEY"


class Log(Section, frozen=True):
    """Logging."""

    level: Annotated[str, Choice(("debug", "info", "warning", "error"))] = "info"
    format: Annotated[str, Choice(("auto", "json", "console"))] = "auto"
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
    security: Security = Security()
    gateway: Gateway = Gateway()
    recordings: Recordings = Recordings()
    limits: Limits = Limits()
    ring: Ring = Ring()
    journal: Journal = Journal()
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
