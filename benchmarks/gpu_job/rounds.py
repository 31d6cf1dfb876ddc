"""Rounds in which everything that is compared takes its turn, and which of them count. Pure, no torch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

CLOCK_MOVES = 0.03
"""A round within which the clock moves by more than this share does not count."""


def steady(first_mhz: float | None, last_mhz: float | None) -> bool:
    """Whether a round counts: its clock moved by at most 3 %, or the device has none that can be read."""
    if first_mhz is None or last_mhz is None:
        return first_mhz is last_mhz
    return first_mhz > 0 and abs(last_mhz - first_mhz) <= CLOCK_MOVES * first_mhz


@dataclass
class Round:
    """One round: its clock, and the times or rates that were taken in it."""

    first_mhz: float | None
    last_mhz: float | None = None
    values: dict[Hashable, list[float]] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether its numbers are used."""
        return steady(self.first_mhz, self.last_mhz)

    @property
    def told(self) -> dict[str, Any]:
        """Its clocks, and whether it counts."""
        return {"sm_mhz_first": self.first_mhz, "sm_mhz_last": self.last_mhz, "counts": self.counts}


class Rounds:
    """Plays rounds and keeps their numbers apart.

    Args:
        clock: the device's clock under load in MHz; None where it cannot be read.
    """

    def __init__(self, clock: Callable[[], float | None]) -> None:
        self._clock = clock
        self.played: list[Round] = []

    def play(self, number: int, turn: Callable[[int], Mapping[Hashable, list[float]]]) -> None:
        """Up to ``number`` rounds; ``turn`` is given the number of the round and says what it took in it.

        A round of which nothing comes is the last: the time is up.
        """
        for index in range(number):
            one = Round(self._clock())
            one.values = dict(turn(index))
            if not one.values:
                return
            one.last_mhz = self._clock()
            self.played.append(one)

    @property
    def counted(self) -> list[Round]:
        """The rounds whose clock kept still."""
        return [one for one in self.played if one.counts]

    @property
    def told(self) -> list[dict[str, Any]]:
        """Every round's clocks, for the record."""
        return [one.told for one in self.played]

    def values(self) -> dict[Hashable, list[float]]:
        """All that was taken in the rounds that count."""
        found: dict[Hashable, list[float]] = {}
        for one in self.counted:
            for key, values in one.values.items():
                found.setdefault(key, []).extend(values)
        return found

    def ratio(self, above: Hashable, below: Hashable) -> dict[str, Any] | None:
        """Medians of ``above`` over those of ``below``, round by round, with their spread; None without one."""
        found = [
            statistics.median(one.values[above]) / statistics.median(one.values[below])
            for one in self.counted
            if one.values.get(above) and one.values.get(below)
        ]
        if not found:
            return None
        return {
            "per_round": [round(ratio, 3) for ratio in found],
            "median": round(statistics.median(found), 3),
            "spread": [round(min(found), 3), round(max(found), 3)],
        }
