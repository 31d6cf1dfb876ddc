"""Exit codes of the command line; the table is in docs/operations.md."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130
SIGNAL = 128
"""Plus its number: ended by a signal."""
