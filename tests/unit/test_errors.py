"""The closed set of error codes."""

from __future__ import annotations

import re
from pathlib import Path

import structlog

from broker.errors import ControlError, ErrorCode

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text("utf-8")


def test_the_codes_are_those_of_the_protocol() -> None:
    told = re.search(r"Error codes are a closed set:(.*?)\. A\s", PAGE, re.DOTALL)
    assert told is not None
    assert set(re.findall(r"`([A-Z_]{4,})`", told[1])) == {code.value for code in ErrorCode}


def test_the_doors_to_http_and_to_csharp_know_all_codes() -> None:
    errors = (ROOT / "clients" / "gateway" / "errors.py").read_text("utf-8")
    table = re.search(r"^STATUS = \{(.*?)^\}", errors, re.DOTALL | re.MULTILINE)
    assert table is not None
    assert set(re.findall(r'"([A-Z_]+)": \d{3}', table[1])) == set(ErrorCode)
    csharp = (ROOT / "clients" / "csharp" / "Musecast" / "MusecastException.cs").read_text("utf-8")
    assert set(re.findall(r'const string \w+ = "([A-Z_]+)"', csharp)) >= set(ErrorCode)


def test_a_code_that_a_stage_made_up_is_failed_and_told() -> None:
    with structlog.testing.capture_logs() as logs:
        assert ErrorCode.of("BROKEN_PIPE") is ErrorCode.FAILED
        assert ErrorCode.of("BUSY") is ErrorCode.BUSY
    assert [entry["code"] for entry in logs] == ["BROKEN_PIPE"]


def test_a_reply_has_the_plain_string() -> None:
    body = ControlError(ErrorCode.BUSY, "later", 500).body()
    assert body == {"code": "BUSY", "message": "later", "retry_after_ms": 500}
    assert type(body["code"]) is str
