"""What a voice name says about language, and what a text's letters say: pure, no data files."""

from __future__ import annotations

import re

_TAG = re.compile(r"^([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?(?:[-_][A-Za-z0-9-]*)?$")

_RANGES: tuple[tuple[int, int, str], ...] = (
    (0x3040, 0x30FF, "ja"),
    (0x3400, 0x4DBF, "zh"),
    (0x4E00, 0x9FFF, "zh"),
    (0xF900, 0xFAFF, "zh"),
    (0x20000, 0x323AF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
    (0x0400, 0x052F, "ru"),
    (0x0370, 0x03FF, "el"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0E00, 0x0E7F, "th"),
)


def script_language(text: str) -> str:
    """The language whose script is in the text: "ja" when there is any kana, "zh" when there is any Han
    character, else that of the most frequent other script, "en" for Latin letters or none.

    Any Han character decides, not the majority: a Chinese voice reads English words inside as English, an
    English voice cannot read Chinese.
    """
    counts: dict[str, int] = {}
    for char in text:
        code = ord(char)
        if code < 0x370:
            if char.isalpha():
                counts["en"] = counts.get("en", 0) + 1
            continue
        for low, high, language in _RANGES:
            if low <= code <= high:
                counts[language] = counts.get(language, 0) + 1
                break
    for language in ("ja", "zh"):
        if language in counts:
            return language
    return max(counts, key=lambda language: (counts[language], language)) if counts else "en"


def name_language(voice: str) -> str:
    """The BCP 47 tag that a voice name begins with ("zh-CN-XiaoxiaoNeural" gives "zh-CN"), "" if none."""
    found = _TAG.match(voice)
    if not found:
        return ""
    language, script, region = found.groups()
    parts = [language.lower(), *([script.title()] if script else []), *([region.upper()] if region else [])]
    return "-".join(parts)
