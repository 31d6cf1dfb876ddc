"""Names of files become ids that people can read and that keep people apart."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.cli.naming import ID_MAX, id_from_name, is_id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("me", "me"),
        ("my face", "my-face"),
        ("photo 1 (2)", "photo-1-2"),
        ("José García", "Jose-Garcia"),
        ("Łukasz Ødegård", "Lukasz-Odegard"),
        ("Müller–Lüdenscheidt", "Muller-Ludenscheidt"),
        ("Đặng Thị Hồng", "Dang-Thi-Hong"),
        ("D’Arcy", "D-Arcy"),
        ("snake_case", "snake_case"),
        ("-dash-", "dash"),
    ],
)
def test_names_in_latin_letters_are_read_as_they_are(name: str, expected: str) -> None:
    assert id_from_name(name) == expected
    assert id_from_name(unicodedata.normalize("NFD", name)) == expected, "as another system writes the same name"


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("李明", "LiMing-"),
        ("日本 太郎", "RiBen-TaiLang-"),
        ("Иван Петров", "Ivan-Petrov-"),
        ("Γιώργος", "Giorgos-"),
        ("محمد", "mhmd-"),
        ("नमस्ते", "nmste-"),
        ("😀", "grinning-"),
        ("anna 😀", "anna-grinning-"),
    ],
)
def test_names_in_other_scripts_are_spelled_and_told_apart(name: str, beginning: str) -> None:
    made = id_from_name(name)
    assert made.startswith(beginning)
    assert len(made) == len(beginning) + 6
    assert is_id(made)
    assert id_from_name(name) == made


def test_names_that_are_spelled_alike_have_ids_of_their_own() -> None:
    alike = ["李明", "黎明", "李鸣", "利明"]
    assert len({id_from_name(name)[:7] for name in alike}) == 1
    assert len({id_from_name(name) for name in alike}) == len(alike)
    assert id_from_name("Anna") != id_from_name("Анна")
    assert id_from_name("x\udcff") != id_from_name("x\udcfe"), "bytes of a name that are no text"


def test_a_name_that_is_cut_keeps_its_own_id() -> None:
    names = ["a" * 70, "a" * 71, "a" * 63 + "-b", "a" * 63 + "-c"]
    ids = [id_from_name(name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(is_id(one) for one in ids)
    assert id_from_name("a" * ID_MAX) == "a" * ID_MAX


@pytest.mark.parametrize("name", ["", "-", "---", "_", "!!!", " ", "…", "\udcff"])
def test_of_a_name_without_a_letter_or_digit_no_id_is_made(name: str) -> None:
    assert id_from_name(name) == ""


@given(st.text(max_size=200))
def test_every_name_gives_an_id_or_none(name: str) -> None:
    made = id_from_name(name)
    assert made == "" or (is_id(made) and made[0] not in "-_")
