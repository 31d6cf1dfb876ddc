"""Whether a text is a finished sentence, and whether it asks for an answer at all: pure tests of words."""

from __future__ import annotations

import re

_words = re.compile(r"[\w']+").findall
_END = re.compile(r"[.!?。！？][\"'”’)\]」』）]*$")
_OPEN_END = re.compile(r"(\.\.\.|…)[\"'”’)]*$")
_DANGLING = frozenset(
    _words(
        """a an the and or but so because if when while that which who to of in on at by for from with about into
        than as my your his her its our their this these those is are was were be am do does did can could will
        would shall should may might must has have had i you he she we they not very um uh er like"""
    )
)
"""A sentence that ends with one of these goes on, whatever punctuation a recogniser puts there."""
_QUESTION_ENDS = frozenset(
    _words("i you he she we they do are is that this it about for from with in on to have")
)
"""Unless it is a question ("Who are you?")."""
_DANGLING_ZH = tuple(_words("的 和 跟 但是 因为 如果 所以 然后 还有 或者 而且 就是 那个 把 被 在"))

BACKCHANNELS = frozenset(
    _words(
        """uh huh uhhuh mm hm mhm mmhm mmhmm hmm mmm um er erm ah oh ooh aha eh ha haha hahaha yeah yep yup ja
        right ok okay sure ugh ahem cough coughs coughing sneeze sigh sighs laughs laughter
        嗯 嗯嗯 嗯哼 哦 噢 喔 啊 呃 额 唔 哎 唉 哈 哈哈 哈哈哈 对 对对 对对对 好 好的 是 是的 是啊"""
    )
)
"""Words of a listener, and noises that a recogniser writes down: they ask for nothing."""


def finished(text: str) -> bool:
    """Whether nothing more need be waited for: it ends as a sentence does, and not with a word that goes on."""
    text = text.strip()
    if not _END.search(text) or _OPEN_END.search(text):
        return False
    words = _words(text.lower())
    if not words:
        return False
    last = words[-1]
    if last.endswith(_DANGLING_ZH):
        return False
    asks = text.rstrip("\"'”’)]」』）").endswith(("?", "？"))
    return last not in _DANGLING or (asks and last in _QUESTION_ENDS)


def backchannel(text: str) -> bool:
    """Whether a listener's "uh-huh" is all that was said; also a text without any word."""
    return all(word in BACKCHANNELS for word in _words(text.lower()))
