"""``python -m clients.gateway.render_job``: one rendering, in a process of its own.

What decodes a stranger's sound and writes video has no place in the gateway's loop. The job comes as one line of
JSON on stdin, which stays open: its end is the end of the job. Lines of JSON on stdout tell how far it is, the
last one what became of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

NICE = 5
STEP = 0.01
"""Of the progress that is told."""
WRITING = 0.95
"""The progress when all is rendered and the file is to be written."""
CHARACTERS_PER_S = 14.0
"""How fast a text is spoken, about."""
ENDED = 128 + signal.SIGTERM


def main() -> int:
    """Do the job on stdin; the exit code."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    from clients.cli.failures import report

    try:
        _render(job)
    except Exception as error:
        return report(error, json=True)
    return 0


def _render(job: dict[str, Any]) -> None:
    from clients.cli.render import Quality, render_file
    from clients.client import Client
    from clients.keys import Keys
    from clients.soundtrack import Soundtrack

    sound = Soundtrack(Path(job["audio"])) if job["audio"] else None
    total_s = (sound.seconds_about if sound else None) or len(job["text"] or "") / CHARACTERS_PER_S
    told = 0.0

    def tell(done_s: float, writing: bool) -> None:
        nonlocal told
        progress = WRITING if writing else WRITING * min(1.0, done_s / max(1.0, total_s))
        if progress >= told + STEP:
            told = progress
            _say({"progress": round(progress, 3)})

    keys = Keys(*(key.encode() for key in job["keys"])) if job["keys"] else None
    with Client(job["control"], job["stream"], keys) as client:
        spoken = sound or job["text"]
        done = render_file(client, Path(job["out"]), spoken, job["template_id"], Quality(job["quality"]), tell)
    _say({"progress": 1.0, "seconds": done.seconds, "frames": done.frames})


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def _end(*_: object) -> None:
    raise SystemExit(ENDED)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
