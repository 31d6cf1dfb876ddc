"""The llm stage, driven without sockets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from broker.ipc.messages import Line, LlmDelta, LlmItem, LlmSentence, TtsItem
from configs.schema import Config
from models.api import Cancel, ChatMessage, EngineError, Responder
from models.chain.chain import Chain
from models.chain.policy import Limits
from models.chain.responder import ChainResponder, probe
from models.text.sentences import sentences
from stages.llm import DELTA_CHARS, LlmStage
from stages.stage import serve
from tests.support.doubles import RecordedWork, quiet

HEAD = {"id": "s/1/llm/0", "attempt": 1, "broker": 1, "sid": "s", "turn": 1}


class Scripted:
    """A responder that says given pieces; it can be one that is unable to continue."""

    name = "scripted"

    def __init__(self, pieces: Sequence[str], can_continue: bool = True) -> None:
        self.pieces, self.can_continue = pieces, can_continue

    def load(self, progress: object) -> None: ...

    def close(self) -> None: ...

    def reply(self, history: Sequence[ChatMessage], prefix: str, cancel: Cancel) -> Iterator[str]:
        rest = "".join(self.pieces)[len(prefix) :]
        for piece in self.pieces if not prefix else [rest]:
            if piece == "BOOM":
                raise EngineError("FAILED", "the model is gone", "Start it", retryable=True)
            yield piece


@pytest.fixture(scope="module")
def stage() -> Iterator[LlmStage]:
    made = LlmStage(Config(), "llm.0")
    made.setup(quiet)
    yield made
    made.teardown()


def scripted(*pieces: str, can_continue: bool = True) -> LlmStage:
    made = LlmStage(Config(), "llm.0")
    limits = Limits(60, 60, 2, 60, 60)
    chain: Chain[Responder] = Chain(
        "llm", {"scripted": lambda: Scripted(pieces, can_continue)}, limits, made.meter, probe
    )
    made._responder = ChainResponder(chain)
    chain.load(quiet)
    return made


def ask(stage: LlmStage, question: str, prefix: str = "", accepted: int = 0) -> RecordedWork:
    work = RecordedWork(LlmItem(**HEAD, history=[Line("user", question)], prefix=prefix, sentences=accepted))
    serve(stage, work)
    return work


def text_of(work: RecordedWork) -> str:
    return "".join(output.text for output, _ in work.outputs if isinstance(output, LlmDelta))


def sentences_of(work: RecordedWork) -> list[tuple[int, str]]:
    return [(output.sentence, output.text) for output, _ in work.outputs if isinstance(output, LlmSentence)]


@pytest.mark.parametrize("question", ["How do you work?", "你是怎么工作的？"])
def test_text_and_sentences_are_those_of_the_answer(stage: LlmStage, question: str) -> None:
    work = ask(stage, question)
    assert work.finished
    assert [text for _, text in sentences_of(work)] == sentences(text_of(work), early=True)
    assert [number for number, _ in sentences_of(work)] == list(range(len(sentences_of(work))))
    assert len(sentences_of(work)) >= 3
    assert stage.serving == "faq"


def test_a_sentence_is_sent_before_the_answer_is_finished_and_after_its_text(stage: LlmStage) -> None:
    work = ask(stage, "How do you work?")
    kinds = [type(output) for output, _ in work.outputs]
    assert kinds.index(LlmSentence) < len(kinds) - 2
    seen = ""
    for output, _ in work.outputs:
        if isinstance(output, LlmDelta):
            seen += output.text
        elif isinstance(output, LlmSentence):
            assert output.text in seen


def test_small_pieces_are_sent_together() -> None:
    work = ask(scripted(*"This is a text that comes letter by letter. And a second one."), "x")
    deltas = [output.text for output, _ in work.outputs if isinstance(output, LlmDelta)]
    assert len(deltas) <= 5
    assert all(len(delta) <= DELTA_CHARS for delta in deltas)


@pytest.mark.parametrize("question", ["How do you work?", "你是怎么工作的？"])
def test_a_reply_that_was_cut_off_goes_on_without_repeating_a_sentence(stage: LlmStage, question: str) -> None:
    """A retry at every output: what was accepted plus what the retry sends is the undisturbed answer."""
    whole = ask(stage, question)
    for accepted in range(len(whole.outputs) + 1):
        before = RecordedWork(whole.item)
        before.outputs = whole.outputs[:accepted]
        again = ask(stage, question, text_of(before), len(sentences_of(before)))
        assert again.finished
        assert text_of(before) + text_of(again) == text_of(whole)
        assert sentences_of(before) + sentences_of(again) == sentences_of(whole)


def test_an_engine_that_cannot_continue_fails_the_retry_and_says_so() -> None:
    work = ask(scripted("One. Two.", can_continue=False), "x", prefix="One. ", accepted=1)
    assert work.failure
    assert work.failure[0] == "FAILED"
    assert "cannot go on" in work.failure[1]
    assert not work.outputs


def test_an_engine_that_breaks_fails_the_item_after_what_it_said() -> None:
    work = ask(scripted("Hello there. I am", " fine", "BOOM"), "x")
    assert work.failure == ("FAILED", "the model is gone. Start it", True)
    assert sentences_of(work) == [(0, "Hello there.")]


def test_a_cancelled_answer_says_no_more() -> None:
    stage = scripted("Hello there. ", "I am fine. ", "And you?")
    work = RecordedWork(LlmItem(**HEAD, history=[Line("user", "x")]))
    stream = stage.handle(work)
    next(stream)
    work.cancel.set()
    assert [type(output) for output, _ in stream if isinstance(output, LlmSentence)] == []


def test_markup_is_shown_and_not_spoken() -> None:
    work = ask(scripted("**Bold** 😀. ", "See `x` at https://a.b/c."), "x")
    assert text_of(work) == "**Bold** 😀. See `x` at https://a.b/c."
    assert sentences_of(work) == [(0, "Bold."), (1, "See x at a.b.")]


def test_another_stages_item_is_refused(stage: LlmStage) -> None:
    work = RecordedWork(TtsItem(**HEAD, text="x"))
    serve(stage, work)
    assert work.failure
    assert work.failure[0] == "UNSUPPORTED"
