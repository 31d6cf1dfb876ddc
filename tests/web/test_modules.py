"""The page's modules without a browser: their own tests in node, their types."""

from __future__ import annotations

import base64
import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgpack

from tests.support.limits import COMMAND_S

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "clients" / "web"
PAGE_BYTES = 60_000
VALUES: list[Any] = [
    None, True, False, 0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 - 1, -1, -32, -33, -128,
    -129, -32_768, -32_769, -(2**31), -(2**31) - 1, 0.5, -1e300, "", "a" * 31, "ä" * 100, "漢" * 30_000,
    [], list(range(15)), list(range(16)), [[1], {"a": []}], {}, {str(i): i for i in range(15)},
    {str(i): None for i in range(70_000)},
]  # fmt: skip


def _node(*arguments: str, **environment: str) -> None:
    done = subprocess.run(
        ["node", *arguments],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_policies_and_the_reader_of_headers(tmp_path: Path) -> None:
    headers: list[tuple[str, Any]] = [
        (base64.b64encode(msgpack.packb({"value": value})).decode(), {"value": value}) for value in VALUES
    ]
    for value in (2**53, 1_790_000_000_000_000_000, 2**64 - 1, -(2**63)):
        headers.append((base64.b64encode(msgpack.packb({"ns": value})).decode(), {"ns": {"big": str(value)}}))
    for size in (0, 255, 256, 70_000):
        packed = msgpack.packb({"bin": b"\x07" * size})
        headers.append((base64.b64encode(packed).decode(), {"bin": {"bin": "07" * size}}))
    path = tmp_path / "headers.json"
    path.write_text(json.dumps(headers), "utf-8")
    _node("--test", *map(str, sorted((HERE / "unit").glob("*.test.js"))), MUSECAST_HEADERS=str(path))


def test_types_of_all_modules() -> None:
    _node(str(HERE / "node_modules" / "typescript" / "bin" / "tsc"), "-p", str(HERE / "tsconfig.json"))


def test_the_page_is_small_on_the_wire() -> None:
    files = [
        path for path in PAGE.rglob("*") if path.is_file() and path.name not in ("element.js", "package.json")
    ]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < PAGE_BYTES
