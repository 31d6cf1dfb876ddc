"""Text that came from elsewhere, made safe to show on a terminal."""

from __future__ import annotations

import re

_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, modes
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS and the like
    r"|\x1b[ -/]*[0-~]"  # a short one, or the beginning of one that has no end
)
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_ORDER = "[\u202a-\u202e\u2066-\u2069]"
"""They let a line show its words in another order than it has them."""
NOT_PLAIN = re.compile(f"{_SEQUENCE}|{_CONTROL}|{_ORDER}")


def plain(text: str) -> str:
    """The text without escape sequences, control characters (but line ends and tabs) and changes of direction."""
    return NOT_PLAIN.sub("", text)
