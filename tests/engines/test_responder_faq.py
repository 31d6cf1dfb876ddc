"""The FAQ responder: understands other words for the same question, refuses what it does not know, is honest."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from configs.schema import Config, Llm
from models.api import ChatMessage, EngineError
from models.llm.faq.book import FaqError, read
from models.llm.faq.responder import FaqResponder, questions
from tests.support.doubles import quiet

KNOWN = {
    "hello!": "greeting",
    "hey, how are you doing today?": "how-are-you",
    "what's your name?": "who",
    "so what is musecast exactly?": "musecast",
    "are you a chat bot or an AI?": "language-model",
    "are you a real human being?": "human",
    "how exactly do you work?": "how",
    "what can you do for me?": "abilities",
    "Hello! What can you do?": "abilities",
    "can you hear what I say?": "hear",
    "which languages can you speak?": "languages",
    "do I need a gpu for this?": "gpu",
    "does it work without internet?": "offline",
    "how fast can you answer?": "speed",
    "can I interrupt you while you speak?": "interrupt",
    "can I use a photo of my own": "own-face",
    "how do your lips know how to move": "lips",
    "how can I add my own questions and answers": "own-questions",
    "is this open source?": "license",
    "what time is it now?": "time",
    "tell me another joke please": "joke",
    "could you repeat that please": "repeat",
    "你好呀": "greeting",
    "请问你是谁": "who",
    "您叫什么名字呢？": "who",
    "你是不是大语言模型": "language-model",
    "你到底是怎么工作的呢": "how",
    "你能听见我说话吗": "hear",
    "没有显卡可以用吗": "gpu",
    "可以随时打断你吗": "interrupt",
    "我想换成自己的照片": "own-face",
    "这张脸是谁的": "face-origin",
    "现在几点了？": "time",
    "今天天气怎么样啊": "weather",
    "给我讲一个笑话吧": "joke",
    "再说一遍好吗": "repeat",
    "你是誰": "who",
}
UNKNOWN = """
what is the capital of france|how do i bake a chocolate cake|who won the world cup|why is the sky blue
translate this sentence into german|what is two plus two|book a table for two at seven|turn on the lights
how many people live in tokyo|what is the meaning of life|who is the president of the united states
my dog is sick what should i do|how tall is mount everest|where is the nearest gas station|who wrote hamlet
what is the best movie of all time|set an alarm for six|how do you spell necessary|can you drive a car
do you like pizza|Hello! What is the capital of France?
法国的首都是哪里|一加一等于几|怎么做红烧肉|帮我订一张去上海的机票|谁是美国总统|天空为什么是蓝色的|推荐一部电影
我的钥匙丢了|世界上最高的山是哪座|附近有什么好吃的|你喜欢吃披萨吗|怎么学好数学|北京有多少人口|给我写一首诗
""".replace("\n", "|")


@pytest.fixture(scope="module")
def faq() -> FaqResponder:
    made = FaqResponder(Config())
    made.load(quiet)
    return made


def answer(faq: FaqResponder, *lines: str) -> str:
    return faq.answer([ChatMessage(("user", "assistant")[at % 2], line) for at, line in enumerate(lines)])


def fallback(faq: FaqResponder, language: str) -> str:
    return faq._book.fallback[language][0]


@pytest.mark.parametrize(("question", "entry"), KNOWN.items(), ids=KNOWN)
def test_other_words_for_a_known_question_are_understood(faq: FaqResponder, question: str, entry: str) -> None:
    found = faq.find(question)
    assert found
    assert found.id == entry


def test_every_phrasing_of_the_file_finds_its_own_entry(faq: FaqResponder) -> None:
    for entry in faq._book.entries:
        for phrases in entry.questions.values():
            for phrase in phrases:
                assert faq.find(phrase) is entry, phrase


def test_unknown_questions_are_refused_and_not_guessed_at(faq: FaqResponder) -> None:
    asked = [question.strip() for question in UNKNOWN.split("|") if question.strip()]
    assert len(asked) >= 35
    assert [question for question in asked if faq.find(question)] == []
    assert answer(faq, "Who wrote Hamlet?").startswith("I did not catch that.")
    assert answer(faq, "法国的首都是哪里？") == fallback(faq, "zh")


def test_it_says_that_it_is_no_language_model(faq: FaqResponder) -> None:
    english = answer(faq, "Are you a language model?")
    assert "not a language model" in english
    assert "list of prepared answers" in english
    assert "Ollama" in english
    chinese = answer(faq, "你是语言模型吗？")
    assert "不是语言模型" in chinese
    assert "Ollama" in chinese


def test_repeat_says_the_last_answer_again_and_not_a_repetition_of_it(faq: FaqResponder) -> None:
    assert answer(faq, "Who are you?", "I am a face.", "Can you repeat that?") == "I said: I am a face."
    assert answer(faq, "x", "I said: I am a face.", "Say that again!") == "I said: I am a face."
    assert answer(faq, "x", "我刚才说：我是头像。", "请再说一遍") == "我刚才说：我是头像。"
    assert answer(faq, "What did you just say?").startswith("I have not said anything")
    assert answer(faq, "你刚才说什么？").startswith("在这次对话里")


def test_several_answers_take_turns(faq: FaqResponder) -> None:
    first = answer(faq, "Tell me a joke")
    second = answer(faq, "Tell me a joke", first, "Tell me another joke")
    assert first != second


def test_a_question_without_letters_is_answered_in_the_language_of_the_talk(faq: FaqResponder) -> None:
    assert answer(faq, "你好", "你好！", "???") == fallback(faq, "zh")
    assert answer(faq, "???") == fallback(faq, "en")


@pytest.mark.parametrize("question", ["a" * 100_000, "\ud800\x00", "你" * 50_000, "!" * 1000])
def test_hostile_questions_get_the_ordinary_refusal(faq: FaqResponder, question: str) -> None:
    assert answer(faq, question) in (fallback(faq, "en"), fallback(faq, "zh"))


def test_the_recogniser_gets_the_questions_of_one_language() -> None:
    english, chinese = questions("", "en-US"), questions("", "zh")
    assert "How do you work" in english
    assert all(phrase.isascii() for phrase in english)
    assert len(set(english)) == len(english) > 150
    assert len(set(chinese)) == len(chinese) > 150
    assert questions("", "xx") == []


def test_every_answer_can_be_spoken_in_reasonable_time(faq: FaqResponder) -> None:
    for entry in faq._book.entries:
        assert set(entry.answers) == {"en", "zh"}
        for text in entry.answers["en"]:
            assert len(text) <= 320, entry.id
        for text in entry.answers["zh"]:
            assert len(text) <= 110, entry.id


GOOD = """\
fallback: {en: No idea.}
entries:
  - id: tea
    questions: {en: [Do you like tea, Is tea good]}
    answers: {en: Tea is fine.}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "faq.yaml"
    path.write_text(text, "utf-8")
    return str(path)


