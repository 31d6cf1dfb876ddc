"""The page in Chromium against a real daemon: what a first visitor sees, says, reads and makes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from configs.schema import Config
from models.api import ChatMessage
from models.registry import create
from tests.support.doubles import quiet
from tests.support.gateway_process import GatewayProcess
from tests.support.pictures import astronaut_file
from tests.support.word_error import words
from tests.web.browsing import Web

pytestmark = pytest.mark.timeout(1800)  # the first test waits for all that the browser does
Result = dict[str, Any]


@pytest.fixture(scope="module")
def seen(web: Web, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    photo = tmp_path_factory.mktemp("page") / "Eileen Collins.png"
    photo.write_bytes(astronaut_file())
    return {
        **web.browse("chromium", {"name": "text_conversation"}, {"name": "own_face", "photo": str(photo)}),
        **web.browse("chromium", {"name": "spoken_conversation"}, microphone=str(web.microphone)),
        **web.browse("chromium", {"name": "chinese_without_microphone"}, microphone=False),
    }


def _of(seen: dict[str, Result], scenario: str) -> Result:
    assert "failed" not in seen[scenario], seen[scenario]["failed"]
    return seen[scenario]


def test_a_visitor_sees_a_living_face_and_talks_by_one_click(seen: dict[str, Result]) -> None:
    visit = _of(seen, "text_conversation")
    assert visit["errors"] == []
    assert visit["connections"] == {"sessions": 1, "sockets": 1}, "what the document begins, the page goes on with"
    assert visit["muted_before"]
    assert visit["heard"]
    assert "Who are you?" in visit["log"]
    assert "I am the" in visit["log"], "where it was cut depends on the machine"
    for state in ("idle", "thinking", "speaking", "interrupted"):
        assert state in visit["states"]


def test_what_an_interruption_cut_is_struck_through(seen: dict[str, Result]) -> None:
    visit = _of(seen, "text_conversation")
    assert visit["cut"].removeprefix("not heard:").strip()
    assert visit["log"].endswith(visit["cut"])


def test_nobody_is_kept_out(seen: dict[str, Result]) -> None:
    found = _of(seen, "text_conversation")["axe"]
    assert set(found) == {"invitation", "conversation", "faces", "settings", "help"}
    assert not any(found.values()), found


def test_a_spoken_question_is_answered_and_its_time_is_shown(seen: dict[str, Result]) -> None:
    visit = _of(seen, "spoken_conversation")
    assert visit["errors"] == []
    assert visit["level"] > 0
    # Which words are heard depends on what a busy machine loses of the sound; those that are shown are answered.
    (asking, question), (answering, answer) = [line for line in visit["lines"] if line[1]][:2]
    assert (asking, answering) == ("you", "avatar")
    faq = create("llm", "faq", Config())
    faq.load(quiet)
    wanted = "".join(faq.reply([ChatMessage("user", question)], "", threading.Event()))
    begun = words(answer)[:5]  # as much of it as was said when that was read
    assert begun
    assert begun == words(wanted)[: len(begun)], visit["lines"]
    assert visit["measured"].startswith("First frame after ")
    assert {"pause", "voice", "lips"} <= set(visit["parts"])
    assert visit["keys"] == [True, False, True, False], "off by M, held by Space, let go"


def test_the_page_speaks_chinese_and_works_without_a_microphone(seen: dict[str, Result]) -> None:
    visit = _of(seen, "chinese_without_microphone")
    assert visit["errors"] == []
    assert visit["language"] == "zh-CN"
    assert visit["english"] == []
    assert "打字" in visit["note"]
    assert "musecast 自带的头像" in visit["log"]


def test_a_visitor_makes_a_face_and_goes_on_when_the_session_ended(seen: dict[str, Result]) -> None:
    visit = _of(seen, "own_face")
    assert "face" in visit["refusal"]
    assert "eileen-collins" in visit["templates"]
    assert "eileen-collins" in visit["kept"], "nobody's face is evicted"
    assert visit["offered"] == "Start a new one"
    assert [error for error in visit["errors"] if "preprocess_template" not in error] == []


def test_where_a_key_is_needed_the_page_and_its_documents_ask_for_it(web: Web) -> None:
    key = "0123456789abcdef-main"
    guarded = GatewayProcess(web.daemon, f"gateway.token={key}")
    try:
        visit = _of(web.browse("chromium", {"name": "with_a_key", "base": guarded.url, "key": key}), "with_a_key")
    finally:
        guarded.stop()
    assert visit["errors"] == []
    assert "Who are you?" in visit["log"]
    assert visit["transcript"].startswith("WEBVTT")
    assert visit["typed"] > 20
    assert key not in visit["address"]
