"""What turns of a profile take: our own share of them, spoken questions by step, interruptions, broken voices.

A profile's servers are local ones that speak the real protocols and take a known time, so that what is left is
ours. MuseTalk and large recognisers are stood in for by warp and Whisper base: their own time is not in question.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks._common import percentile
from clients.cli.private import private_daemon
from configs.schema import Asr
from models.asr.endpointing import Confirmed, Endpointer
from models.asr.vad import VoiceDetector
from models.media.resample import Resampler
from tests.engines.servers.edge import EdgeServer, edge_server
from tests.engines.servers.ollama import OllamaServer
from tests.support import whisper
from tests.support.client import TERMINAL, Session, Stranger
from tests.support.microphone import PIECE_S, Microphone, question

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
MODEL_S, VOICE_S = 0.2, 0.1
"""Until the first token and until the first sound of the local servers."""
SHARE_P50_MS, SHARE_P95_MS = 150, 300
SPOKEN_P50_MS = 2500
BARGE_IN_P95_MS = {1: 100, 4: 200}
DROP_S, STALL_S = 1.5, 4.5
STEPS = (
    ("silence that ends it", "", "vad_end"),
    ("words", "vad_end", "asr_final"),
    ("answer begins", "asr_final", "llm_first_token"),
    ("first sentence", "llm_first_token", "llm_first_sentence"),
    ("voice begins", "llm_first_sentence", "tts_first_audio"),
    ("lip-sync", "tts_first_audio", "lipsync_first"),
    ("encoder", "lipsync_first", "encode_first"),
    ("published", "encode_first", "first_segment"),
)
LONG = "I talk and talk about the weather, and nobody stops me until somebody asks something. " * 12
SENTENCE = "Yesterday we walked to the market, bought seven red apples, and gave them to the children."
BREAK_AFTER = 5
"""Words of it."""

Row = tuple[str, str, str]


class Profile(NamedTuple):
    """A configuration as it runs here."""

    name: str
    config: Path | None
    overrides: tuple[str, ...]
    model_s: float = 0.0
    """The servers' own time until the first token,"""
    voice_s: float = 0.0
    """and until the first sound."""


class Servers(NamedTuple):
    """The local ones."""

    ollama: OllamaServer
    edge: EdgeServer


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """Both, with the time they take."""
    models = OllamaServer(models=("qwen2.5:1.5b", "qwen2.5:7b"))
    models.first_s = MODEL_S
    try:
        with edge_server() as edge:
            edge.first_s = VOICE_S
            yield Servers(models, edge)
    finally:
        models.close()


def profiles(here: Servers) -> list[Profile]:
    """Default, laptop and gpu."""
    ears: tuple[str, ...] = (
        f"faster_whisper.model={whisper.model()}",
        "faster_whisper.device=cpu",
        "asr.language=en",
    )
    ears += ("faster_whisper.compute_type=int8", f"ollama.host={here.ollama.url}")
    voice = (f"edge_tts.endpoint={here.edge.url}", "engines.lipsync=[warp]", "stages.asr.threads=2")
    return [
        Profile("default", None, ()),
        Profile("laptop", CONFIGS / "laptop.yaml", ears, MODEL_S),
        Profile("gpu", CONFIGS / "gpu.yaml", (*ears, *voice), MODEL_S, VOICE_S),
    ]


@contextlib.contextmanager
def running(profile: Profile, *overrides: str) -> Iterator[Stranger]:
    """A client of a daemon of its own."""
    with private_daemon(profile.config, [*profile.overrides, *overrides]) as client:
        stranger = Stranger(client.control, client.stream)
        try:
            yield stranger
        finally:
            stranger.close()


def _timings(session: Session, turn: int) -> dict[str, int]:
    ended: dict[str, int] = session.wait_ended(turn)["data"]["timings_ms"]
    return ended


def share_rows(stranger: Stranger, profile: Profile, turns: int) -> tuple[list[float], list[Row]]:
    """Our share of a typed question's answer: what its client waits for the first segment beside the servers."""
    session = stranger.session()
    found = []
    for number in range(turns + 1):
        begun = time.monotonic()
        turn = session.ok("chat", text="Who are you?")["turn"]
        session.wait_media(1, turn)
        first = session.of_turn(turn)[0].at - begun
        session.ok("interrupt")
        session.wait_event("turn.interrupted", turn=turn)
        if number:  # the first warms up
            found.append(1000 * (first - profile.model_s - profile.voice_s))
    session.end()
    rows = [
        (f"our share of a turn, p50 of {turns}", f"{percentile(found, 0.5):.0f} ms", f"{SHARE_P50_MS} ms"),
        ("... p95", f"{percentile(found, 0.95):.0f} ms", f"{SHARE_P95_MS} ms"),
    ]
    return found, rows


def spoken(stranger: Stranger, questions: int) -> list[dict[str, int]]:
    """``timings_ms`` of a spoken question's answers."""
    found = []
    for _ in range(questions):
        session = stranger.session()
        microphone = Microphone(session, *question())
        turn = session.wait_event("user.speech.started")["turn"]
        found.append(_timings(session, turn))
        microphone.stop()
        session.end()
    return found


