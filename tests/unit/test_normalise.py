"""Numbers, dates and money as words, each where it stands in the text."""

from __future__ import annotations

import pytest

from models.text.normalise import spoken


@pytest.mark.parametrize(
    ("language", "text", "read"),
    [
        ("zh", "价格是￥12,999.50元。", "价格是一万二千九百九十九点五零元。"),
        ("zh", "2024年5月5日下午3:30", "二零二四年五月五日下午三点三十分"),
        ("zh", "增长12.5%，电话13800138000！", "增长百分之十二点五，电话幺三八零零幺三八零零零！"),
        ("zh", "全长5km，比分3:2", "全长五公里，比分三比二"),
        ("zh", "你好，我是 musecast。", "你好，我是 musecast。"),
        ("en", "It costs $3.50.", "It costs three point five dollars."),
        ("en", "12% at 9:30pm, 5km", "twelve percent at nine thirty PM, five kilometers"),
        ("en", "1,250,000 people", "one million two hundred fifty thousand people"),
        ("de", "3,50 Euro", "3,50 Euro"),
    ],
)
def test_what_a_number_means_is_said(language: str, text: str, read: str) -> None:
    assert spoken(text, language).text == read


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(
    "text", ["我有3个apple, 2 books & $5!", "0" * 300, "1 " * 200, "a1", "\\ \" 3 {x}", "5", ""]
)
def test_every_piece_keeps_its_place(language: str, text: str) -> None:
    said = spoken(text, language)
    assert said.written(0, len(said.text)) == (0, len(text))
    places = [said.written(at, at + 1) for at in range(len(said.text))]
    assert places == sorted(places)
    for at, (begin, end) in enumerate(places):
        assert end > begin
        if not any(char.isdigit() for char in text):
            assert said.text[at] == text[begin:end]


def test_words_beside_a_number_keep_their_own_places() -> None:
    text = "今天是2024年，不错"
    said = spoken(text, "zh")
    at = said.text.index("二零二四")
    assert text[slice(*said.written(at, at + 2))] == "2024"
    at = said.text.index("不错")
    assert text[slice(*said.written(at, at + 2))] == "不错"
