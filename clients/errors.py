"""What the parts of a client that deal with files raise."""

from __future__ import annotations


class MediaError(Exception):
    """A file of sound or video cannot be read or written; the text says why, and what to do instead."""
