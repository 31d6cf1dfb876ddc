"""Pictures of every state of the page: ``python -m tools.page http://127.0.0.1:28888 docs/page``.

Needs a running daemon, and what the browser tests need (``make .venv/.installed-web``). Each sheet shows one
state: on a phone and on a desk, light and dark, and both with 200 % text.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
QUESTION = ROOT / "clients" / "cli" / "assets" / "question.wav"
ROWS = (("phone-light", "desk-light", "phone-large"), ("phone-dark", "desk-dark", "desk-large"))
HEIGHT, GAP = 420, 10
GROUND = (138, 138, 138)
QUALITY = 62
MICROPHONE_RATE = 48_000
BEFORE_S, AFTER_S = 2, 20


def question(path: Path) -> None:
    """The bundled question as Chromium's fake microphone wants it: capture begins before the page listens."""
    with wave.open(str(QUESTION), "rb") as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    spoken = np.repeat(samples, MICROPHONE_RATE // rate)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_RATE)
        file.writeframes(np.pad(spoken, (BEFORE_S * MICROPHONE_RATE, AFTER_S * MICROPHONE_RATE)).tobytes())


def _scaled(path: Path, height: int) -> Image.Image:
    with Image.open(path) as picture:
        size = round(picture.width * height / picture.height), height
        return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def sheet(shots: Path, state: str) -> Image.Image:
    """All views of a state on one ground."""
    rows = [[_scaled(shots / f"{state}.{view}.png", HEIGHT) for view in row] for row in ROWS]
    width = max(sum(one.width + GAP for one in row) - GAP for row in rows)
    ground = Image.new("RGB", (width, len(rows) * (HEIGHT + GAP) - GAP), GROUND)
    for y, row in enumerate(rows):
        x = 0
        for one in row:
            ground.paste(one, (x, y * (HEIGHT + GAP)))
            x += one.width + GAP
    return ground


def main() -> None:
    """Take the pictures and write ``DIR/<state>.webp``."""
    if len(sys.argv) < 3:
        sys.exit("name the page and a folder for its pictures: python -m tools.page URL DIR [STATE,STATE]")
    base, target = sys.argv[1], Path(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        shots, spoken = Path(scratch, "shots"), Path(scratch, "question.wav")
        question(spoken)
        script = ROOT / "tests" / "web" / "screenshots.js"
        subprocess.run(["node", str(script), base, str(shots), str(spoken), *sys.argv[3:]], check=True)
        for state in sorted({shot.name.split(".")[0] for shot in shots.iterdir()}):
            sheet(shots, state).save(target / f"{state}.webp", quality=QUALITY, method=6)


if __name__ == "__main__":
    main()
