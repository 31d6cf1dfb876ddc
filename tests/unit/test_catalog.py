"""Which templates are listed, which go when the cache is full, and what is told when nothing can."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
import structlog

from broker.templates.catalog import Catalog
from models.templates.origin import Origin, keep_source, mark_kept
from models.templates.store import MANIFEST_VERSION

SIZE = 1_000_000
OLD, NEW = MANIFEST_VERSION - 1, MANIFEST_VERSION + 1


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(str(tmp_path))


def put(
    catalog: Catalog,
    name: str,
    *,
    version: object = MANIFEST_VERSION,
    shown: int = 0,
    keep: bool = False,
    source: bytes | None = None,
) -> Path:
    """A folder as a template's, of a bit more than ``SIZE`` bytes, last shown at ``shown``."""
    folder = catalog.root / name
    folder.mkdir(parents=True)
    (folder / "frames.i420").write_bytes(bytes(SIZE))
    manifest = {
        "v": version, "id": name, "hash": f"h-{name}", "kind": "image", "frames": 8, "width": 64, "height": 48,
        "engines": ["warp"],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if source is not None:
        keep_source(folder, io.BytesIO(source), Origin("digest"))
    if keep:
        mark_kept(folder)
    os.utime(folder, (shown, shown))
    return folder


def names(catalog: Catalog) -> set[str]:
    return {row.ref.id for row in catalog.all()} - {"default", "default-portrait"}


def nobody(template_id: str) -> bool:
    return False


# --- versions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [NEW, OLD, "2", None, 1.5])
def test_another_version_is_neither_listed_nor_shown(catalog: Catalog, version: object) -> None:
    put(catalog, "strange", version=version)
    put(catalog, "plain")
    assert names(catalog) == {"plain"}
    assert catalog.find("strange") is None
    assert not catalog.known("strange")


def test_a_newer_version_stays_as_it_is_though_its_source_is_there(catalog: Catalog) -> None:
    put(catalog, "newer", version=NEW, source=b"photo")
    assert catalog.find("newer") is None
    assert names(catalog) == set()


def test_another_version_is_said_once_and_to_who_asks_for_it(catalog: Catalog) -> None:
    put(catalog, "strange", version=NEW)
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            catalog.all()
            assert catalog.find("strange") is None
    (line,) = said
    assert (line["template"], line["version"], line["shown"]) == ("strange", NEW, MANIFEST_VERSION)
    assert f"format version {NEW}" in catalog.missing("strange")
    assert "see list_templates" in catalog.missing("nobody")
    catalog.delete("strange")
    assert "see list_templates" in catalog.missing("strange")


def test_an_older_one_whose_source_was_kept_is_listed_as_outdated(catalog: Catalog) -> None:
    folder = put(catalog, "older", version=OLD, source=b"photo", keep=True)
    found = catalog.find("older")
    assert found is not None
    assert (found.outdated, found.engines, found.keep) == (True, [], True)
    assert (found.kind, found.frames, found.width, found.height) == ("image", 8, 64, 48)
    assert found.nbytes > SIZE + len(b"photo")
    (folder / "manifest.json").write_text(json.dumps({"v": OLD, "kind": 7}))
    assert catalog.find("older") is not None, "what an older manifest looks like is anybody's guess"


def test_what_was_made_anew_is_found_afterwards(catalog: Catalog) -> None:
    folder = put(catalog, "older", version=OLD, source=b"photo")
    assert catalog.find("older") is not None
    manifest = json.loads((folder / "manifest.json").read_text()) | {"v": MANIFEST_VERSION}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = catalog.find("older")
    assert found is not None
    assert (found.outdated, found.engines) == (False, ["warp"])


def test_a_built_in_one_of_another_version_is_listed_as_not_yet_drawn(catalog: Catalog) -> None:
    put(catalog, "default", version=OLD)
    row = next(row for row in catalog.all() if row.ref.id == "default")
    assert (row.frames, row.engines, row.outdated) == (248, [], False)


# --- eviction ---------------------------------------------------------------------------------------------


def test_what_was_not_shown_for_longest_goes_and_what_is_kept_or_in_use_stays(catalog: Catalog) -> None:
    put(catalog, "kept", shown=1, keep=True)
    put(catalog, "used", shown=2)
    put(catalog, "early", shown=3)
    put(catalog, "late", shown=4)
    limit = int(3.5 * SIZE)
    assert catalog.evict(limit, lambda name: name == "used") == ["early"]
    assert names(catalog) == {"kept", "used", "late"}
    assert catalog.evict(0, nobody) == [], "0: no limit"
    assert catalog.evict(1, lambda name: name == "used") == ["late"]
    assert names(catalog) == {"kept", "used"}


def test_kept_ones_stay_whatever_version_they_are_of(catalog: Catalog) -> None:
    """A face must survive an upgrade, and going back from one."""
    for name, version in (("older", OLD), ("newer", NEW)):
        put(catalog, name, version=version, source=b"photo", keep=True)
        put(catalog, f"{name}-made-by-a-service", version=version)
    assert set(catalog.evict(1, nobody)) == {"older-made-by-a-service", "newer-made-by-a-service"}
    assert (catalog.root / "older/source").read_bytes() == b"photo"
    assert (catalog.root / "newer/source").read_bytes() == b"photo"


def test_a_folder_that_is_no_template_is_left_alone(catalog: Catalog) -> None:
    (catalog.root / "mine").mkdir(parents=True)
    (catalog.root / "mine/holiday.jpg").write_bytes(bytes(SIZE))
    assert catalog.evict(1, nobody) == []
    assert (catalog.root / "mine/holiday.jpg").exists()


def test_room_is_what_is_left_beside_what_cannot_go(catalog: Catalog) -> None:
    kept, used = put(catalog, "kept", keep=True, source=bytes(500)), put(catalog, "used")
    put(catalog, "idle")
    size = sum(f.stat().st_size for folder in (kept, used) for f in folder.iterdir())
    room, advice = catalog.room("new", 10 * SIZE, lambda name: name == "used")
    assert room == 10 * SIZE - size
    assert "kept (1.0 MB)" in advice
    assert "used (1.0 MB, in use)" in advice
    assert "idle" not in advice, "it goes by itself"
    assert advice.endswith("or raise templates.cache_bytes (10.0 MB)")
    assert catalog.room("kept", SIZE, nobody)[1] == "Raise templates.cache_bytes (1.0 MB)"
    assert catalog.room("kept", 10 * SIZE, nobody)[0] == 10 * SIZE, "it takes its own place"
    assert catalog.room("new", 0, nobody) == (None, "")


def test_of_many_that_could_go_the_largest_are_named(catalog: Catalog) -> None:
    for k in range(12):
        put(catalog, f"face-{k}", keep=True)
    (catalog.root / "face-7/more").write_bytes(bytes(SIZE))
    room, advice = catalog.room("new", 5 * SIZE, nobody)
    assert room is not None
    assert room < 0
    assert "of face-7 (2.0 MB)," in advice
    assert "and 4 more" in advice
