"""The daemon's words to the person at the terminal that it was started from; everything else is the log's."""

from __future__ import annotations

import sys
from typing import TextIO

import msgspec

from configs.plain import plain
from configs.schema import Config, Log


class Console:
    """Prints one line per stage of the daemon's life, or nothing.

    Args:
        config: resolved.
        stream: where to; None: nowhere.
    """

    def __init__(self, config: Config, stream: TextIO | None) -> None:
        self._config = config
        self._stream = stream

    def loading(self) -> None:
        """The processes are about to be started."""
        chosen = self._config.engines
        names = [chain[0] for chain in (chosen.asr, chosen.llm, chosen.tts, chosen.lipsync)]
        self._print(f"loading {', '.join(names)}")

    def ready(self, seconds: float, gateway: str | None = None) -> None:
        """Everything that is needed is warm.

        Args:
            gateway: where the page is; None: nowhere.
        """
        public = self._config.endpoints
        self._print(
            f"ready in {seconds:.1f} s",
            f"  requests  {public.control}   media and events  {public.stream}",
            f"  open      {gateway}"
            if gateway
            else '  try       musecast say "Hello there." --out hello.mp4   (in another terminal)',
            "  stop      Ctrl-C",
        )

    def stopping(self) -> None:
        """It has been told to stop."""
        self._print("stopping; Ctrl-C again ends it at once")

    def _print(self, *lines: str) -> None:
        if self._stream is not None:
            print(*map(plain, lines), sep="\n", file=self._stream, flush=True)


def for_terminal(config: Config, stream: TextIO | None = None) -> tuple[Config, Console]:
    """On a terminal the log shows warnings and errors only, unless ``log`` asks for something else, and the
    console speaks instead; elsewhere the log says everything, and the console nothing.

    Args:
        config: resolved.
        stream: where the log goes; None: stderr.

    Returns:
        The configuration that the processes get, and the console.
    """
    stream = sys.stderr if stream is None else stream
    default = Log()
    if (config.log.format, config.log.level) != (default.format, default.level) or not stream.isatty():
        return config, Console(config, None)
    quiet = msgspec.structs.replace(config, log=msgspec.structs.replace(config.log, level="warning"))
    return quiet, Console(config, stream)
