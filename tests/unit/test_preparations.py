"""Templates on demand: one that must be made anew is waited for and never shown as it is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.errors import ControlError
from broker.ipc.messages import PrepareItem, TemplateReady, TemplateRef
from broker.templates.catalog import Catalog, Listed
from broker.templates.preparation import Preparations, PrepareJob, PrepareRequest
from broker.workers.ledger import Ledger
from models.templates.origin import Origin, keep_source, mark_kept
from models.templates.store import MANIFEST_VERSION

LIMIT = 5_000_000


class Bench:
    """Preparations over a real catalog and ledger; the test plays the prepare stage."""

    def __init__(self, state: Path) -> None:
        self.catalog = Catalog(str(state))
        self.ledger = Ledger()
        self.told: list[Any] = []
        hub: Any = SimpleNamespace(
            ledger=self.ledger,
            now=lambda: 0,
            epoch=1,
            cancel=lambda ids: None,
            publisher=SimpleNamespace(template=lambda *_: None),
            config=SimpleNamespace(templates=SimpleNamespace(cache_bytes=LIMIT)),
        )
        idle_cache: Any = None  # no init segment comes, so no loop is asked for
        self.preparations = Preparations(
            hub, self.catalog, self.told.append, idle_cache, lambda name: False, lambda *_: None
        )

    def put(self, name: str, version: int = MANIFEST_VERSION, size: int = 1000) -> Path:
        folder = self.catalog.root / name
        folder.mkdir(parents=True)
        (folder / "frames.i420").write_bytes(bytes(size))
        manifest = {
            "v": version, "id": name, "hash": "h", "kind": "image", "frames": 8, "width": 64, "height": 48,
            "engines": ["warp"],
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps(manifest))
        keep_source(folder, io.BytesIO(b"photo"), Origin("digest"))
        return folder

    def ask(self, name: str) -> list[Any]:
        got: list[Any] = []
        self.preparations.template(name, lambda found, made: got.append(found))
        return got

    def job(self, name: str) -> PrepareJob:
        job = self.preparations._templates[name]
        assert isinstance(job, PrepareJob)
        return job

    def item(self, name: str) -> PrepareItem:
        item, _ = self.job(name).build()
        assert isinstance(item, PrepareItem)
        return item

    def finish(self, name: str) -> None:
        ref = TemplateRef(name, str(self.catalog.root / name), "new")
        ready = TemplateReady(
            src="", ep=0, id="", attempt=0, index=0, template=ref,
            kind="image", frames=8, width=64, height=48, nbytes=1000, engines=["warp"], cached=False, seconds=0.1,
        )  # fmt: skip
        self.job(name).output(ready, [])
        self.job(name).done()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_older_one_is_made_anew_once_for_all_who_ask(bench: Bench) -> None:
    bench.put("older", MANIFEST_VERSION - 1)
    first, second = bench.ask("older"), bench.ask("older")
    assert (first, second) == ([], []), "they wait"
    assert len(bench.told) == 1, "one demand for the stage that makes templates"
    item = bench.item("older")
    assert (item.kind, item.room) == ("kept", None), "it was let in before"
    bench.finish("older")
    for got in (first, second):
        (found,) = got
        assert isinstance(found, Listed)
        assert (found.ref.hash, found.outdated) == ("new", False)
    (again,) = bench.ask("older")
    assert again.ref.hash == "new"
    assert len(bench.told) == 1


def test_when_that_fails_it_is_not_shown_as_it_is(bench: Bench) -> None:
    bench.put("older", MANIFEST_VERSION - 1)
    first, second = bench.ask("older"), bench.ask("older")
    bench.job("older").failed("INVALID_ARGUMENT", "no face was found")
    for got in (first, second):
        (error,) = got
        assert isinstance(error, ControlError)
        assert error.code == "FAILED"
        assert "'older' is of an older format" in error.message
        assert "no face was found" in error.message
    bench.ask("older")
    assert bench.item("older").kind == "kept", "the next use tries again"


def test_a_template_of_this_format_is_shown_when_its_replacement_fails(bench: Bench) -> None:
    bench.put("plain")
    bench.preparations.prepare(PrepareRequest("plain", "source", source=b"other"), lambda found, made: None)
    got = bench.ask("plain")
    bench.job("plain").failed("INVALID_ARGUMENT", "no face")
    (found,) = got
    assert isinstance(found, Listed)
    assert found.ref.hash == "h"


def test_a_new_one_is_told_how_much_room_there_is_and_who_could_go(bench: Bench) -> None:
    mark_kept(bench.put("anna", size=3_000_000))
    bench.put("idle", size=1_000_000)
    bench.preparations.prepare(
        PrepareRequest("new", "source", source=b"photo", keep=True, if_absent=True), lambda found, made: None
    )
    item = bench.item("new")
    assert item.room is not None
    assert LIMIT - 3_001_000 < item.room < LIMIT - 3_000_000
    assert "anna (3.0 MB)" in item.no_room
    assert (item.keep, item.if_absent) == (True, True)


def test_of_an_unknown_format_the_version_is_said(bench: Bench) -> None:
    bench.put("newer", MANIFEST_VERSION + 1)
    (error,) = bench.ask("newer")
    assert isinstance(error, ControlError)
    assert error.code == "NOT_FOUND"
    assert f"format version {MANIFEST_VERSION + 1}" in error.message
