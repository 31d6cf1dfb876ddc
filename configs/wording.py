"""How messages for people are put together."""

from __future__ import annotations

COMMANDS = frozenset({"apt", "apt-get", "hf", "make", "musecast", "ollama", "pip", "python"})
"""First words that are typed as they stand."""


def two_sentences(fact: str, step: str) -> str:
    """What is the case, then what to do: with a capital, unless it begins with what is typed as it stands."""
    if not step:
        return fact
    first = step.split(maxsplit=1)[0].rstrip(",:;")
    if first.isalpha() and first not in COMMANDS:
        step = f"{step[0].upper()}{step[1:]}"
    return f"{fact}. {step}"
