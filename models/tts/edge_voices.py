"""Voices of Edge's service that have been there for years, and which of them says a text: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from models.api import Voice
from models.tts.language import name_language

_LISTED = """
ar-EG Salma Shakir|cs-CZ Vlasta Antonin|da-DK Christel Jeppe|de-DE Katja Conrad|el-GR Athina Nestoras
en-US Aria Guy|en-US Jenny Christopher|en-GB Sonia Ryan|en-AU Natasha William|en-CA Clara Liam|en-IN Neerja Prabhat
es-ES Elvira Alvaro|es-MX Dalia Jorge|fi-FI Noora Harri|fr-FR Denise Henri|fr-CA Sylvie Jean|he-IL Hila Avri
hi-IN Swara Madhur|hu-HU Noemi Tamas|id-ID Gadis Ardi|it-IT Elsa Diego|ja-JP Nanami Keita|ko-KR SunHi InJoon
nb-NO Pernille Finn|nl-NL Colette Maarten|pl-PL Zofia Marek|pt-BR Francisca Antonio|pt-PT Raquel Duarte
ro-RO Alina Emil|ru-RU Svetlana Dmitry|sv-SE Sofie Mattias|th-TH Premwadee Niwat|tr-TR Emel Ahmet
uk-UA Polina Ostap
vi-VN HoaiMy NamMinh|zh-CN Xiaoxiao Yunxi|zh-CN Xiaoyi Yunyang|zh-HK HiuMaan WanLung|zh-TW HsiaoChen YunJhe
"""


def _listed() -> Iterable[Voice]:
    for entry in _LISTED.replace("\n", "|").split("|"):
        if entry:
            language, woman, man = entry.split()
            yield Voice(f"{language}-{woman}Neural", language, "female")
            yield Voice(f"{language}-{man}Neural", language, "male")


VOICES: tuple[Voice, ...] = tuple(_listed())
_NAME = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]{2,8}){1,3}-[A-Za-z]+Neural")


def choose(voice: str, defaults: Iterable[str], language: str) -> str:
    """The name of the voice that says a text.

    Args:
        voice: a session's wish: a voice's name, a language tag, or nothing that means anything here.
        defaults: configured wishes, the first that helps.
        language: that of the text's script, "en" for any with Latin letters.
    """
    for wish in (voice, *defaults):
        tag = name_language(wish)
        base = tag.partition("-")[0]
        if not tag or (language not in ("en", base) and "Multilingual" not in wish):
            continue  # a voice of another script would leave out most of the text
        if _NAME.fullmatch(wish):
            return wish
        for wanted in (tag, base):
            for known in VOICES:
                if known.language == wanted or known.language.partition("-")[0] == wanted:
                    return known.name
    return next((known.name for known in VOICES if known.language.partition("-")[0] == language), VOICES[10].name)
