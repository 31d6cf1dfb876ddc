"""``preprocess_template``: a photo becomes somebody who speaks, while others go on speaking."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.support.client import Session, Stranger, Stream
from tests.support.daemon import Daemon
from tests.support.limits import BEAT_S, REPLY_S, WORK_S
from tests.support.pictures import encoded
from tests.support.segments import decode


@pytest.fixture(scope="module")
def photo(module_stranger: Stranger) -> bytes:
    """A face, as a file that a user would bring: a frame of the built-in one."""
    session = module_stranger.session(mode="offline")
    session.speak("Cheese.")
    return encoded(decode(session.blob()).first_frame)


@pytest.fixture(scope="module")
def kept(module_stranger: Stranger, photo: bytes) -> Iterator[bytes]:
    """The source of the template "kept", which somebody has added to stay."""
    _prepare(module_stranger, "kept", image=photo, keep=True)
    yield photo
    module_stranger.control.call("delete_template", template_id="kept")


def _rows(stranger: Stranger) -> dict[str, dict[str, Any]]:
    return {row["template_id"]: row for row in stranger.control.ok("list_templates")["templates"]}


def _mirrored(photo: bytes) -> bytes:
    """Another picture with a face."""
    with av.open(io.BytesIO(photo)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="bgr24")
    return encoded(picture[:, ::-1])


def _prepare(stranger: Stranger, name: str, **arguments: object) -> dict[str, object]:
    return stranger.control.ok("preprocess_template", WORK_S, template_id=name, **arguments)


def test_a_photo_becomes_a_template_that_speaks(stranger: Stranger, photo: bytes) -> None:
    progress = stranger.subscribe("tpl.somebody.", "sys.")
    progress.wait(lambda m: m.topic == "sys.", BEAT_S, "sys. message")
    speaking = stranger.session()
    turn = speaking.say("I go on speaking while somebody else is prepared. That is what I was promised. " * 2)
    made = _prepare(stranger, "somebody", image=photo)
    assert made["template_id"] == "somebody"
    assert made["cached"] is False
    assert (made["width"], made["height"]) == (512, 512)
    assert int(made["frames"]) % 8 == 0  # type: ignore[call-overload]
    _wait_ready(progress)
    speaking.wait_ended(turn)

    seen = len(progress.messages)
    assert _prepare(stranger, "somebody", image=photo)["cached"] is True
    _wait_ready(progress, start=seen)
    again = {m.header["phase"] for m in progress.messages[seen:] if m.topic == "tpl.somebody."}
    assert again <= {"check", "ready"}, "prepared once more"

    session = stranger.session(template_id="somebody", mode="offline")
    session.speak("Now it is me who speaks.")
    _check_media(session)
    row = next(t for t in stranger.control.ok("list_templates")["templates"] if t["template_id"] == "somebody")
    assert row["in_use"]
    error = stranger.control.refused("delete_template", template_id="somebody")
    assert error["code"] == "FAILED"
    session.end()
    stranger.control.ok("delete_template", template_id="somebody")
    names = [t["template_id"] for t in stranger.control.ok("list_templates")["templates"]]
    assert "somebody" not in names
    assert stranger.control.refused("delete_template", template_id="somebody")["code"] == "NOT_FOUND"


def _wait_ready(progress: Stream, start: int = 0) -> None:
    """The last that is told of a preparation, before the reply."""
    progress.wait(
        lambda m: m.topic == "tpl.somebody." and m.header["phase"] == "ready", REPLY_S, "progress", start=start
    )


def _check_media(session: Session) -> None:
    decoded = decode(session.blob())
    assert decoded.frames == sum(m.header["frames"] for m in session.media)
    assert {m.header["degraded"] for m in session.media} == {None}


def test_a_picture_without_a_face_is_refused(stranger: Stranger) -> None:
    grey = np.full((512, 512, 3), 128, np.uint8)
    reply = stranger.control.call("preprocess_template", WORK_S, template_id="nobody", image=encoded(grey))
    assert reply["ok"] is False
    assert reply["error"]["code"] == "INVALID_ARGUMENT", "the picture is at fault, not the daemon"
    assert "face" in reply["error"]["message"]


def test_the_content_of_an_id_is_replaced_only_where_that_is_wanted(stranger: Stranger, kept: bytes) -> None:
    other = _mirrored(kept)
    error = stranger.control.refused("preprocess_template", template_id="kept", image=other, if_absent=True)
    assert error["code"] == "ALREADY_EXISTS"
    again = _prepare(stranger, "kept", image=kept, if_absent=True)
    assert (again["cached"], again["replaced"], "same_as" in again) == (True, False, False)
    try:
        twin = _prepare(stranger, "twin", image=kept, if_absent=True)
        assert (twin["cached"], twin["replaced"], twin["same_as"]) == (True, False, "kept")
        new = _prepare(stranger, "twin", image=other)
        assert (new["cached"], new["replaced"], "same_as" in new) == (False, True, False)
        moved = _prepare(stranger, "twin", image=other, bbox_shift=4, if_absent=True)
        assert (moved["cached"], moved["replaced"]) == (False, False), "the same person, prepared anew"
        error = stranger.control.refused(
            "preprocess_template", template_id="twin", image=kept, if_absent=True, force=True
        )
        assert error["code"] == "ALREADY_EXISTS", "if_absent is the stronger of the two"
        shared = _prepare(stranger, "twin", image=kept)
        assert (shared["cached"], shared["replaced"], shared["same_as"]) == (True, True, "kept")
    finally:
        stranger.control.ok("delete_template", template_id="twin")


def test_a_built_in_template_is_never_replaced(stranger: Stranger, kept: bytes) -> None:
    error = stranger.control.refused("preprocess_template", template_id="default", image=kept, force=True)
    assert error["code"] == "ALREADY_EXISTS"


def test_what_is_kept_is_listed_so_and_counts_with_its_source(
    stranger: Stranger, daemon: Daemon, kept: bytes
) -> None:
    rows = _rows(stranger)
    assert (rows["kept"]["keep"], rows["default"]["keep"]) == (True, False)
    folder = daemon.state_dir / "templates/kept"
    assert (folder / "source").read_bytes() == kept
    pixels = sum(f.stat().st_size for f in folder.glob("*") if f.is_file() and f.name != "source")
    assert rows["kept"]["bytes"] >= pixels + len(kept)


@pytest.fixture
def aged(daemon: Daemon, stranger: Stranger, kept: bytes) -> Iterator[Callable[[str, int], Path]]:
    """A copy of the template "kept" under another id, as a daemon of another version has left it."""
    made: list[str] = []

    def copy(name: str, version: int) -> Path:
        folder = daemon.state_dir / "templates" / name
        made.append(name)
        shutil.copytree(folder.with_name("kept"), folder)
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text()) | {"v": version, "hash": "of another version", "id": name}
        path.write_text(json.dumps(manifest))
        return folder

    yield copy
    for name in made:
        stranger.control.call("delete_template", template_id=name)


def test_a_template_of_an_older_format_is_made_anew_from_its_source_at_its_next_use(
    stranger: Stranger, aged: Callable[[str, int], Path], kept: bytes
) -> None:
    folder = aged("older", 0)
    row = _rows(stranger)["older"]
    assert (row["outdated"], row["engines"], row["keep"]) == (True, [], True)
    assert (row["frames"], row["width"], row["height"]) == (248, 512, 512)
    session = stranger.session(template_id="older", mode="offline")
    session.speak("I was not forgotten.")
    _check_media(session)
    row = _rows(stranger)["older"]
    assert (row["outdated"], row["keep"]) == (False, True)
    assert "warp" in row["engines"]
    assert (folder / "source").read_bytes() == kept
    session.end()


def test_one_that_cannot_be_made_anew_stays_and_says_why(
    stranger: Stranger, aged: Callable[[str, int], Path]
) -> None:
    folder = aged("torn", 0)
    (folder / "source").write_bytes(b"not what it was")
    error = stranger.control.refused("start_session", template_id="torn")
    assert error["code"] == "FAILED"
    assert "damaged" in error["message"]
    assert (folder / "source").read_bytes() == b"not what it was"
    assert _rows(stranger)["torn"]["outdated"]


def test_a_template_of_an_unknown_format_is_not_listed_until_its_source_comes(
    stranger: Stranger, aged: Callable[[str, int], Path], kept: bytes
) -> None:
    aged("newer", 99)
    assert "newer" not in _rows(stranger)
    error = stranger.control.refused("start_session", template_id="newer")
    assert error["code"] == "NOT_FOUND"
    assert "format version 99" in error["message"]
    error = stranger.control.refused(
        "preprocess_template", template_id="newer", image=_mirrored(kept), if_absent=True
    )
    assert error["code"] == "ALREADY_EXISTS", "there is a face in it"
    made = _prepare(stranger, "newer", image=kept, if_absent=True)
    assert made["replaced"] is False
    assert _rows(stranger)["newer"]["keep"]