def spoken_rows(found: list[dict[str, int]], bound_ms: int | None = SPOKEN_P50_MS) -> list[Row]:
    """The way of the median one, step by step."""
    middle = sorted(found, key=lambda one: one["first_segment"])[len(found) // 2]
    bound = f"{bound_ms} ms" if bound_ms else ""
    what = f"end of a spoken question to the first segment, p50 of {len(found)}"
    rows = [(what, f"{middle['first_segment']} ms", bound)]
    for name, since, until in STEPS:
        rows.append((f"... {name}", f"{middle[until] - (middle[since] if since else 0)} ms", ""))
    return rows


def confirmed_at() -> float:
    """Seconds into the bundled question at which its voice is long enough to interrupt."""
    sound, rate = question()
    resampler = Resampler(rate, 16_000)
    detector, ends = VoiceDetector(), Endpointer(Asr(), 60.0)
    detector.load(lambda *_: None)
    pcm = np.concatenate([resampler.feed(sound), resampler.flush(len(sound))])
    for probability in detector.stream().feed(pcm):
        for event in ends.window(float(probability)):
            if isinstance(event, Confirmed):
                return event.at / 16_000
    raise AssertionError("nobody speaks in the question")


def barge_in_ms(stranger: Stranger, sessions: int, rounds: int) -> list[float]:
    """From the arrival of the sound that confirms the voice to the last segment of what was said before it."""
    at, found = int(confirmed_at() / PIECE_S), []
    for _ in range(rounds):
        talking = [stranger.session() for _ in range(sessions)]
        turns = [session.say(LONG) for session in talking]
        for session, turn in zip(talking, turns, strict=True):
            session.wait_media(3, turn)
        microphones = [Microphone(session, *question()) for session in talking]
        for session, turn, microphone in zip(talking, turns, microphones, strict=True):
            session.wait_event("turn.interrupted", turn=turn)
            session.wait_event("transcript.final")
            microphone.stop()
            cut = next(m.at for m in session.all if m.header.get("event") == "turn.interrupted")
            last = max(m.at for m in session.media if m.header["turn"] == turn)
            found.append(1000 * (max(cut, last) - microphone.sent_at[at]))
            session.end(drain=False)
    return found


def gap_s(stranger: Stranger, edge: EdgeServer, fault: str) -> float:
    """For how long a viewer who shows the first segment at once waits in the middle of a sentence."""
    edge.fault, edge.after_words = fault, BREAK_AFTER
    session = stranger.session()
    turn = session.say(SENTENCE)
    session.wait_event(*TERMINAL, turn=turn)
    edge.fault = ""
    media = [m for m in session.media if m.header["turn"] == turn]
    first = media[0]
    late = [m.at - first.at - (m.header["pts"] - first.header["pts"]) / 1e6 for m in media]
    session.end()
    return max(0.0, *late)


def run_profile(profile: Profile, here: Servers, turns: int, questions: int) -> tuple[dict[str, float], list[Row]]:
    """Everything that is measured of a profile."""
    with running(profile) as stranger:
        share, rows = share_rows(stranger, profile, turns)
        found = {"share_p50_ms": percentile(share, 0.5), "share_p95_ms": percentile(share, 0.95)}
        rows += spoken_rows(spoken(stranger, questions), None)
        for sessions, bound in BARGE_IN_P95_MS.items():
            waits = barge_in_ms(stranger, sessions, max(1, questions * 2 // sessions))
            found[f"barge_in_{sessions}_p95_ms"] = percentile(waits, 0.95)
            what = f"voice confirmed to the last old segment, {sessions} sessions, p95 of {len(waits)}"
            rows.append((what, f"{percentile(waits, 0.95):.0f} ms", f"{bound} ms"))
        if profile.voice_s:
            for fault, limit in (("drop", DROP_S), ("stall", STALL_S)):
                found[f"{fault}_gap_s"] = gap = gap_s(stranger, here.edge, fault)
                rows.append((f"Edge's {fault} in mid-sentence: gap", f"{gap:.2f} s", f"{limit} s"))
    return found, rows


def run_spoken(profile: Profile, questions: int) -> tuple[dict[str, float], list[tuple[str, list[Row]]]]:
    """A question from the FAQ through Whisper base and hibari, and what shortens it."""
    ways: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("two threads, hotwords, finished-sentence rule", ()),
        ("one thread", ("stages.asr.threads=1",)),
        ("always the whole silence", ("asr.finished_silence_ms=500",)),
    )
    found: dict[str, float] = {}
    tables: list[tuple[str, list[Row]]] = []
    for name, overrides in ways:
        with running(profile, "engines.llm=[faq]", *overrides) as stranger:
            spoken(stranger, 1)
            timings = spoken(stranger, questions)
        bound = None if tables else SPOKEN_P50_MS
        found[name] = percentile([one["first_segment"] for one in timings], 0.5)
        tables.append((name, spoken_rows(timings, bound)))
    return found, tables
