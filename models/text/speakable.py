"""What a voice can say of a written text: pure, standard library only.

Emphasis marks, list bullets, HTML tags and emoji are left out, a link is its text, a URL its host.
"""

from __future__ import annotations

import re

URL = re.compile(r"https?://[^\s<>\"'()\[\]{}，。！？；、（）《》“”‘’]+", re.IGNORECASE)
_URL_END = ".,;:!?*_`~"

_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()]*\))*(?:\s+\"[^\"]*\")?\)")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_LINE_MARK = re.compile(r"(?m)^[ \t]*(?:#{1,6}[ \t]+|>+[ \t]*|[-*+•‣◦▪][ \t]+(?:\[[ xX]\][ \t]+)?)+")
_RULE = re.compile(r"(?m)^[ \t]*(?:[-*_=~][ \t]*){3,}$|^[ \t|:-]*\|[ \t|:-]*$")
_STRONG = re.compile(r"\*{2,}|~~+|__+|`+")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U0001fb00-\U0001fbff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff"
    "\u25a0-\u25ff\u2190-\u21ff\ufe00-\ufe0f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\u20e3"
    "\U000e0000-\U000e007f]"
)
_EMOJI_BEFORE_STOP = re.compile(rf"\s*(?:{_EMOJI.pattern})+(?=[.,!?;:，。！？；：、])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SPACE = re.compile(r"\s+")


def split_url(match: re.Match[str]) -> tuple[str, str]:
    """``(url, punctuation behind it)``: a full stop after a URL ends the sentence, not the URL."""
    url = match.group().rstrip(_URL_END)
    return url, match.group()[len(url) :]


def speakable(text: str) -> str:
    """``text`` as it should be spoken; "" when nothing in it can be (no letter and no digit)."""
    text = _IMAGE_OR_LINK.sub(r"\1", text)
    text = URL.sub(_host, text)
    text = _TAG.sub(" ", text)
    text = _RULE.sub(" ", text)
    text = _LINE_MARK.sub("", text)
    text = _STRONG.sub("", text)
    text = _EMPHASIS.sub("", text)
    text = _EMOJI_BEFORE_STOP.sub("", _CONTROL.sub(" ", text))
    text = _EMOJI.sub(" ", text)
    text = text.replace("|", " ")
    text = _SPACE.sub(" ", text).strip()
    return text if any(char.isalnum() for char in text) else ""


def _host(match: re.Match[str]) -> str:
    url, rest = split_url(match)
    host = url.split("://", 1)[-1].split("/", 1)[0].split("?", 1)[0].rsplit("@", 1)[-1].split(":", 1)[0]
    return host.removeprefix("www.") + rest
