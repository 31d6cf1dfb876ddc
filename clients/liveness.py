"""Whether the daemon behind a connection is still the one that was asked; told by its beacons, ``sys.``. Pure."""

from __future__ import annotations

SILENT_S = 1.25
"""Beacons come once a second: after this long without one, it is looked whether anybody still listens."""
LOOK_S = 0.25
"""How often it is looked then."""
RESTART_S = 1.5
"""A broker that dies is replaced in less: only when nobody listens for so long the daemon counts as gone."""
FROZEN_S = 15.0
"""A daemon that has sent beacons, still listens and says nothing for this long does not run."""
UNWATCHED_S = 1.0
"""Who has not looked at the beacons for this long knows nothing of the time in between."""


class Liveness:
    """Signs of life of one daemon. Times are monotonic seconds.

    ``starts`` counts the restarts of the daemon that were noticed: nothing of before is there any more.
    ``brokers`` counts those of its broker alone: sessions go on, requests that had no answer will get none.
    """

    def __init__(self) -> None:
        self.starts = 0
        self.brokers = 0
        self._boot: str | None = None
        self._uptime_s = 0.0
        self._sign_at: float | None = None
        self._beacon_at: float | None = None
        self._watched_at: float | None = None
        self._looked_at: float | None = None
        self._refused_at: float | None = None

    def watch(self, now: float) -> None:
        """Somebody waits for the daemon and has read its beacons up to now."""
        if self._watched_at is None or now - self._watched_at > UNWATCHED_S:
            # Nobody has looked, or the whole program was stopped: silence counts from here.
            self._sign_at = None if self._sign_at is None else now
            self._beacon_at = None if self._beacon_at is None else now
        self._watched_at = now

    def reply(self, now: float, boot: str | None = None) -> None:
        """A reply has come; the one to ``health`` says of which start."""
        self._sign_at = now
        if boot is not None and boot != self._boot:
            self._started(boot, 0.0)  # says nothing of the time

    def beacon(self, now: float, boot: str, uptime_s: float) -> None:
        """A beacon has come. A new daemon has another boot; with a new broker alone the uptime begins anew."""
        self._sign_at = self._beacon_at = now
        self._started(boot, uptime_s)

    def _started(self, boot: str, uptime_s: float) -> None:
        if self._boot is not None:
            self.starts += boot != self._boot
            self.brokers += boot == self._boot and uptime_s < self._uptime_s
        self._boot, self._uptime_s = boot, uptime_s

    def doubtful(self, now: float) -> bool:
        """Whether it is time to look whether anybody listens."""
        if self._sign_at is None or now - self._sign_at <= SILENT_S:
            return False
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        return True

    def refused(self, now: float) -> bool:
        """Nobody listens; whether that has been so for longer than the start of another broker takes."""
        self._refused_at = now if self._refused_at is None else self._refused_at
        return now - self._refused_at >= RESTART_S

    def listens(self) -> None:
        """Somebody does."""
        self._refused_at = None

    def frozen(self, now: float) -> bool:
        """Whether a daemon that sends beacons has sent none for too long."""
        return self._beacon_at is not None and now - self._beacon_at > FROZEN_S
