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
_RULE = re.compile(r"(?m)^[ \t]*(?:[-*_=~][ \t]*){3,}$|^(?=[ \t:-]*\|)[ \t|:-]*$")
_STRONG = re.compile(r"\*{2,}|~~+|__+|`+")
_EMPHATIC = re.compile(r"[*_~`]")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)|(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)|(?<=\S)_(?!\w)")
_EMOJIS = (
    "\U0001f000-\U0001faff\U0001fb00-\U0001fbff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff"
    "\u25a0-\u25ff\u2190-\u21ff\ufe00-\ufe0f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\u20e3"
    "\U000e0000-\U000e007f"
)
_EMOJI = re.compile(f"[{_EMOJIS}]+")
_EMOJI_BEFORE_STOP = re.compile(rf"(?<![\s{_EMOJIS}])\s*[{_EMOJIS}][\s{_EMOJIS}]*(?=[.,!?;:，。！？；：、])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")
_SPACE = re.compile(r"\s+")
_SAYABLE = re.compile(r"[^\W_]")
_LETTERS = r"[A-Za-z0-9\u00c0-\u024f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3,.!?;:'\"()%…—–’“”，。！？；：、-]+"
_PLAIN = re.compile(rf"(?!-){_LETTERS}(?: {_LETTERS})*")
"""Nothing of what follows would change such a text; most are."""


def split_url(match: re.Match[str]) -> tuple[str, str]:
    """``(url, punctuation behind it)``: a full stop after a URL ends the sentence, not the URL."""
    url = match.group().rstrip(_URL_END)
    return url, match.group()[len(url) :]


def speakable(text: str) -> str:
    """``text`` as it should be spoken; "" when nothing in it can be (no letter and no digit)."""
    text = text.strip()
    if not _SAYABLE.search(text):
        return ""
    if _PLAIN.fullmatch(text):
        return text
    if "[" in text:
        text = _IMAGE_OR_LINK.sub(r"\1", text)
    if "://" in text:
        text = URL.sub(_host, text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    text = _RULE.sub(" ", text)
    text = _LINE_MARK.sub("", text)
    if _EMPHATIC.search(text):
        text = _EMPHASIS.sub("", _STRONG.sub("", text))
    text = _CONTROL.sub(" ", text)
    if _EMOJI.search(text):
        text = _EMOJI.sub(" ", _EMOJI_BEFORE_STOP.sub("", text))
    text = text.replace("|", " ")
    text = _SPACE.sub(" ", text).strip()
    return text if _SAYABLE.search(text) else ""


def _host(match: re.Match[str]) -> str:
    url, rest = split_url(match)
    host = url.split("://", 1)[-1].split("/", 1)[0].split("?", 1)[0].rsplit("@", 1)[-1].split(":", 1)[0]
    return host.removeprefix("www.") + rest
