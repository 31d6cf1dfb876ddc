"""Which asr process hears which stream: sticky, fewest streams first, moved when a process dies."""

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
        self._draining: set[str] = set()
        """Processes that take no more streams."""

    def assign(self, stream: AsrStream) -> None:
        """Find an asr process for this stream; without one its audio waits, bounded."""
        self._streams[stream.name] = stream
        if not self._attach(stream) and self._capacity:
            quiet = next((e for e in self._streams.values() if e.instance is not None and not e.pending), None)
            if quiet is not None:
                quiet.let_go()
                self._attach(stream)

    def forget(self, name: str) -> None:
        """The stream has ended."""
        self._streams.pop(name, None)
        self._attach_waiting()

    def up(self, instance: str, streams: int) -> None:
        """An asr process is warm."""
        self._capacity[instance] = streams
        self._attach_waiting()

    def down(self, instance: str) -> None:
        """An asr process is gone; its streams move, from the oldest sample that is still needed."""
        self._capacity.pop(instance, None)
        for stream in self._streams.values():
            if stream.instance == instance:
                stream.detach()
        self._attach_waiting()

    def drain(self, instance: str) -> None:
        """An asr process is to take no more streams. Those that it has move to another one; where there is none,
        they stay while somebody speaks in them, and then wait.
        """
        self._draining.add(instance)
        for stream in [s for s in self._streams.values() if s.instance == instance]:
            if self._free() or not stream.listening:
                stream.let_go()
                if stream.pending:
                    self._attach(stream)

    def resume(self, instance: str) -> None:
        """It may take streams again."""
        self._draining.discard(instance)
        self._attach_waiting()

    def held(self, instance: str) -> int:
        """Streams that an asr process hears; one that drains lets go what has fallen quiet."""
        if instance in self._draining:
            self.drain(instance)
        return sum(1 for stream in self._streams.values() if stream.instance == instance)

    def writable(self, instance: str) -> None:
        """The process takes messages again."""
        for stream in self._streams.values():
            if stream.instance == instance:
                stream.pump()

    def heard(self, name: str, message: FromStage) -> None:
        """What a process says of a stream that is still its own."""
        stream = self._streams.get(name)
        if stream is not None and stream.instance == message.src:
            stream.heard(message)

    def _attach_waiting(self) -> None:
        for stream in self._streams.values():
            if stream.instance is None and stream.pending:
                self._attach(stream)

    def _attach(self, stream: AsrStream) -> bool:
        free = self._free()
        if not free:
            return False
        instance = min(free)[1]
        stream.attach(instance, lambda message, buffers: self._send(instance, message, buffers))
        return True

    def _free(self) -> list[tuple[int, str]]:
        """Processes that have room, by how many streams they have."""
        load = dict.fromkeys(self._capacity.keys() - self._draining, 0)
        for stream in self._streams.values():
            if stream.instance in load:
                load[stream.instance] += 1
        return [(count, name) for name, count in load.items() if count < self._capacity[name]]
