"""Which asr process hears which session: sticky, fewest streams first, moved when a process dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.ipc.messages import FromStage, Message
from broker.workers.asr_stream import AsrStream

SendTo = Callable[[str, Message, list[Any]], bool]


class AsrStreams:
    """All streams and the asr processes that can take them."""

    def __init__(self, send: SendTo) -> None:
        self._send = send
        self._streams: dict[str, AsrStream] = {}
        self._capacity: dict[str, int] = {}

    def assign(self, ears: AsrStream) -> None:
        """Find an ear for this session; without one its audio waits, bounded."""
        self._streams[ears.name] = ears
        if not self._attach(ears) and self._capacity:
            quiet = next((e for e in self._streams.values() if e.instance is not None and not e.pending), None)
            if quiet is not None:
                quiet.let_go()
                self._attach(ears)

    def forget(self, name: str) -> None:
        """The session has ended."""
        self._streams.pop(name, None)
        self._attach_waiting()

    def up(self, instance: str, streams: int) -> None:
        """An asr process is warm."""
        self._capacity[instance] = streams
        self._attach_waiting()

    def down(self, instance: str) -> None:
        """An asr process is gone; its streams move, from the oldest sample that is still needed."""
        self._capacity.pop(instance, None)
        for ears in self._streams.values():
            if ears.instance == instance:
                ears.detach()
        self._attach_waiting()

    def writable(self, instance: str) -> None:
        """The process takes messages again."""
        for ears in self._streams.values():
            if ears.instance == instance:
                ears.pump()

    def heard(self, name: str, message: FromStage) -> None:
        """What a process says of a stream that is still its own."""
        ears = self._streams.get(name)
        if ears is not None and ears.instance == message.src:
            ears.heard(message)

    def _attach_waiting(self) -> None:
        for ears in self._streams.values():
            if ears.instance is None and ears.pending:
                self._attach(ears)

    def _attach(self, ears: AsrStream) -> bool:
        load = dict.fromkeys(self._capacity, 0)
        for other in self._streams.values():
            if other.instance in load:
                load[other.instance] += 1
        free = [(count, name) for name, count in load.items() if count < self._capacity[name]]
        if not free:
            return False
        instance = min(free)[1]
        ears.attach(instance, lambda message, buffers: self._send(instance, message, buffers))
        return True
