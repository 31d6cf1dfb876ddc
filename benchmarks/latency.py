"""From ``say`` to the first published segment: warm, and from a cold start.

Warm: a session is open, the daemon idle; from sending the request to having received the first media message,
as a client sees it. Cold: from starting the daemon's process to the first media message of a first ``say``; once
with the built-in templates on disk, once with an empty ``state_dir`` (they are made then).
Own audio: warm, 2 s of speech in one ``process_segment``, from the request to the first media message.

Then a table per profile, with local servers that speak the real protocols and take a known time: our own share
of a turn, a spoken question step by step, how soon a voice interrupts, how long a broken voice is missed;
and the question through Whisper base and hibari, with what shortens it (``_turns``).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time

from benchmarks import _turns
from benchmarks._common import percentile, report
from clients.cli.private import private_daemon
from clients.cli.session import Session, own_session
from clients.client import Client
from configs.grid import FPS
from tests.support.speaking import speech

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind."
SPEECH_FRAMES = 2 * FPS
FIRST_TIMEOUT_S = 30.0
WARM_P50_MS = 300
WARM_P95_MS = 500
AUDIO_P50_MS = 100
AUDIO_P95_MS = 200
COLD_S = 10.0


def first_segment_s(client: Client, template: str) -> float:
    """Seconds from the request to the first media, on a new session."""
    with own_session(client, template_id=template) as session:
        asked = time.monotonic()
        turn = session.request("say", text=TEXT)["turn"]
        arrived = _first_media(session)
        session.request("interrupt", turn=turn)
        return arrived - asked


def first_of_audio_s(client: Client, template: str, audio: bytes) -> float:
    """The same for a client's own audio."""
    with own_session(client, template_id=template) as session:
        asked = time.monotonic()
        session.request("process_segment", audio=audio, format="s16le", sample_rate=48_000, last=True)
        return _first_media(session) - asked


def _first_media(session: Session) -> float:
    """When it arrives, of a session that has had none."""
    while True:
        message = session.follower.receive(FIRST_TIMEOUT_S)
        if message is None:
            raise TimeoutError(f"no media within {FIRST_TIMEOUT_S} s")
        if message.header.get("kind") == "media":
            return time.monotonic()


def cold_s(state_dir: str, template: str) -> float:
    """Seconds from nothing to the first segment."""
    began = time.monotonic()
    with private_daemon(None, [f"state_dir={state_dir}"]) as client:
        first_segment_s(client, template)
        return time.monotonic() - began


def profile_tables(options: argparse.Namespace) -> bool:
    """Print the tables of the profiles; whether all is within bounds."""
    good = True
    with _turns.servers() as here:
        every = _turns.profiles(here)
        for profile in every:
            if profile.name in options.profiles:
                found, rows = _turns.run_profile(profile, here, options.turns // 2, options.questions)
                good &= _table(f"profile {profile.name}", found, rows, options.json)
        if "whisper" in options.profiles:
            medians, tables = _turns.run_spoken(every[1], options.questions)
            for name, rows in tables:
                good &= _table(f"Whisper base and hibari, {name}", {"p50_ms": medians[name]}, rows, options.json)
    return good


def _table(title: str, found: dict[str, float], rows: list[_turns.Row], as_json: bool) -> bool:
    if not as_json:
        print(title)
    report({"table": title, **found}, rows, as_json)
    return all(not bound or float(value.split()[0]) <= float(bound.split()[0]) for _, value, bound in rows)


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--questions", type=int, default=5, help="spoken ones per profile")
    parser.add_argument("--template", default="default")
    parser.add_argument("--json", action="store_true")
    tables = ["first", "default", "laptop", "gpu", "whisper"]
    parser.add_argument("--profiles", nargs="+", choices=tables, default=tables, help='"first": without a profile')
    options = parser.parse_args()
    good = "first" not in options.profiles or first_segments(options)
    return 0 if profile_tables(options) and good else 1


def first_segments(options: argparse.Namespace) -> bool:
    """The table of ``say`` and of own audio; whether all is within bounds."""
    with tempfile.TemporaryDirectory() as state_dir:
        very_first = cold_s(state_dir, options.template)
        cold = cold_s(state_dir, options.template)
        with private_daemon(None, [f"state_dir={state_dir}"]) as client:
            first_segment_s(client, options.template)
            warm = [1000 * first_segment_s(client, options.template) for _ in range(options.turns)]
            audio = speech(SPEECH_FRAMES)[0].tobytes()
            own = [1000 * first_of_audio_s(client, options.template, audio) for _ in range(options.turns)]
    p50, p95 = percentile(warm, 0.5), percentile(warm, 0.95)
    own_p50, own_p95 = percentile(own, 0.5), percentile(own, 0.95)
    found = {
        "turns": options.turns,
        "warm_p50_ms": round(p50, 1),
        "warm_p95_ms": round(p95, 1),
        "warm_max_ms": round(max(warm), 1),
        "audio_p50_ms": round(own_p50, 1),
        "audio_p95_ms": round(own_p95, 1),
        "cold_s": round(cold, 2),
        "very_first_s": round(very_first, 2),
    }
    rows = [
        (f"say to first segment, warm, p50 of {options.turns}", f"{p50:.0f} ms", f"{WARM_P50_MS} ms"),
        ("... p95", f"{p95:.0f} ms", f"{WARM_P95_MS} ms"),
        ("... max", f"{max(warm):.0f} ms", ""),
        ("2 s of own audio to first segment, p50", f"{own_p50:.0f} ms", f"{AUDIO_P50_MS} ms"),
        ("... p95", f"{own_p95:.0f} ms", f"{AUDIO_P95_MS} ms"),
        ("up to first segment, cold", f"{cold:.1f} s", f"{COLD_S:.0f} s"),
        ("... with no templates on disk", f"{very_first:.1f} s", ""),
    ]
    report(found, rows, options.json)
    good = p50 <= WARM_P50_MS and p95 <= WARM_P95_MS and cold <= COLD_S
    return good and own_p50 <= AUDIO_P50_MS and own_p95 <= AUDIO_P95_MS


if __name__ == "__main__":
    sys.exit(main())
