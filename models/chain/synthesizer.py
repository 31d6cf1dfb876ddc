"""A chain of voices, chosen by language and by name as well as by health."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.api import SAMPLE_RATE, Cancel, Chunk, EngineError, Progress, Synthesizer, Voice
from models.chain.chain import Chain, Told, exhausted, nobody
from models.chain.words import WordGate, shifted, to_samples
from models.tts.language import name_language, script_language


class ChainSynthesizer:
    """See ``models.api.Synthesizer``.

    The first member that speaks the text's language does; a voice that only a later member has selects that
    member. One that fails is followed by the next, which goes on after the last whole word that was heard.
    """

    name = "chain"

    def __init__(self, chain: Chain[Synthesizer]) -> None:
        self.chain = chain

    @property
    def deterministic(self) -> bool:
        """Whether all members are."""
        return all(engine.deterministic for _, engine in self.chain.order())

    def load(self, progress: Progress) -> None:
        """See ``Chain.load``."""
        self.chain.load(progress)

    def close(self) -> None:
        """Release all members."""
        self.chain.close()

    def speaks(self, language: str) -> bool:
        """Whether any member does."""
        return any(engine.speaks(language) for _, engine in self.chain.order())

    def voices(self) -> list[Voice]:
        """Those of all members."""
        return [voice for _, engine in self.chain.order() for voice in engine.voices()]

    def offers(self) -> list[tuple[str, Voice]]:
        """Those of all members, each with its engine."""
        return [(name, voice) for name, engine in self.chain.order() for voice in engine.voices()]

    def speak(self, text: str, voice: str, from_us: int, cancel: Cancel) -> Iterator[Chunk]:
        """See ``models.api.Synthesizer``.

        Raises:
            EngineError: nobody is left who could say it.
        """
        return self.speak_via(text, voice, from_us, cancel, nobody)

    def speak_via(self, text: str, voice: str, from_us: int, cancel: Cancel, told: Told) -> Iterator[Chunk]:
        """``speak``; ``told`` hears who speaks, before the first chunk of each."""
        members = route(self.chain.order(), text, voice)
        wanted = [name for name, _ in route(self._all(), text, voice)]
        failures: dict[str, EngineError] = {}
        rest, base_us = text, 0
        for number, (name, engine) in enumerate(members, 1):
            last = number == len(members)
            gate = WordGate(rest, 0 if failures and base_us else to_samples(from_us))
            began = gate.end
            told_of = False
            try:
                # What computes here is slow when this machine is: another voice would be no remedy.
                unhurried = last or engine.deterministic
                for chunk in self._pieces(name, engine, rest, voice, began, cancel, unhurried=unhurried):
                    heard = chunk if last else gate.feed(chunk)
                    if not told_of:
                        reason = "; ".join(f"{failed}: {error}" for failed, error in failures.items())
                        told(name, reason or self.chain.reason(name, wanted))
                        told_of = True
                    if heard is not None:
                        yield shifted(heard, base_us)
                remains = None if cancel.is_set() else gate.rest()
                if remains is not None:
                    yield shifted(remains, base_us)
                return
            except EngineError as error:
                self.chain.failed(name, error)
                failures[name] = error
            if not gate.exact:
                break
            if gate.end > began:
                base_us += gate.end * 1_000_000 // SAMPLE_RATE
                rest = gate.remaining
            if not rest:
                return
        raise exhausted("tts", failures)

    def _pieces(
        self, name: str, engine: Synthesizer, text: str, voice: str, skip: int, cancel: Cancel, *, unhurried: bool
    ) -> Iterator[Chunk]:
        from_us = skip * 1_000_000 // SAMPLE_RATE
        return self.chain.outputs(
            name, lambda stop: engine.speak(text, voice, from_us, stop), cancel, last=unhurried
        )

    def _all(self) -> list[tuple[str, Synthesizer]]:
        """The members that are loaded, whatever their health."""
        there = dict(self.chain.order())
        return [(name, there[name]) for name in self.chain.names if name in there]


def route(members: Sequence[tuple[str, Synthesizer]], text: str, voice: str) -> list[tuple[str, Synthesizer]]:
    """Who is asked to say this, in order: the one that has the voice, then all that speak its language."""
    language = script_language(text)
    if language == "en" and name_language(voice):
        language = name_language(voice)
    able = [member for member in members if member[1].speaks(language)] or list(members)
    named = [member for member in able if voice and any(offer.name == voice for offer in member[1].voices())]
    return [*named[:1], *(member for member in able if member not in named[:1])]


def probe(engine: Synthesizer, cancel: Cancel) -> Iterator[object]:
    """Whether it speaks at all: its first chunk will do."""
    text = "One." if engine.speaks("en") else "一。"
    return iter(engine.speak(text, "", 0, cancel))
