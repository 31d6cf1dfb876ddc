"""Rounds in which everything that is compared takes its turn, and which of them count. Pure, no torch."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

CLOCK_MOVES = 0.03
"""A round within which the clock moves by more than this share does not count; its numbers are kept and marked."""
MOVED = {"clock_moved": True}
"""The mark of such numbers."""


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
    def told(self) -> list[dict[str, Any]]:
        """Every round's clocks, for the record."""
        return [one.told for one in self.played]

    def values(self, *, counting: bool = True) -> dict[Hashable, list[float]]:
        """All that was taken in the rounds that count, or in those whose clock moved."""
        found: dict[Hashable, list[float]] = {}
        for one in self.played:
            if one.counts is counting:
                for key, values in one.values.items():
                    found.setdefault(key, []).extend(values)
        return found

    def rows(self, row: Callable[[Any, list[float], bool], dict[str, Any]]) -> list[dict[str, Any]]:
        """A row for each thing that was measured: from the rounds that count, then, marked, from the others.

        Args:
            row: is given what was measured, its numbers, and whether they count.
        """
        rows = [row(key, values, True) for key, values in self.values().items()]
        moved = [row(key, values, False) for key, values in self.values(counting=False).items()]
        return rows + [{**one, **MOVED} for one in moved]

    def ratio(self, above: Hashable, below: Hashable) -> dict[str, Any] | None:
        """Medians of ``above`` over those of ``below``, round by round, with their spread; None without one.

        Rounds that do not count are told of apart; where none counts they are all there is, and marked.
        """
        counted, moved = (
            [
                round(statistics.median(one.values[above]) / statistics.median(one.values[below]), 3)
                for one in self.played
                if one.counts is counting and one.values.get(above) and one.values.get(below)
            ]
            for counting in (True, False)
        )
        found = counted or moved
        if not found:
            return None
        mark: dict[str, Any] = {} if counted else dict(MOVED)
        if counted and moved:
            mark = {"per_round_clock_moved": moved}
        return {
            "per_round": found, "median": round(statistics.median(found), 3), "spread": [min(found), max(found)],
            **mark,
        }  # fmt: skip
