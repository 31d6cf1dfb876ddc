"""Who may import whom. Read from the source: nothing is imported, so what only a type checker sees counts, too."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("broker", "clients", "configs", "models", "stages", "supervision")
BELOW = {
    "ipc": "",
    "media": "",
    "journal": "",
    "errors": "",
    "timers": "",
    "access": "",
    "stream": "access errors ipc journal",
    "workers": "errors ipc media timers",
    "context": "media stream timers workers",
    "templates": "context errors ipc media stream workers",
    "sessions": "context errors ipc journal media stream templates timers workers",
    "lifecycle": "errors ipc sessions templates timers workers",
    "control": "access context errors ipc journal lifecycle sessions stream templates timers workers",
    "app": "access control errors ipc journal lifecycle media sessions stream templates timers workers",
    "__main__": "app ipc",
}
"""Room of the broker, from the bottom to the top, and which rooms below it may import."""
HEAVY = {"torch", "av", "cv2", "mediapipe", "onnxruntime", "fastapi", "uvicorn", "starlette", "pydantic"}
"""Packages that only processes of stages load."""
SOCKETS_AND_CLOCKS = {"asyncio", "select", "socket", "threading", "time", "zmq", "structlog"}
PURE = (
    "broker.media",
    "broker.workers.ledger",
    "broker.timers",
    "broker.journal.layout",
    "broker.journal.ring",
    "broker.journal.state",
    "broker.stream.events",
)
LINES = 450


class Import(NamedTuple):
    """One name that a module imports."""

    target: str
    at_start: bool
    """It is carried out when the module is imported: not in a function, not for the type checker alone."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def _walk(nodes: list[ast.stmt], at_start: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield Import(inner if inner in SOURCES else node.module or "", at_start)
        else:
            typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or typing_only
            inside = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            handlers = [s for h in getattr(node, "handlers", []) + getattr(node, "cases", []) for s in h.body]
            yield from _walk([*inside, *handlers], at_start and not later)


@cache
def imports(module: str) -> frozenset[Import]:
    """Everything that the module imports, wherever it stands in it."""
    return frozenset(_walk(ast.parse(SOURCES[module].read_text("utf-8")).body, True))


def of(package: str) -> list[str]:
    return [module for module in SOURCES if module == package or module.startswith(f"{package}.")]


def used(module: str, package: str) -> set[str]:
    """What the module imports of the package."""
    return {i.target for i in imports(module) if i.target == package or i.target.startswith(f"{package}.")}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("package", ["stages", "supervision"])
def test_of_the_broker_only_the_messages_are_for_others(package: str) -> None:
    assert {t for module in of(package) for t in used(module, "broker") if room(t) != "ipc"} == set()


def test_clients_know_neither_the_broker_nor_the_stages() -> None:
    found = {(m, t) for m in of("clients") for p in ("broker", "stages") for t in used(m, p)}
    # The gateway is also a process that the supervisor watches: one module of it sends beats.
    beats = {(m, t) for m, t in found if m == "clients.gateway.line" and room(t) == "ipc"}
    assert found - beats == set()


@pytest.mark.parametrize("module", of("broker"))
def test_a_room_imports_only_from_those_below(module: str) -> None:
    here = room(module)
    if not here:
        return
    assert {room(target) for target in used(module, "broker")} - {here} <= set(BELOW[here].split())


def test_the_table_of_rooms_has_no_way_up_and_no_room_that_is_not_there() -> None:
    order = list(BELOW)
    for name, below in BELOW.items():
        assert all(order.index(lower) < order.index(name) for lower in below.split()), name
    assert set(order) == {room(module) for module in of("broker")} - {""}


def test_nothing_goes_in_circles() -> None:
    """Of modules, not only of rooms; also not for the type checker."""
    needs = {module: {i.target for i in imports(module)} & SOURCES.keys() - {module} for module in SOURCES}
    while loose := [m for m in needs if not needs[m] & needs.keys() or not any(m in n for n in needs.values())]:
        for module in loose:
            del needs[module]
    assert {module: sorted(targets & needs.keys()) for module, targets in needs.items()} == {}


def roots(module: str) -> set[str]:
    return {i.target.split(".")[0] for i in imports(module)}


@pytest.mark.parametrize("package", PURE)
def test_policy_has_no_sockets_and_no_clock(package: str) -> None:
    assert of(package)
    assert {(m, r) for m in of(package) for r in roots(m) & SOCKETS_AND_CLOCKS} == set()


@pytest.mark.parametrize("entry", ["broker.__main__", "supervision.daemon"])
def test_neither_broker_nor_supervisor_loads_what_is_large(entry: str) -> None:
    seen: set[str] = set()
    todo = [entry]
    while todo:
        module = todo.pop()
        if module in seen or module not in SOURCES:
            continue
        seen.add(module)
        todo += [i.target for i in imports(module) if i.at_start]
        package = module.rpartition(".")[0]
        todo += [package] if package else []
    assert {
        (m, r) for m in seen for r in {i.target.split(".")[0] for i in imports(m) if i.at_start} & HEAVY
    } == set()


@pytest.mark.parametrize("module", of("broker"))
def test_a_file_can_be_read_at_a_sitting(module: str) -> None:
    assert len(SOURCES[module].read_text("utf-8").splitlines()) <= LINES


PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_file_that_the_architecture_names_is_there() -> None:
    rooms = re.search(r"## The rooms of the broker\n(.*?)\n## ", PAGE, re.DOTALL)
    assert rooms is not None
    for room, told in re.findall(r"^\| `(\w+)/` \|.*\| (.*) \|$", rooms[1], re.MULTILINE):
        assert all((ROOT / "broker" / room / name).exists() for name in re.findall(r"`(\w+(?:\.py|/))`", told)), (
            room
        )
    folders = "|".join((*PACKAGES, "docs", "tests"))
    named = re.findall(rf"`((?:{folders})/[\w/.]+)`", PAGE)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_usual_change_is_at_most_three_files() -> None:
    table = PAGE.partition("## Where do I put ...")[2]
    changes = re.findall(r"^\| ([^.|-][^|]*) \| (.*) \|$", table, re.MULTILINE)
    assert len(changes) >= 12
    for change, where in changes:
        assert 1 <= len(set(re.findall(r"`([\w/]+\.(?:py|md|yaml|json))`", where))) <= 3, change
