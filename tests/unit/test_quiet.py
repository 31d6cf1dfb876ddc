"""A line of a native library that nobody needs, and everything else that is said meanwhile."""

from __future__ import annotations

import os

import pytest

from models.quiet import without_line


def _break_off() -> None:
    with without_line(b"delegate"):
        os.write(2, b"before\nINFO: Created a delegate for CPU.\nand after")
        raise RuntimeError("a defect")


def test_one_line_is_left_out_and_the_rest_comes(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        _break_off()
    os.write(2, b".\n")
    assert capfd.readouterr().err == "before\nand after.\n"
