"""The Chinese README says what the English one says: the same commands in the same order, links and pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = "README.md", "README.zh.md"
ONCE = {"## Numbers", "## 数字"}
"""Kept in the English one alone."""


def _sections(name: str) -> list[str]:
    text = (ROOT / name).read_text()
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return [part for part in parts if part.splitlines()[0] not in ONCE]


def _commands(part: str) -> list[str]:
    """Lines of blocks without their comments, and commands within sentences."""
    blocks = "".join(re.findall(r"^```\n(.*?)^```", part, re.MULTILINE | re.DOTALL))
    lines = [line.split("#")[0].strip() for line in blocks.splitlines()]
    prose = re.sub(r"^```\n.*?^```", "", part, flags=re.MULTILINE | re.DOTALL)
    return [line for line in lines if line] + sorted(
        re.findall(r"`((?:make|\.venv/bin/|python -m) ?[^`]+)`", prose)
    )


def _links(part: str) -> list[str]:
    found = re.findall(r"\]\(([^)]+)\)", part)
    return sorted(link for link in found if link not in (ENGLISH, CHINESE))


def test_both_have_the_same_sections() -> None:
    assert len(_sections(ENGLISH)) == len(_sections(CHINESE)) > 2


@pytest.mark.parametrize("of", [_commands, _links])
def test_each_section_has_the_same_commands_and_links(of: object) -> None:
    assert callable(of)
    for english, chinese in zip(_sections(ENGLISH), _sections(CHINESE), strict=True):
        assert of(english) == of(chinese), english.splitlines()[0]


def test_the_comparison_sees_commands_and_links() -> None:
    text = "`make demo` and [a](b.md)\n```\nmusecast up   # there\n```\n"
    assert (_commands(text), _links(text)) == (["musecast up", "make demo"], ["b.md"])


def test_every_link_of_the_chinese_one_is_a_file() -> None:
    for part in _sections(CHINESE):
        for link in _links(part):
            assert "://" in link or (ROOT / link.split("#")[0]).exists(), link
