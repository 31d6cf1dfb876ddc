"""Twenty sessions speak at once into one asr process: everybody is understood, and as what was said to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest

from broker.ipc.messages import AsrAudio, AsrFinal, AsrMark
from configs.schema import Config, Stages
from configs.schema import Stage as StageConfig
from stages.asr import AsrStage
from tests.engines.test_transcriber_stage import Process
from tests.support.doubles import quiet
from tests.support.hearing import RATE, Pcm, index, names, recording, room
from tests.support.word_error import words

SESSIONS = 20


@pytest.fixture(scope="module")
def process() -> Iterator[Process]:
    stage = AsrStage(Config(stages=Stages(asr=StageConfig(credit=SESSIONS))), "asr.0")
    stage.setup(quiet)
    made = Process(stage)
    yield made
    made.stop()
    stage.teardown()


def test_nobodys_audio_reaches_anothers_answer(process: Process) -> None:
    random = np.random.default_rng(8)
    said = {f"s{number}": name for number, name in enumerate(names("question")[:SESSIONS])}
    assert len({index()[name] for name in said.values()}) >= 8, "everybody asks the same"
    sounds = {sid: room(0.3, recording(name), 0.8, seed=number) for number, (sid, name) in enumerate(said.items())}
    pieces = {sid: deque(cut(sound, random)) for sid, sound in sounds.items()}
    at = dict.fromkeys(said, 0)
    while pieces:
        sid = str(random.choice(sorted(pieces)))
        piece = pieces[sid].popleft()
        audio = AsrAudio(broker=1, sid=sid, sample_rate=RATE, at=at[sid], reset=at[sid] == 0, end=not pieces[sid])
        process.feed.put(audio, piece)
        at[sid] += len(piece)
        if not pieces[sid]:
            del pieces[sid]
    for sid, name in said.items():  # one thread of words for all of them: each wait is for one more
        [final] = process.finals(sid=sid)
        assert words(final.text) == words(index()[name]), (sid, name)
    assert {m.sid for m in process.feed.sent if isinstance(m, AsrFinal | AsrMark)} == set(said)


def cut(sound: Pcm, random: np.random.Generator) -> list[Pcm]:
    """Pieces of 20 to 200 ms."""
    cuts = np.cumsum(random.integers(RATE // 50, RATE // 5, len(sound) // (RATE // 50)))
    return np.split(sound, cuts[cuts < len(sound)])
