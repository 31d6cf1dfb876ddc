"""Broker to stage on ``c.<instance>.<epoch>``: what does not wait behind items."""

from __future__ import annotations

import msgspec

from broker.ipc.messages.base import ArrayHead, Message


class Greeting(Message, kw_only=True, tag="greeting"):
    """A broker has bound this worker's sockets; items of other broker epochs are void. Answered by Hello."""

    broker: int


class Cancel(Message, kw_only=True, tag="cancel"):
    """Stop work on these items, or on all of a session's streams."""

    items: list[str] = msgspec.field(default_factory=list)


class TensorAnswer(Message, kw_only=True, tag="tensor.answer"):
    """To the worker that asked: the arrays, one buffer per head, or (``code`` is not empty) why there are none."""

    broker: int
    id: str
    attempt: int
    number: int
    code: str = ""
    message: str = ""
    heads: list[ArrayHead] = msgspec.field(default_factory=list)
