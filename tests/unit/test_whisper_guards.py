"""What is believed of a decoding, which words are expected, and what is a sentence."""

from __future__ import annotations

import pytest

from models.asr import chinese, whisper_files
from models.asr.finished import backchannel, finished
from models.asr.guards import Decoding, judge, repeats
from models.asr.hotwords import MAX_TOKENS, rare_words


def decoding(
    text: str, logprob: float = -0.3, no_speech: float = 0.02, seconds: float = 4.0, full: bool = False
) -> Decoding:
    return Decoding(text, logprob, no_speech, seconds, full)


@pytest.mark.parametrize(
    "text",
    ["What is Musecast?", "Thank you very much.", "今天天气怎么样？", "No, no, no.", "Watching birds is fun."],
)
def test_what_people_say_is_believed(text: str) -> None:
    assert judge(decoding(text), "Musecast, robot, lips.").text == text


@pytest.mark.parametrize(
    ("case", "speech"),
    [
        (decoding("Thanks for watching!"), False),
        (decoding("Thank you so much for watching."), False),
        (decoding("请不吝点赞 订阅 转发 打赏支持明镜与点点栏目"), False),
        (decoding("Subtitles by the Amara.org community"), False),
        (decoding("字幕由志愿者提供"), False),
        (decoding("Thank you.", logprob=-1.0), False),
        (decoding("you", logprob=-2.1, no_speech=0.78), False),
        (decoding("...", logprob=-0.2), False),
        (decoding("Musecast, robot, lips."), False),
        (decoding("I am. " * 20), True),
        (decoding("好的好的好的好的好的好的"), True),
        (decoding("It is a long way to the end of it", full=True), True),
        (decoding("Forty words in half a second, said nobody ever who has had to say it", seconds=0.6), True),
        (decoding("Mumbling about the weather", logprob=-1.6), True),
    ],
)  # fmt: skip
def test_what_nobody_said_is_not(case: Decoding, speech: bool) -> None:
    found = judge(case, "Musecast, robot, lips.")
    assert (found.text, found.speech) == ("", speech)
    assert found.reason


def test_repetition_is_not_found_in_plain_speech() -> None:
    assert not repeats("Row, row, row your boat gently down the stream, merrily, merrily.")
    assert repeats("la la la la la la")


@pytest.mark.parametrize(
    "text", ["What is Musecast?", "Stop.", "Who are you?", "你好！", "他说：“走吧。”", "Yes, I am sure."]
)
def test_a_finished_sentence(text: str) -> None:
    assert finished(text)


@pytest.mark.parametrize(
    "text", ["", "What is", "I want to...", "I think that the.", "Because.", "等一下…", "我的。", "and", "?!"]
)
def test_a_sentence_that_goes_on(text: str) -> None:
    assert not finished(text)


@pytest.mark.parametrize(
    "text", ["Uh-huh.", "Mm-hmm", "Yeah, okay.", "嗯嗯。", "Hmm...", "Mhm, right.", "", "(coughs)"]
)
def test_a_listener_asks_for_nothing(text: str) -> None:
    assert backchannel(text)


@pytest.mark.parametrize("text", ["Stop.", "Wait", "No", "Okay, but why?", "等等", "What?"])
def test_a_short_word_can_ask_for_much(text: str) -> None:
    assert not backchannel(text)


def test_the_rarest_words_are_expected_as_they_are_written() -> None:
    numbers = {"musecast": [1, 2], "gpu": [30_000], "robot": [9000], "what": [100], "london": [7000]}

    def encode(text: str) -> list[int]:
        return [
            one
            for word in text.replace(",", " ").replace(".", " ").split()
            for one in numbers.get(word.lower(), [50])
        ]

    assert rare_words(["What is Musecast", "Musecast robot", "Robot", "what GPU", "of London"], encode) == (
        "Musecast, GPU, robot, London."
    )
    assert rare_words(["What is it"], encode) == ""
    many = rare_words(
        [f"word{chr(97 + a)}{chr(97 + b)}" for a in range(20) for b in range(20)],
        lambda text: [9000] * len(text.split()),
    )
    assert 0 < len(many.split()) < MAX_TOKENS


def test_chinese_is_simplified_and_punctuated() -> None:
    assert chinese.simplified("今天天氣怎麼樣?我們一起去公園吧.") == "今天天气怎么样？我们一起去公园吧。"
    assert chinese.simplified("我用 GPU, 3.5 版。") == "我用 GPU, 3.5 版。"


def test_the_sizes_are_those_of_the_package() -> None:
    from faster_whisper.utils import _MODELS

    for size, repository in whisper_files.REPOSITORIES.items():
        assert _MODELS[size] == repository
