"""Sentence cutting: where it cuts, what it says, and that deltas never change it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.text.sentences import MAX_WEIGHT, SentenceCutter, sentences
from models.text.speakable import speakable

CASES: list[tuple[str, list[str]]] = [
    ("Hello! How are you? I am fine.", ["Hello!", "How are you?", "I am fine."]),
    ("你好！今天天气很好。我们去公园吧？", ["你好！", "今天天气很好。", "我们去公园吧？"]),
    ("他说：“好的。”然后走了。", ["他说：“好的。”", "然后走了。"]),
    ("我用musecast.很好。Good morning.你好", ["我用musecast.", "很好。", "Good morning.", "你好"]),
    (
        "Mr. Smith paid 3.14 dollars. Dr. J. R. Jones did not.",
        ["Mr. Smith paid 3.14 dollars.", "Dr. J. R. Jones did not."],
    ),
    ("It was too much, i.e. a lot, e.g. ten. Yes.", ["It was too much, i.e. a lot, e.g. ten.", "Yes."]),
    (
        "He lives in the U.S. and works. In the U.S. They stay.",
        ["He lives in the U.S. and works.", "In the U.S.", "They stay."],
    ),
    (
        "We met at 5 p.m. on Monday. It is 5 p.m. Then we left.",
        ["We met at 5 p.m. on Monday.", "It is 5 p.m.", "Then we left."],
    ),
    (
        "No. That is wrong. No. 5 is right. So do I. Bye.",
        ["No.", "That is wrong.", "No. 5 is right.", "So do I.", "Bye."],
    ),
    ("I sat. You stood. It was sun. Then rain.", ["I sat.", "You stood.", "It was sun.", "Then rain."]),
    (
        "Well... maybe it is... or not. Who knows… The end.",
        ["Well... maybe it is... or not.", "Who knows…", "The end."],
    ),
    ("嗯……我想想。也许明天再说吧……好。", ["嗯……我想想。", "也许明天再说吧……", "好。"]),
    ('"Hello!" she said. "Is it you?" He nodded.', ['"Hello!" she said.', '"Is it you?"', "He nodded."]),
    ("(It works.) Next!", ["(It works.)", "Next!"]),
    ("Really?! Yes!!! Wow", ["Really?!", "Yes!!!", "Wow"]),
    ("1. First item\n2. Second item\n- third thing", ["1. First item", "2. Second item", "third thing"]),
    ("# Title\nText under it.\n\nNext", ["Title", "Text under it.", "Next"]),
    (
        "This line was wrapped by an editor at some column width and\ncontinues here. Fine.",
        ["This line was wrapped by an editor at some column width and continues here.", "Fine."],
    ),
    ("Roses are red\nViolets are blue", ["Roses are red", "Violets are blue"]),
    ("See [the docs](https://a.b/c.d?e=1). Now.", ["See the docs.", "Now."]),
    ("Go to https://www.example.com/a.b/c?d. Then stop.", ["Go to example.com.", "Then stop."]),
    ("This is **very** *important* and `code`. OK 😀🎉.", ["This is very important and code.", "OK."]),
    ("Look:\n```python\nprint('a. b. c')\n```\nDone.", ["Look:", "Here is a piece of code.", "Done."]),
    ("看：\n```\nprint(1)\n```\n完了。", ["看：", "这里有一段代码。", "完了。"]),
    ("| a | b |\n|---|---|\n| 1 | 2 |", ["1: b 2."]),
    (
        "Ages:\n\n| Name | Age | City |\n|:--|--:|---|\n| Anna | 5 | Rome |\n| Bob | | Oslo |\n\nThat is all.",
        ["Ages:", "Anna: Age 5, City Rome.", "Bob: City Oslo.", "That is all."],
    ),
    ("| 名字 | 年龄 |\n| --- | --- |\n| 小红 | 五岁 |", ["小红：年龄五岁。"]),
    ("| only one row |\nText.", ["only one row", "Text."]),
    ("a * b is 2*3 and snake_case", ["a * b is 2*3 and snake_case"]),
    ("!!! ... ??? 。。。 😀 --- *** ", []),
    ("", []),
    ("no full stop at the end", ["no full stop at the end"]),
    ("Version 2.0.1 costs $3.50. Fine", ["Version 2.0.1 costs $3.50.", "Fine"]),
]


@pytest.mark.parametrize(("text", "wanted"), CASES, ids=[case[0][:24] for case in CASES])
def test_a_text_is_cut_where_a_reader_would_pause(text: str, wanted: list[str]) -> None:
    assert sentences(text) == wanted


ALPHABET = st.text(
    st.sampled_from("aAbI19 .,!?…\n\"'()*`~_#-:/[]<>|“”。，！？、；你好世😀\t\rh")
    | st.characters(max_codepoint=0x3100),
    max_size=60,
)
PIECES = st.lists(
    st.sampled_from(
        [
            "Mr. ",
            "e.g. ",
            "3.14",
            "https://a.b/c. ",
            "```",
            "x = 1. ",
            "\n",
            "\n\n",
            "2. ",
            "- ",
            "你好。",
            "……",
            "... ",
            "He said. ",
            "and so on, ",
            "“好”",
            "长句子没有标点" * 5,
            "word " * 12,
            "! ",
            "?",
            "p.m. ",
            "[a](http://b",
            ") ",
        ]
    )
    | ALPHABET,
    max_size=14,
).map("".join)


@example(text="长句子没有标点" * 10 + "[a](http://b", sizes=[1], early=False)
@settings(max_examples=400, deadline=None)
@given(text=PIECES, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=20), early=st.booleans())
def test_how_a_text_is_split_into_deltas_never_matters(text: str, sizes: list[int], early: bool) -> None:
    cutter, found, at = SentenceCutter(early=early), [], 0
    for index in range(len(text)):
        step = sizes[index % len(sizes)]
        found += cutter.feed(text[at : at + step])
        at += step
        if at >= len(text):
            break
    assert found + cutter.flush() == sentences(text, early=early)


@settings(max_examples=200, deadline=None)
@given(text=PIECES)
def test_every_sentence_can_be_spoken_and_is_bounded(text: str) -> None:
    for sentence in sentences(text):
        assert any(char.isalnum() for char in sentence)
        assert sentence == sentence.strip()
        assert len(sentence) <= MAX_WEIGHT + 2100
        assert "\n" not in sentence


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.from_regex(r"[a-zA-Z0-9]{1,8}[.,!?;:]{0,2}|[你好世界天气真不错]{1,9}[。，！？…]{0,2}", fullmatch=True),
        max_size=120,
    )
)
def test_no_word_is_lost_or_said_twice(words: list[str]) -> None:
    text = " ".join(words)
    said = "".join(sentences(text))
    assert re.sub(r"\W", "", said) == re.sub(r"\W", "", text)


def test_a_sentence_comes_as_soon_as_it_is_complete() -> None:
    cutter = SentenceCutter()
    assert cutter.feed("你好！") == []
    assert cutter.feed("我") == ["你好！"]
    assert cutter.feed("是缪斯。\n") == ["我是缪斯。"]
    assert cutter.feed("Fine. ") == []
    assert cutter.feed("Y") == ["Fine."]
    assert cutter.flush() == ["Y"]


def test_only_the_first_sentence_of_a_reply_may_end_early_at_a_comma() -> None:
    text = (
        "I can answer questions about musecast, and I can tell you how it works, and why it was made, too. So ask."
    )
    assert sentences(text, early=True) == [
        "I can answer questions about musecast,",
        "and I can tell you how it works, and why it was made, too.",
        "So ask.",
    ]
    assert sentences("Well, yes, no.", early=True) == ["Well, yes, no."]
    chinese = sentences("我可以回答关于这个项目的很多问题，也可以告诉你它是怎么工作的，还有别的。", early=True)
    assert chinese[0] == "我可以回答关于这个项目的很多问题，"
    assert len(chinese) == 2


def test_a_text_without_stops_is_cut_at_commas_else_at_spaces_else_anywhere() -> None:
    assert all(len(part) <= MAX_WEIGHT and part.endswith("word") for part in sentences("word " * 200))
    assert all(part.endswith(",") for part in sentences("many words and, " * 60))
    parts = sentences("没有标点" * 100)
    assert "".join(parts) == "没有标点" * 100
    assert all(len(part) <= 74 for part in parts)


def test_a_flushed_cutter_begins_anew() -> None:
    cutter = SentenceCutter()
    first = cutter.feed("```\nnever closed") + cutter.flush()
    assert first == ["Here is a piece of code."]
    assert cutter.feed("Hello there. ") + cutter.flush() == ["Hello there."]


LONGEST = 20_000
"""Characters of one request; it is cut in the loop that serves everybody."""
SHORT = 2_000
PROSE = "This is a sentence, with a clause. "
WORST = 15
"""A text takes at most so many times as long as prose of its length. Some 5 times are usual at worst, 40 ms; what
grows with the square takes a hundred times. Prose is timed beside it: a busy machine is slow with both."""


@pytest.mark.parametrize(
    "unit",
    [
        PROSE, "a. ", "! ", ". ", "Mr. ", ".\"", "1.\n", "a\n", "*a\n", "h",
        "\n", " ", " \n", "\r\n", "\x0b\n", "\n" + " " * 219, " " * 10_000 + "\n" * 10_000, "a" + "\n" * 19_999,
        "a. " + " " * 19_997, "a. " + "\" " * 10_000, " " * 218 + "a ", "|" * 219 + "x", "-" * 219 + "x",
        "a。", "a😀。", "a。😀\n", "x|。", "<a>x。", "😀" * 218 + "ax", "[](", "[a](b \"c", "`` ", "```\n",
        "- - x", "_a_ ", "http://", "http://a。", "http://" + "a" * 19_993, "http://a" + "." * 19_992,
    ],
)  # fmt: skip
def test_no_text_takes_time_that_grows_with_its_square(unit: str) -> None:
    text, prose = ((one * (LONGEST // len(one) + 1))[:LONGEST] for one in (unit, PROSE))

    def cut(text: str) -> float:
        begin = time.thread_time()
        sentences(text)
        return time.thread_time() - begin

    took, usual = zip(*[(cut(text), cut(prose[:SHORT])) for _ in range(4)], strict=True)
    assert min(took) < WORST * min(usual) * LONGEST / SHORT


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("**bold** __strong__ ~~gone~~", "bold strong gone"),
        ("![alt text](http://x/y.png)", "alt text"),
        ("<b>Hi</b><br/>there", "Hi there"),
        ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
        ("a<b and c>d", "a<b and c>d"),
        ("a<b && c>d", "a<b && c>d"),
        ("a<b>c and if x<i>y", "a<b>c and if x<i>y"),
        ("H<sub>2</sub>O, x<b>2</B>, Hello.<p>World", "H 2 O, x 2 , Hello. World"),
        ("a[i](x) and f(x)[0](y)", "a[i](x) and f(x)[0](y)"),
        ("see[it](https://x.org/a), 见[链接](b), ([x](y))", "seeit, 见链接, (x)"),
        ("List<String> and vector<int>", "List<String> and vector<int>"),
        ('<a href="http://x.org/a b" class=c>here</a>', "here"),
        ("<p hidden>no</p> <input disabled> <img src='a.png'/>", "no"),
        ("Press <Enter>, then type <name>.", "Press <Enter>, then type <name>."),
        ('<speak>Hi <break time="1s"/>there</speak>', "Hi there"),
        ("2*3 = 6, 2 * 3 = 6, 2**3 = 8", "2*3 = 6, 2 * 3 = 6, 2**3 = 8"),
        ("(a+b)*(c+d) and x* y", "(a+b)*(c+d) and x* y"),
        ("5 *3* 2, (1) *(2+3)* 4", "5 *3* 2, (1) *(2+3)* 4"),
        ("In 2020 *all* 5 came, it was *3* dollars", "In 2020 all 5 came, it was 3 dollars"),
        ("2 ➕ 3 ✖️ 4 ➖ 1 ➗ 5", "2 + 3 × 4 - 1 ÷ 5"),
        ("C♯ and B♭ ✔", "C♯ and B♭"),
        ("x_1 + y_2, snake_case_name", "x_1 + y_2, snake_case_name"),
        ("say *this* and _that_, ***both***", "say this and that, both"),
        ("你好**世界**吗", "你好世界吗"),
        ("**It goes on.", "It goes on."),
        ("to the end.**", "to the end."),
        ("a || b | c", "a || b | c"),
        ("|x| = 5", "|x| = 5"),
        ("| name | age |", "name age"),
        ("> 5 is large", "> 5 is large"),
        ("+ 3 is positive", "+ 3 is positive"),
        ("about ~5 minutes, a ~~ b", "about ~5 minutes, a ~~ b"),
        ("C# and #1", "C# and #1"),
        ("<|im_start|>assistant Hi<|im_end|>", "Hi"),
        ("<|start_header_id|>assistant<|end_header_id|>Hi<|eot_id|>", "Hi"),
        ("[INST] Hi [/INST]</s>", "Hi"),
        ("<start_of_turn>model Hi<end_of_turn>", "Hi"),
        ("<｜Assistant｜>Hi<｜end▁of▁sentence｜>", "Hi"),
        ("<!-- note -->Hi", "Hi"),
        ("👍🏽 good 👨‍👩‍👧", "good"),
        ("- [x] done", "done"),
        ("> quoted", "quoted"),
        ("email me@example.org", "email me@example.org"),
        ("a\x00b\x1bc\ud800", "a b c"),
        ("---", ""),
        ("“”", ""),
    ],
)
def test_markup_is_not_read_aloud(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


ANALYSIS = "<|channel|>analysis<|message|>"
THOUGHTS = "The user says hi. I should answer! <b>Well</b>\n\nSo..."


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (f"<think>{THOUGHTS}</think>\n\nHello there. How are you?", ["Hello there.", "How are you?"]),
        (f"<THINK>{THOUGHTS}</Think>Hello.", ["Hello."]),
        (f"\n <thinking>{THOUGHTS}</thinking>Hello.", ["Hello."]),
        (f"[THINK]{THOUGHTS}[/THINK]Hello.", ["Hello."]),
        (f"◁think▷{THOUGHTS}◁/think▷Hello.", ["Hello."]),
        (f"<|START_THINKING|>{THOUGHTS}<|END_THINKING|>Hello.", ["Hello."]),
        ('<tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>\nHello.', ["Hello."]),
        (f"{ANALYSIS}{THOUGHTS}<|end|><|start|>assistant{ANALYSIS}{THOUGHTS}<|end|>", []),
        (
            f"{ANALYSIS}{THOUGHTS}<|end|><|start|>assistant<|channel|>commentary to=functions.look "
            '<|constrain|>json<|message|>{"a": 1}<|call|><|start|>assistant<|channel|>final<|message|>H',
            ["H"],
        ),
        ("<|channel|>commentary<|message|>I look.<|end|>", ["I look."]),
        (f"<|channel|>analysis<|message|>{THOUGHTS}<|end|><|start|>assistant<|channel|>final<|message|>H", ["H"]),
        (f"<think></think><think>{THOUGHTS}</think>Hello.", ["Hello."]),
        (f"Hello.\n<think>{THOUGHTS}</think>\nBye.", ["Hello.", "Bye."]),
        (f"<think>{THOUGHTS}", []),
        ("Use the <think> tag. It helps.", ["Use the tag.", "It helps."]),
        ("<this is no block. Really.", ["<this is no block.", "Really."]),
        ("<thin", ["<thin"]),
        ("</think>Hello.", ["Hello."]),
    ],
)
def test_what_a_model_thinks_is_not_spoken_however_the_text_comes(text: str, spoken: list[str]) -> None:
    for size in (1, 2, 3, 4, 7, len(text)):
        cutter = SentenceCutter(early=False)
        found = [one for at in range(0, len(text), size) for one in cutter.feed(text[at : at + size])]
        assert found + cutter.flush() == spoken, size
