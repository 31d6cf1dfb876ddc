"""What a voice can say of a written text: pure, standard library only.

Emphasis marks, list bullets, HTML tags, chat marks and emoji are left out, a link is its text, a URL its host.
Only what is certainly markup goes: ``a<b and c>d``, ``a<b>c``, ``2**3`` and ``(a+b)*(c+d)`` stay as they are.
"""

from __future__ import annotations

import re

URL = re.compile(r"https?://[^\s<>\"'()\[\]{}，。！？；、（）《》“”‘’]+", re.IGNORECASE)
_URL_END = ".,;:!?*_`~"

_IMAGE_OR_LINK = re.compile(
    r"(?:(?<![A-Za-z0-9_)\]])|(?=!?\[[^\[\]]*\]\((?:[a-z]+:|www\.|[/#])))"
    r"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()]*\))*(?:\s+\"[^\"]*\")?\)",
    re.IGNORECASE,
)
"""Right behind a word only what has an address: ``a[i](x)`` calls a function."""
_TAGS = (
    "a|abbr|address|article|aside|b|bdi|bdo|big|blockquote|body|br|button|caption|center|cite|code|col|colgroup|dd|del|"
    "details|dfn|div|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|"
    "label|legend|li|link|main|mark|meta|nav|ol|option|p|pre|q|s|samp|script|section|select|small|source|span|strike|"
    "strong|style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|var|video|wbr|"
    "speak|prosody|phoneme|say-as|voice|audio|break|emphasis|"
    "think|thinking|thought|reasoning|reflection|scratchpad|seed:think|answer|final|response"
)
"""Of HTML, of SSML, and what language models put around their answers."""
_ATTRIBUTE = (
    r"\s+[A-Za-z_:@][\w:.@-]{0,40}\s*=\s*(?:\"[^\"<>]*\"|'[^'<>]*'|[^\s\"'<>=`]+)"
    r"|\s+(?:checked|disabled|hidden|open)"
)
_TAG = re.compile(
    rf"<!--.*?-->|</(?:{_TAGS})\s*>|<(?:{_TAGS})(?:{_ATTRIBUTE}){{0,8}}\s*/?>", re.IGNORECASE | re.DOTALL
)
_LETTER_TAG = re.compile(r"<([a-z])>", re.IGNORECASE)
_CHAT_MARK = re.compile(
    r"<\|(?:im_start|start_header_id|start|role)\|>[ \t]*(?:system|user|assistant|tool)?(?!\w)"
    r"|<\|channel\|>[ \t]*(?:analysis|commentary|final)?(?!\w)"
    r"|<\|[A-Za-z][\w ]{0,40}\|>|<｜[\w▁ ]{1,40}｜>"
    r"|</?(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>(?:model|user)?(?!\w)"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|THINK)\]|<</?SYS>>|◁/?think▷"
)
"""Special tokens of chat templates that a server let through."""
_LINE_MARK = re.compile(
    r"(?m)^[ \t]*(?:#{1,6}[ \t]+|>+(?![ \t]*[\d=])[ \t]*|\+[ \t]+(?!\d)|[-*•‣◦▪][ \t]+(?:\[[ xX]\][ \t]+)?)+"
)
_RULE = re.compile(r"(?m)^[ \t]*(?:[-*_=~][ \t]*){3,}$|^(?=[ \t:-]*\|)[ \t|:-]*$")
_TABLE_ROW = re.compile(r"(?m)^[ \t]*\|[ \t].*$|^.*[ \t]\|[ \t]*$")
_CODE = re.compile(r"`+")
_MARKS = re.compile(r"\*+|_+|~~+")
_CJK = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff9f"
_BEFORE = re.compile(rf"[\s({{\[<\"'“‘（「『《，。！？；：、—–{_CJK}]")
_AFTER = re.compile(rf"[\s)}}\]>\"'”’）」』》.,!?;:，。！？；：、…—–{_CJK}]")
_NUMBER_BEFORE, _NUMBER_AFTER = re.compile(r"[\d)] ?\Z"), re.compile(r" ?[\d(]")
_EMOJIS = (
    "\U0001f000-\U0001faff\U0001fb00-\U0001fbff\u2600-\u266c\u2670-\u27bf\u2b00-\u2bff\u2300-\u23ff"
    "\u25a0-\u25ff\u2190-\u21ff\ufe00-\ufe0f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\u20e3"
    "\U000e0000-\U000e007f"
)
"""Without the sharps and flats of music."""
_OPERATORS = str.maketrans("➕➖✖➗", "+-×÷")
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
    if "<" in text or "[" in text or "◁" in text:
        text = _TAG.sub(_tag, _CHAT_MARK.sub(" ", text))
    text = _RULE.sub(" ", text)
    text = _LINE_MARK.sub("", text)
    if "`" in text:
        text = _CODE.sub("", text)
    if _MARKS.search(text):
        text = _plain(text)
    text = _CONTROL.sub(" ", text)
    if _EMOJI.search(text):
        text = _EMOJI.sub(" ", _EMOJI_BEFORE_STOP.sub("", text.translate(_OPERATORS)))
    if "|" in text:
        text = _TABLE_ROW.sub(lambda row: row.group().replace("|", " "), text)
    text = _SPACE.sub(" ", text).strip()
    return text if _SAYABLE.search(text) else ""


