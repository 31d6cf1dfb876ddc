"""A microphone stream survives the deaths of whoever hears it, and tells nothing twice."""

from __future__ import annotations

from broker.ipc.messages import (
    AsrAudio,
    AsrClose,
    AsrFinal,
    AsrMark,
    AsrPartial,
    AsrSound,
    AsrSpeechEnded,
    AsrSpeechStarted,
    FromStage,
    Message,
)
from broker.media.sounds import Sounds
from broker.workers.asr_stream import AsrStream
from broker.workers.asr_streams import AsrStreams

RATE = 16_000


class Processes:
    """What was sent to asr processes."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Message, bytes]] = []
        self.streams = AsrStreams(self._send)

    def _send(self, instance: str, message: Message, buffers: list[bytes]) -> bool:
        self.got.append((instance, message, bytes(buffers[0]) if buffers else b""))
        return True

    def audio(self, instance: str) -> list[AsrAudio]:
        return [m for i, m, _ in self.got if i == instance and isinstance(m, AsrAudio)]


class Heard:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def speech_started(self, stream: AsrStream, utterance: int, at: int) -> None:
        self.told.append(("started", utterance, at))

    def speech_ended(self, stream: AsrStream, utterance: int, at: int, audio_ms: int) -> None:
        self.told.append(("ended", utterance, at))

    def partial(self, stream: AsrStream, message: AsrPartial) -> None:
        self.told.append(("partial", message.utterance, 0))

    def final(self, stream: AsrStream, message: AsrFinal) -> None:
        self.told.append(("final", message.utterance, 0))


def new_stream(name: str = "s/1.1", listener: Heard | None = None) -> AsrStream:
    return AsrStream(name, RATE, "", listener or Heard(), broker=1, utterance_s=60, now=lambda: 9_000)


def assigned(processes: Processes, listener: Heard | None = None) -> AsrStream:
    stream = new_stream(listener=listener)
    processes.streams.up("asr.0", 8)
    processes.streams.assign(stream)
    return stream


def says(stream: AsrStream, kind: type[FromStage], **fields: object) -> None:
    stream.heard(kind(src="asr.0", ep=1, sid=stream.name, **fields))


def test_what_was_not_heard_is_sent_again_with_the_utterance_open_and_the_clients_end() -> None:
    processes = Processes()
    stream = assigned(processes)
    stream.push(bytes(2 * RATE), end=False, now=0)
    says(stream, AsrSpeechStarted, utterance=0, at=4000)
    says(stream, AsrMark, consumed=RATE, keep=4000, speaking=True)
    stream.push(bytes(RATE), end=True, now=0)
    processes.streams.down("asr.0")
    processes.streams.up("asr.1", 8)
    replay = processes.audio("asr.1")
    assert replay[0].reset
    assert replay[0].speaking
    assert (replay[0].at, replay[0].utterance) == (4000, 0)
    assert replay[-1].end, "the client's end must not die with the process"
    sent = sum(len(b) for i, m, b in processes.got if i == "asr.1")
    assert sent == 2 * (RATE + RATE // 2 - 4000)


def test_what_a_successor_repeats_is_told_once_with_the_time_of_the_audio() -> None:
    heard = Heard()
    stream = assigned(Processes(), heard)
    stream.push(bytes(2 * 4000), end=False, now=100)
    stream.push(bytes(2 * 8000), end=False, now=200)
    for _ in range(2):
        says(stream, AsrSpeechStarted, utterance=0, at=3000)
        says(stream, AsrSpeechEnded, utterance=0, at=8000, audio_ms=500)
    for _ in range(2):
        says(stream, AsrFinal, utterance=0, text="Hello", confidence=0.9, language="en")
        says(stream, AsrPartial, utterance=0, text="late", language="en")
    assert heard.told == [("started", 0, 100), ("ended", 0, 200), ("final", 0, 0)]


def test_empty_calls_cost_nothing() -> None:
    stream = new_stream()
    for _ in range(10_000):
        stream.push(b"", end=True, now=0)
    assert len(stream._ends) == 1
    assert not stream._times
    assert stream.pending is False


def test_a_quiet_stream_gives_its_place_to_one_that_speaks() -> None:
    processes = Processes()
    processes.streams.up("asr.0", 1)
    quiet, other = new_stream("s/1.1"), new_stream("s/2.1")
    processes.streams.assign(quiet)
    quiet.push(bytes(200), end=False, now=0)
    says(quiet, AsrMark, consumed=100, keep=100, speaking=False)
    other.push(bytes(200), end=False, now=0)
    processes.streams.assign(other)
    assert other.instance == "asr.0"
    assert quiet.instance is None
    assert any(isinstance(m, AsrClose) for _, m, _ in processes.got)


def test_words_that_have_been_understood_are_not_heard_again_by_a_successor() -> None:
    processes = Processes()
    stream = assigned(processes)
    stream.push(bytes(2 * RATE), end=False, now=0)
    says(stream, AsrSpeechStarted, utterance=0, at=4000)
    says(stream, AsrSpeechEnded, utterance=0, at=12_000, audio_ms=500)
    says(stream, AsrFinal, utterance=0, text="Hello", confidence=0.9, language="en")
    processes.streams.down("asr.0")
    processes.streams.up("asr.1", 8)
    assert processes.audio("asr.1")[0].at == 12_000
    assert not processes.audio("asr.1")[0].speaking


def test_a_chunk_goes_down_once_while_its_process_lives() -> None:
    processes = Processes()
    stream = assigned(processes)
    for k in range(20):
        stream.push(bytes([k]) * 3200, end=False, now=0)
        says(stream, AsrMark, consumed=(k + 1) * 1600, keep=k * 1600, speaking=True)
    assert b"".join(pcm for _, _, pcm in processes.got) == b"".join(bytes([k]) * 3200 for k in range(20))


def test_an_utterance_that_nobody_waits_for_any_more_is_not_heard_again_either() -> None:
    """The stream does not know what became of its turn."""
    processes = Processes()
    stream = assigned(processes)
    stream.push(bytes(2 * RATE), end=False, now=0)
    for number in range(2):
        says(stream, AsrSpeechStarted, utterance=number, at=6000 * number)
        says(stream, AsrSpeechEnded, utterance=number, at=6000 * number + 5000, audio_ms=100)
        says(stream, AsrFinal, utterance=number, text="", confidence=0.0, language="en", rejected=True)
    processes.streams.down("asr.0")
    processes.streams.up("asr.1", 8)
    assert (processes.audio("asr.1")[0].at, processes.audio("asr.1")[0].utterance) == (11_000, 2)


def test_what_viewers_hear_is_told_before_the_audio_and_again_to_a_successor() -> None:
    processes, sounds = Processes(), Sounds()
    stream = AsrStream("s/1.1", RATE, "", Heard(), broker=1, utterance_s=60, now=lambda: 9_000, sounds=sounds)
    processes.streams.up("asr.0", 1)
    processes.streams.assign(stream)
    sounds.add(5_000, b"\x01\x00" * 480)
    stream.push(bytes(2 * 1600), end=False, now=200_000)
    stream.push(bytes(2 * 1600), end=False, now=300_000)
    sounds.cut(9_000)
    stream.push(bytes(2 * 1600), end=False, now=400_000)
    told = [(m.at, len(pcm)) if isinstance(m, AsrSound) else m.time for _, m, pcm in processes.got]
    assert told == [(5_000, 960), 200_000, 300_000, (9_000, 0), 400_000]
    stream.echoes = False  # the client says that it cancels echoes itself
    sounds.add(9_500, b"\x01\x00" * 480)
    stream.push(bytes(2 * 1600), end=False, now=500_000)
    assert isinstance(processes.got[-2][1], AsrAudio), "nothing is told before it"
    stream.echoes = True
    processes.got.clear()
    processes.streams.down("asr.0")
    processes.streams.up("asr.1", 1)
    assert [type(m) for _, m, _ in processes.got][:4] == [AsrSound, AsrSound, AsrSound, AsrAudio]
