"""Whether what Whisper wrote was said: a pure test of one decoding.

Whisper was trained on subtitles. On noise it writes what subtitles end with, it may repeat itself for ever, and it
may read its own prompt aloud. The limits of the first two rules are OpenAI's (``whisper/transcribe.py``).
"""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple

NO_SPEECH = 0.6
NO_SPEECH_LOGPROB = -1.0
"""No speech when the model says so with ``NO_SPEECH`` and is no surer of its text than this."""
COMPRESSION = 2.4
"""A text that zlib makes smaller than by this repeats itself."""
COMPRESSION_BYTES = 60
"""Shorter texts say nothing about compression."""
REPEATS = 4
"""The same words so many times in a row were said once, if at all."""
LOGPROB = -1.3
"""Mean log-probability of a token below which a text is a guess."""
SHORT_LOGPROB = -0.8
"""The same of what noise is often taken for, and people say as well ("Thank you.")."""
LETTERS_PER_S = 30.0
HANZI_PER_S = 12.0
"""Nobody speaks faster. Half a second is free."""

SUBTITLES = re.compile(
    r"(thanks?( you)?( (so|very) much)? for watching|don'?t forget to (like|subscribe)|"
    r"(please )?(like and )?subscribe( to (my|the|our) channel)?|see you (in the|next) (next )?(video|time)|"
    r"(subtitles|captions|transcri(bed|ption)|translated) by|amara\.?org|"
    r"请不吝点赞|打赏支持|明镜与点点|字幕(由|制作|提供|志愿者|by)|谢谢(大家|你|您)?(的)?(观看|收看)|(感谢|多谢)(大家|你|您)?(的)?(观看|收看)|"
    r"ご視聴ありがとう|sous-titres|untertitel|subt[íi]tulos)",
    re.IGNORECASE,
)
"""What only subtitles say."""
COMMON = re.compile(
    r"(thank you( (so|very) much)?|thanks|you|bye|bye[- ]bye|okay|ok|oh|so|谢谢|嗯|好)", re.IGNORECASE
)
_HANZI = re.compile(r"[\u3400-\u9fff]")
_REPEAT = re.compile(rf"(.{{1,40}}?)(?:[\s,，。.!?、-]*\1){{{REPEATS - 1},}}", re.IGNORECASE | re.DOTALL)


class Decoding(NamedTuple):
    """One window's text and what the model thinks of it."""

    text: str
    logprob: float
    """Mean natural log-probability of its tokens."""
    no_speech: float
    """0 to 1."""
    seconds: float
    """Of audio, without padding."""
    full: bool = False
    """It ended because it was as long as it may be."""


class Judgement(NamedTuple):
    """What is left of a decoding: its text, or the reason why it is not believed."""

    text: str
    reason: str = ""
    speech: bool = True
    """Whether something was said, understood or not."""


def judge(decoding: Decoding, prompt: str = "") -> Judgement:
    """Believe a decoding, or say why not. ``prompt``: the words that the model was told to expect."""
    text = " ".join(decoding.text.split())
    plain = _letters(text)
    if not plain:
        return Judgement("", "no letters", speech=False)
    if decoding.no_speech > NO_SPEECH and decoding.logprob < NO_SPEECH_LOGPROB:
        return Judgement("", "no speech", speech=False)
    if SUBTITLES.search(text):
        return Judgement("", "subtitle phrase", speech=False)
    if COMMON.fullmatch(plain) and decoding.logprob < SHORT_LOGPROB:
        return Judgement("", "unsure common phrase", speech=False)
    if prompt and reads(plain, prompt):
        return Judgement("", "the prompt itself", speech=False)
    if decoding.full or repeats(text):
        return Judgement("", "repetition")
    hanzi = len(_HANZI.findall(text))
    letters = len(plain.replace(" ", "")) - hanzi
    if letters / LETTERS_PER_S + hanzi / HANZI_PER_S > decoding.seconds + 0.5:
        return Judgement("", "more words than time")
    if decoding.logprob < LOGPROB:
        return Judgement("", "unsure")
    return Judgement(text)


def repeats(text: str) -> bool:
    """Whether a text says the same thing again and again."""
    data = text.encode()
    if len(data) >= COMPRESSION_BYTES and len(data) / len(zlib.compress(data)) > COMPRESSION:
        return True
    found = _REPEAT.search(text)
    return found is not None and len(_letters(found.group(0))) > 0 and len(found.group(0)) >= len(text) / 2


def reads(plain: str, prompt: str) -> bool:
    """Whether three words or more are nothing but a stretch of the prompt."""
    words, given = plain.split(), _letters(prompt).split()
    return len(words) >= 3 and any(given[at : at + len(words)] == words for at in range(len(given)))


def _letters(text: str) -> str:
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split())