def _plain(text: str) -> str:
    """Without marks of emphasis: those that open before a word and close behind one, in pairs.

    Of emphasis that goes over several sentences, the sentence has one end only. ``2*3``, ``a * b``, ``x_1`` and
    ``*p`` in mid-sentence are none.
    """
    dropped: list[tuple[int, int]] = []
    opened: dict[str, tuple[int, int]] = {}
    for found in _MARKS.finditer(text):
        (begin, end), mark = found.span(), found.group()
        before, after = text[begin - 1 : begin], text[end : end + 1]
        if before and not before.isspace() and (not after or _AFTER.match(after)):
            if mark in opened:
                pair = opened.pop(mark), (begin, end)
                dropped += () if mark == "*" and _multiplies(text, *pair[0], end) else pair
                continue
            if not after and not before.isdigit() and len(mark) <= 3:
                dropped.append((begin, end))
                continue
        if after and not after.isspace() and (not before or _BEFORE.match(before)):
            opened[mark] = (begin, end)
    dropped += [span for mark, span in opened.items() if span[0] == 0 and len(mark) <= 3 and _word(text, span[1])]
    for begin, end in sorted(dropped, reverse=True):
        text = text[:begin] + text[end:]
    return text


def _multiplies(text: str, begin: int, inside: int, end: int) -> bool:
    """Whether a number stands on either side and between them: ``5 *3* 2``."""
    before = _NUMBER_BEFORE.search(text, max(begin - 4, 0), begin)
    return bool(before and _NUMBER_AFTER.match(text, inside) and _NUMBER_AFTER.match(text, end))


def _word(text: str, at: int) -> bool:
    return text[at].isalpha() or text[at] in "\"“‘"


def _tag(match: re.Match[str]) -> str:
    """What is said for a tag: nothing. ``a<b>c``, which nothing closes, is none."""
    text, letter = match.string, _LETTER_TAG.fullmatch(match.group())
    glued = match.start() > 0 and (text[match.start() - 1].isalnum() or text[match.start() - 1] in "_)]")
    if letter and glued and f"</{letter[1].lower()}>" not in text[match.end() :].lower():
        return match.group()
    return " "


def _host(match: re.Match[str]) -> str:
    url, rest = split_url(match)
    host = url.split("://", 1)[-1].split("/", 1)[0].split("?", 1)[0].rsplit("@", 1)[-1].split(":", 1)[0]
    return host.removeprefix("www.") + rest
