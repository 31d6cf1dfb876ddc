"""The bytes of the public protocol, in one file that the C# client's tests read as well.

In JSON, ``{"$bin": hex}`` stands for bytes. After an intended addition, write the file anew with::

    .venv/bin/python -m tests.wire.test_public_golden
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack
import pytest

GOLDEN = Path(__file__).with_name("public_golden.json")


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$bin"}:
            return bytes.fromhex(value["$bin"])
        return {key: _from_json(one) for key, one in value.items()}
    return [_from_json(one) for one in value] if isinstance(value, list) else value


def _entries() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(GOLDEN.read_text("utf-8"))
    return entries


@pytest.mark.parametrize("entry", _entries(), ids=lambda entry: entry["name"])
def test_the_bytes_are_what_they_were(entry: dict[str, Any]) -> None:
    value, packed = _from_json(entry["value"]), bytes.fromhex(entry["bytes"])
    assert msgpack.packb(value) == packed
    assert msgpack.unpackb(packed) == value


if __name__ == "__main__":
    written = [
        {"name": one["name"], "value": one["value"], "bytes": msgpack.packb(_from_json(one["value"])).hex()}
        for one in _entries()
    ]
    GOLDEN.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", "utf-8")
