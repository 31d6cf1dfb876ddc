"""``musecast render`` of ten seconds of speech: on a running daemon, and with a daemon of its own.

The whole command counts, from the start of Python to its end; the file must be there and as long as the sound.
The built-in template is drawn before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
import wave
from pathlib import Path

import av
import numpy as np

from benchmarks._common import report
from clients.cli.private import private_daemon
from configs.schema import Config
from models.api import SAMPLE_RATE
from models.tts.espeak import EspeakSynthesizer

TEXT = "The quick brown fox jumps over the lazy dog, and the dog does not mind. "
SECONDS = 10
MOST_S = 5.0
MUSECAST = str(Path(sys.executable).with_name("musecast"))


def write_speech(target: Path) -> None:
    """``SECONDS`` of the default voice as a WAV."""
    voice = EspeakSynthesizer(Config())
    voice.load(lambda *_: None)
    spoken = np.concatenate([chunk.pcm for chunk in voice.speak(TEXT * 4, "en", 0, threading.Event())])
    voice.close()
    assert len(spoken) >= SECONDS * SAMPLE_RATE
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(spoken[: SECONDS * SAMPLE_RATE].tobytes())


def render_s(folder: Path, control: str, stream: str, *more: str) -> float:
    """Seconds of one run of the command."""
    target = folder / "speech.mp4"
    target.unlink(missing_ok=True)
    began = time.monotonic()
    subprocess.run(
        [MUSECAST, "render", "--audio", str(folder / "speech.wav"), "--out", str(target), *more],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ
        | {
            "MUSECAST_ENDPOINTS__CONTROL": control,
            "MUSECAST_ENDPOINTS__STREAM": stream,
            "MUSECAST_STATE_DIR": str(folder / "state"),
        },
    )
    elapsed = time.monotonic() - began
    with av.open(str(target)) as film:
        frames = sum(1 for _ in film.decode(video=0))
    if frames != SECONDS * 25:
        raise SystemExit(f"{frames} frames of {SECONDS} s")
    return elapsed


def main() -> int:
    """Print the numbers; 1 when one is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="musecast-bench-") as temporary:
        folder = Path(temporary)
        write_speech(folder / "speech.wav")
        with private_daemon(None, [f"state_dir={folder / 'state'}"]) as client:
            ends = client.control, client.stream
            running = sorted(render_s(folder, *ends, "--connect") for _ in range(options.rounds))
        nobody = "tcp://127.0.0.1:9", "tcp://127.0.0.1:10"
        alone = sorted(render_s(folder, *nobody) for _ in range(options.rounds))
    middle = options.rounds // 2
    found = {"running_s": round(running[middle], 2), "alone_s": round(alone[middle], 2)}
    rows = [
        (f"{SECONDS} s of speech, 512x512, on a running daemon", f"{found['running_s']:.1f} s", f"{MOST_S:.0f} s"),
        ("... with the start and end of a daemon of its own", f"{found['alone_s']:.1f} s", f"{MOST_S:.0f} s"),
    ]
    report(found, rows, options.json)
    return 0 if max(found.values()) <= MOST_S else 1


if __name__ == "__main__":
    sys.exit(main())
