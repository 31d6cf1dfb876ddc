"""The tts stage, driven without sockets."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from broker.ipc.messages import AudioItem, LlmItem, Serving, TtsChunk, TtsItem
from configs.schema import Config, Engines
from models.api import EngineError
from models.engines import KNOWN
from models.tts import espeak
from stages.stage import serve
from stages.tts import TtsStage
from tests.support.doubles import RecordedWork, quiet

HEAD = {"id": "s/1/tts/0", "attempt": 1, "broker": 1, "sid": "s", "turn": 1}


@pytest.fixture(scope="module")
def stage() -> Iterator[TtsStage]:
    made = TtsStage(Config(), "tts.0")
    made.setup(quiet)
    yield made
    made.teardown()


def run(stage: TtsStage, item: TtsItem | AudioItem | LlmItem, *buffers: bytes) -> RecordedWork:
    work = RecordedWork(item, *buffers)
    serve(stage, work)
    return work


def joined(work: RecordedWork) -> tuple[int, np.ndarray]:
    """Where the audio begins and the audio, after checking that its pieces are contiguous."""
    assert work.finished, work.failure
    chunks = [(output, buffers) for output, buffers in work.outputs if isinstance(output, TtsChunk)]
    begin = at = chunks[0][0].at if chunks else 0
    parts = []
    for output, buffers in chunks:
        assert output.at == at
        part = np.frombuffer(buffers[0], "<i2")
        assert 0 < len(part) <= 96_000  # a second of an engine's, and the word that was held before it
        parts.append(part)
        at += len(part)
    return begin, np.concatenate(parts) if parts else np.zeros(0, "<i2")


def test_a_sentence_becomes_contiguous_chunks_with_times(stage: TtsStage) -> None:
    work = run(stage, TtsItem(**HEAD, text="Hello, world. How are you?"))
    begin, samples = joined(work)
    assert begin == 0
    assert len(samples) > 48_000
    chunks = [output for output, _ in work.outputs if isinstance(output, TtsChunk)]
    assert [word.text for chunk in chunks for word in chunk.words][:2] == ["Hello", "world"]
    assert stage.serving == "hibari"


def test_a_retried_sentence_goes_on_where_the_accepted_audio_ended(stage: TtsStage) -> None:
    _, full = joined(run(stage, TtsItem(**HEAD, text="Hello, world. How are you?")))
    begin, rest = joined(run(stage, TtsItem(**HEAD, text="Hello, world. How are you?", from_us=700_000)))
    assert begin == 33_600
    assert np.array_equal(rest, full[begin:])


def test_client_audio_is_the_same_however_it_is_cut(stage: TtsStage) -> None:
    pcm = np.random.default_rng(3).integers(-20000, 20000, (44_100 * 3, 2), dtype=np.int16)

    def convert(start: int, end: int, low: int, high: int) -> np.ndarray:
        item = AudioItem(
            **HEAD, sample_rate=44_100, channels=2, encoding="s16le", start=start, out_from=low, out_to=high
        )
        begin, samples = joined(run(stage, item, pcm[start:end].tobytes()))
        assert begin == low
        return samples

    full = convert(0, len(pcm), 0, 144_000)
    assert len(full) == 144_000
    parts = [convert(0, 50_000, 0, 50_001), convert(45_000, len(pcm), 50_001, 144_000)]
    assert np.array_equal(np.concatenate(parts), full)


def test_48_khz_mono_comes_through_bit_for_bit(stage: TtsStage) -> None:
    pcm = np.arange(-32768, 32768, dtype="<i2")
    item = AudioItem(
        **HEAD, sample_rate=48_000, channels=1, encoding="s16le", start=100, out_from=100, out_to=65_636
    )
    assert np.array_equal(joined(run(stage, item, pcm.tobytes()))[1], pcm)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"encoding": "mp3"}, "mp3"), ({"channels": 0}, "channels"), ({"sample_rate": 1000}, "1000")],
)
def test_audio_that_cannot_be_converted_fails_with_the_reason(
    stage: TtsStage, changes: dict[str, object], words: str
) -> None:
    fields = {"sample_rate": 16_000, "channels": 1, "encoding": "s16le", "start": 0, "out_from": 0, "out_to": 480}
    work = run(stage, AudioItem(**HEAD, **(fields | changes)), bytes(320))  # type: ignore[arg-type]
    assert work.failure
    assert work.failure[0] == "INVALID_ARGUMENT"
    assert words in work.failure[1]
    assert not work.failure[2]


def test_another_stages_item_is_refused(stage: TtsStage) -> None:
    work = run(stage, LlmItem(**HEAD, history=[]))
    assert work.failure
    assert work.failure[0] == "UNSUPPORTED"


def test_a_chain_falls_back_and_says_why_when_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KNOWN["tts"], "broken", "models.no_such_module:Engine")
    chain = TtsStage(Config(engines=Engines(tts=["broken", "nosuch", "espeak"])), "tts.0")
    chain.setup(quiet)
    assert chain.serving == "espeak"
    chain.teardown()
    bad = TtsStage(Config(engines=Engines(tts=["broken", "nosuch"])), "tts.0")
    with pytest.raises(EngineError, match=r"no_such_module.*nosuch.*espeak"):
        bad.setup(quiet)
    bad.teardown()


def test_a_missing_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "_shared", None)  # as in a process that has not loaded it
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(EngineError, match=r"pip install 'musecast\[espeak\]'"):
        TtsStage(Config(engines=Engines(tts=["espeak"])), "tts.0").setup(quiet)


def test_a_sentence_is_said_by_the_first_engine_that_speaks_its_language(stage: TtsStage) -> None:
    heard = {}
    for text in ("It is late.", "现在很晚了。", "我说 hello。"):
        work = run(stage, TtsItem(**HEAD, text=text))
        heard[text] = [output.engine for output, _ in work.outputs if isinstance(output, Serving)]
    assert heard == {"It is late.": ["hibari"], "现在很晚了。": ["espeak"], "我说 hello。": ["espeak"]}


def test_a_voice_of_a_later_engine_selects_that_engine(stage: TtsStage) -> None:
    work = run(stage, TtsItem(**HEAD, text="It is late.", voice="en-gb+muse"))
    assert [output.engine for output, _ in work.outputs if isinstance(output, Serving)] == ["espeak"]
    offered = stage.info["voices"]
    assert isinstance(offered, list)
    assert offered[0] == "hibari\theart\ten-US\tfemale"
    assert "espeak\ten-gb+muse\ten-GB\tfemale" in offered
