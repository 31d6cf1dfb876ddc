"""A fact and what to do about it, as two sentences."""

from __future__ import annotations

import pytest

from configs.wording import two_sentences


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("send a photo", "It is so. Send a photo"),
        ("known here: a, b", "It is so. Known here: a, b"),
        ("pip install pi-heif", "It is so. pip install pi-heif"),
        ("runtime_dir may be shorter", "It is so. runtime_dir may be shorter"),
        ("`ss -l` shows it", "It is so. `ss -l` shows it"),
        ("", "It is so"),
    ],
)
def test_the_next_step_begins_with_a_capital_unless_it_is_typed(step: str, told: str) -> None:
    assert two_sentences("It is so", step) == told
