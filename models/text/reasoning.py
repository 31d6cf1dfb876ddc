"""Leaves out the blocks in which a model thinks aloud or calls tools: pure, standard library only."""

from __future__ import annotations

_NAMES = ("think", "thinking", "thought", "reasoning", "reflection", "scratchpad", "seed:think")
_BLOCKS = (
    *((f"<{name}>", (f"</{name}>",)) for name in _NAMES),
    ("[think]", ("[/think]",)),
    ("◁think▷", ("◁/think▷",)),
    ("<|start_thinking|>", ("<|end_thinking|>",)),
    ("<tool_call>", ("</tool_call>",)),
    ("<tool_response>", ("</tool_response>",)),
    ("<|begin_of_thought|>", ("<|end_of_thought|>",)),
    *(
        (f"{before}<|channel|>{channel}", ("<|end|>", "<|return|>", "<|call|>", "<|start|>"))
        for before in ("", "<|start|>assistant")
        for channel in ("analysis<|message|>", "commentary to=")
    ),
)
"""What opens a block, and what closes it; in lower case."""
_FIRST = frozenset(opener[0] for opener, _ in _BLOCKS)
_OPENER_MAX = max(len(opener) for opener, _ in _BLOCKS)
_CLOSER_MAX = max(len(closer) for _, closers in _BLOCKS for closer in closers)


class ReasoningFilter:
    """Feed it text as it comes; it gives the text without blocks of reasoning.

    A block begins only at the start of a line: a tag in the middle of a sentence is talked about. One that is
    never closed goes to the end of the text. What comes out does not depend on how the text was split.
    """

    def __init__(self) -> None:
        self._held = ""
        self._closers: tuple[str, ...] = ()
        self._blank = True  # nothing but white space has come in this line

    def feed(self, delta: str) -> str:
        """Take more text; returns what of it is none of the model's reasoning, as far as that is known."""
        text, self._held = self._held + delta, ""
        out: list[str] = []
        while text:
            text = self._skip(text) if self._closers else self._pass(text, out)
        return "".join(out)

    def flush(self) -> str:
        """The text has ended: returns what was held back, and begins anew."""
        held = "" if self._closers else self._held
        self._held, self._closers, self._blank = "", (), True
        return held

    def _skip(self, text: str) -> str:
        """Inside a block: returns what follows it, "" when it goes on."""
        lower = text.lower()
        ends = [(at, closer) for closer in self._closers if (at := lower.find(closer)) >= 0]
        if not ends:
            self._held = text[-(_CLOSER_MAX - 1) :]
            return ""
        at, closer = min(ends)
        self._closers, self._blank = (), True
        return text[at + len(closer) :]

    def _pass(self, text: str, out: list[str]) -> str:
        """Outside of a block: one line at a time; returns what is still to be looked at."""
        if self._blank:
            bare = text.lstrip(" \t\r\n")
            out.append(text[: len(text) - len(bare)])
            if not bare:
                return ""
            text = bare
            if text[0].lower() in _FIRST:
                head = text[:_OPENER_MAX].lower()
                for opener, closers in _BLOCKS:
                    if head.startswith(opener):
                        self._closers = closers
                        return text[len(opener) :]
                if any(opener.startswith(head) for opener, _ in _BLOCKS):
                    self._held = text
                    return ""
        end = text.find("\n") + 1
        line = text[:end] if end else text
        out.append(line)
        self._blank = bool(end)
        return text[len(line) :]
