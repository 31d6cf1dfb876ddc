"""``preprocess_template``: a photo becomes somebody who speaks, while others go on speaking."""

from __future__ import annotations

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.contract.client import Session, Stranger, Stream
from tests.contract.limits import BEAT_S, REPLY_S, WORK_S
from tests.contract.media import decode


def png(picture: NDArray[np.uint8]) -> bytes:
    """A PNG of u8 BGR [H, W, 3]."""
    height, width = picture.shape[:2]
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "rgb24"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[..., ::-1]), format="rgb24")
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


@pytest.fixture(scope="module")
def photo(module_stranger: Stranger) -> bytes:
    """A face, as a file that a user would bring: a frame of the built-in one."""
    session = module_stranger.session(mode="offline")
    session.speak("Cheese.")
    return png(decode(session.blob()).first_frame)


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
    reply = stranger.control.call("preprocess_template", WORK_S, template_id="nobody", image=png(grey))
    assert reply["ok"] is False
    assert reply["error"]["code"] in ("INVALID_ARGUMENT", "FAILED")
    assert "face" in reply["error"]["message"]
