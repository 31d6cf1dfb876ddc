"""``python -m clients.gateway.livetalking.decode``: a file of sound on stdin, s16le mono 48 kHz on stdout.

A process of its own: what decodes a stranger's sound has no place in the gateway.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

NICE = 5
PIECE_S = 5.0


def main() -> int:
    """Decode it; the exit code. What is wrong with it is said on stderr, in a sentence."""
    os.nice(NICE)
    from clients.errors import MediaError
    from clients.soundtrack import Soundtrack

    try:
        for piece in Soundtrack(Path("/dev/fd/0")).pieces(PIECE_S):
            sys.stdout.buffer.write(piece)
    except MediaError as error:
        print(str(error).replace("/dev/fd/0", "the file"), file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