def load(path: str) -> FaqResponder:
    made = FaqResponder(Config(llm=Llm(faq=path)))
    made.load(quiet)
    return made


def test_a_file_of_ones_own_replaces_the_bundled_one(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    mine = load(path)
    assert answer(mine, "do you like tea?") == "Tea is fine."
    assert answer(mine, "how do you work") == "No idea."
    assert questions(path, "en") == ["Do you like tea", "Is tea good"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD.replace("{en: Tea is fine.}", "{en: [Tea}"), 5, "YAML"),
        (GOOD.replace("answers", "answer"), 5, "no key 'answer'"),
        (GOOD.replace("questions: {en", "questions: {de"), 3, "no answer in it"),
        (GOOD.replace("[Do you like tea, Is tea good]", "[]"), 4, "empty"),
        (GOOD.replace("[Do you like tea, Is tea good]", "[{a: b}]"), 4, "text"),
        (GOOD.replace("fallback: {en: No idea.}", "threshold: 2"), 1, "0 "),
        (GOOD.replace("fallback: {en: No idea.}", "threshold: 0.5"), 1, "fallback"),
        (GOOD.replace("fallback: {en:", "fallback: {zh:"), 1, "fallback: en"),
        (GOOD + GOOD.split("entries:\n")[1], 6, "twice"),
        (GOOD + "entries: []\n", 6, "twice"),
        (GOOD.replace("    questions", "    action: dance\n    questions"), 4, "dance"),
        ("- a\n- b\n", 1, "map"),
        ("", 1, "map"),
        ("entries: 5\nfallback: {en: x}\n", 1, "list"),
        ("\n\nentries: []\nfallback: {en: x}\n", 3, "no entries"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(FaqError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:{line}:"), str(caught.value)
    assert words in str(caught.value)
    with pytest.raises(EngineError) as failed:
        load(path)
    assert failed.value.code == "INVALID_ARGUMENT"


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(FaqError, match=r"none\.yaml: cannot be read"):
        read(str(tmp_path / "none.yaml"))
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(FaqError, match="UTF-8"):
        read(str(tmp_path / "latin"))


def test_the_answer_that_changed_under_a_prefix_is_an_error_and_not_a_muddle(faq: FaqResponder) -> None:
    history = [ChatMessage("user", "Who are you?")]
    with pytest.raises(EngineError, match="changed"):
        list(faq.reply(history, "Something else", msgspec.UNSET))  # type: ignore[arg-type]
