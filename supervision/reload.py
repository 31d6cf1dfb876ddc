"""What of a changed configuration a running daemon takes over, and what waits for its next start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from configs import logs
from configs.load import ConfigError
from configs.schema import Config, Supervisor

TAKEN = frozenset(
    f"supervisor.{name}" for name in ("backoff_s", "intensity", "window_s", "stop_s", "fence_s")
)
"""Keys that only the supervisor reads, and reads anew each time."""


def changed_keys(old: Config, new: Config) -> list[str]:
    """Dotted names of the settings that differ, in the order of the manual."""
    return list(_differing(msgspec.to_builtins(old), msgspec.to_builtins(new), ""))


def _differing(old: Any, new: Any, name: str) -> list[str]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [name]
    keys = [*old, *(key for key in new if key not in old)]
    return [
        inner
        for key in keys
        for inner in _differing(old.get(key), new.get(key), f"{name}.{key}" if name else str(key))
    ]


def reloaded(old: Config, new: Config) -> tuple[Config, list[str], list[str]]:
    """What runs from now on.

    Returns:
        ``old`` with what can be taken of ``new``, the names of what was taken, and of what needs a restart.
    """
    changed = changed_keys(old, new)
    taken = [key for key in changed if key in TAKEN]
    fields = {key.partition(".")[2]: getattr(new.supervisor, key.partition(".")[2]) for key in taken}
    supervisor = msgspec.structs.replace(old.supervisor, **fields)
    now = msgspec.structs.replace(old, supervisor=supervisor)
    return now, taken, [key for key in changed if key not in TAKEN]


class Reloader:
    """Reads the configuration again, and says what comes of it.

    Args:
        config: as it was read at the start.
        reread: the same files, environment and command line, read again.
    """

    def __init__(self, config: Config, reread: Callable[[], Config]) -> None:
        self._config = config
        self._reread = reread

    def settings(self) -> Supervisor:
        """The supervisor's settings from now on; a configuration that cannot be used changes nothing."""
        log = logs.get()
        try:
            new = self._reread()
        except ConfigError as error:
            hint = "the daemon goes on as it is; mend it and reload again"
            log.error("config.refused", reason=str(error), hint=hint)
            return self._config.supervisor
        self._config, taken, waiting = reloaded(self._config, new)
        log.info("config.reloaded", taken=taken, needs_restart=waiting)
        return self._config.supervisor
