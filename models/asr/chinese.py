"""Chinese as it is written on the mainland: simplified characters, full-width punctuation."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

PROMPT = "以下是普通话的句子。"
"""Begins Whisper's text in simplified characters and with punctuation."""
_HALF = str.maketrans({",": "，", "?": "？", "!": "！", ";": "；", ":": "："})
_BESIDE = re.compile(r"(?<=[\u3400-\u9fff])\s*([,?!;:])\s*")
_STOP = re.compile(r"(?<=[\u3400-\u9fff])\.(?=$|\s|[\u3400-\u9fff])\s*")


def simplified(text: str) -> str:
    """Traditional characters replaced, punctuation after a Chinese character made full-width."""
    text = _BESIDE.sub(lambda found: found.group(1).translate(_HALF), str(_converter().convert(text)))
    return _STOP.sub("。", text)


@lru_cache(maxsize=1)
def _converter() -> Any:
    from opencc import OpenCC

    return OpenCC("t2s")
