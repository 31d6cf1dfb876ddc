"""The player in Debian's browsers, against a real daemon: what is shown, heard and cut, and what it survives."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.web.browsing import Web

pytestmark = pytest.mark.timeout(1800)  # the first test waits for all that the browsers do
FRAME_S = 0.04
EPSILON_S = 0.001
SEGMENT = 8
"""Frames of the shortest one."""
KEPT_S = 8.0
"""Behind the play head: the player keeps 10 s, of which a browser drops the beginning up to a key frame."""
BROWSERS = ("chromium", "firefox")
CUTS = {"name": "cuts", "times": 4}
MARGIN = {
    "name": "cuts",
    "label": "cuts of a page",
    "times": 2,
    "settings": {"idle": "loop", "cut_margin_ms": 250},
}
SCENARIOS: dict[str, list[dict[str, Any]]] = {
    "chromium": [{"name": "say"}, CUTS, MARGIN, {"name": "hidden"}, {"name": "microphone"}],
    "firefox": [{"name": "say"}, CUTS, {"name": "hidden"}, {"name": "whole_page"}, {"name": "reconnect"}],
}
BUSY = {"stalled", "rebuilt"}
"""What a player may have to tell where a browser does not get its share of the machine."""

Result = dict[str, Any]


@pytest.fixture(scope="module")
def seen(web: Web) -> dict[str, dict[str, Result]]:
    """What each browser saw; those that break the daemon come last."""
    chromium = [*SCENARIOS["chromium"], {"name": "embedded", "port": web.elsewhere}]
    chromium += [{"name": "reconnect"}, {"name": "restart"}]
    return {
        "firefox": web.browse("firefox", *SCENARIOS["firefox"]),
        "chromium": web.browse("chromium", *chromium, microphone=str(web.microphone)),
    }


def _of(seen: dict[str, dict[str, Result]], browser: str, scenario: str) -> Result:
    result = seen[browser][scenario]
    assert "failed" not in result, result["failed"]
    assert result["errors"] == []
    return result


def _shown(frames: list[dict[str, float]]) -> list[int]:
    """Numbers of the frames in the order in which they were told; Firefox tells of some twice."""
    numbers: list[int] = []
    for frame in frames:
        number = round(frame["time"] / FRAME_S)
        if not numbers or numbers[-1] != number:
            numbers.append(number)
    return numbers


def _end(result: Result) -> int:
    """Of all media, in microseconds."""
    return max(int(one["pts"] + one["dur"]) for one in result["appends"] if one["pts"] is not None)


def _only_busy(result: Result) -> list[str]:
    """What the player told; nothing but that it had to help a play head on that stood still."""
    told = [one["code"] for one in result["notices"]]
    assert set(told) <= BUSY, told
    return told


def _assert_in_order(numbers: list[int], result: Result, browser: str) -> None:
    """Pictures are told in their order, each once.

    Firefox begins to play by the system's clock and goes on by that of the sound once it runs: that may be a step
    back, once each time it begins. So may be what a new source begins with, and a play head that was helped on:
    while its sound stands still, Chromium's pictures run ahead of it by the system's clock.
    """
    steps_back = [(a, b) for a, b in itertools.pairwise(numbers) if b <= a]
    most = 2 * _only_busy(result).count("rebuilt") + len(result["seeks"])
    most += len(result["begun"]) if browser == "firefox" else 0
    assert len(steps_back) <= most, steps_back


def _sources(media: list[Result]) -> list[list[Result]]:
    """Segments of each source: a new one begins with what is shown, which the one before has had already."""
    found = [media[:1]]
    for before, one in itertools.pairwise(media):
        if one["pts"] <= before["pts"]:
            found.append([])
        found[-1].append(one)
    return found


def _assert_whole(result: Result, browser: str) -> None:
    """Every picture is given to the video, which plays from the first one on, without a leap.

    What a browser tells of pictures that it has presented says no more than that: a busy machine presents fewer.
    """
    sources = _sources([one for one in result["appends"] if one["pts"] is not None])
    assert len(sources) <= 1 + _only_busy(result).count("rebuilt")
    assert sources[0][0]["pts"] == 0
    for media in sources:
        ends = [(one["pts"] + one["dur"]) / 1e6 for one in media]
        for at, (before, one) in enumerate(itertools.pairwise(media), 1):
            assert one["pts"] == before["pts"] + before["dur"]
            if one["ranges"] is None:
                continue  # its end was not told yet
            ((start, end),) = one["ranges"]
            assert start < media[0]["pts"] / 1e6 + 2 * FRAME_S or start < one["head"] - KEPT_S
            assert any(abs(end - so_far) < FRAME_S for so_far in ends[at:]), "its own end, or that of a later one"
    assert len(result["seeks"]) <= len(_only_busy(result))
    numbers = _shown(result["frames"])
    _assert_in_order(numbers, result, browser)
    assert len(numbers) > 1


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_sentence_is_shown_whole_and_in_order(seen: dict[str, dict[str, Result]], browser: str) -> None:
    result = _of(seen, browser, "say")
    _assert_whole(result, browser)
    if browser == "chromium":
        assert result["loud"] > 0.02
    ended = next(one for one in result["media"] if one["event"] == "speech.ended")
    assert result["frames"][-1]["time"] > ended["pts"] / 1e6 - 3 * FRAME_S - EPSILON_S


@pytest.mark.parametrize("browser", BROWSERS)
def test_the_daemon_is_told_how_far_an_answer_was_heard(seen: dict[str, dict[str, Result]], browser: str) -> None:
    result = _of(seen, browser, "say")
    told = [one["pts"] for one in result["played"]]
    assert told, "while it was spoken"
    assert all(0 <= pts < _end(result) for pts in told)


@pytest.mark.parametrize("browser", BROWSERS)
def test_events_are_told_when_the_play_head_is_there(seen: dict[str, dict[str, Result]], browser: str) -> None:
    result = _of(seen, browser, "say")
    told = [one["event"] for one in result["media"]]
    assert told == ["sentence", "speech.started", "speech.ended"]
    for one in result["media"]:
        one["due"] = one["pts"] if one.get("pts") is not None else one["data"]["pts"]
        assert one["head"] >= one["due"] / 1e6 - EPSILON_S, one
    # How long after is the machine's: a timer of a busy one waits. But not until the next one is due.
    for one, following in itertools.pairwise(result["media"]):
        assert one["due"] == following["due"] or one["head"] < following["due"] / 1e6, one
    assert [one["n"] for one in result["events"]] == list(range(len(result["events"])))


def _landing(cut: Result) -> None:
    """The new generation begins at the cut: the play head has not passed it, or goes back to it."""
    seeks = [one["to"] for one in cut["seeks"] if one["at"] <= cut["landed"]["done"]]
    there = any(abs(to - cut["flush"]) < EPSILON_S for to in seeks)  # beside those that help on a busy machine
    assert there or cut["landed"]["head"] < cut["flush"] + FRAME_S


def _begun(cut: Result, browser: str) -> int:
    """Which frame of the new generation is the first that the browser tells of; 0 is the one at the cut."""
    told = _shown([one for one in cut["frames"] if one["at"] >= cut["append"]])
    leaps = [i for i, (a, b) in enumerate(itertools.pairwise(told), 1) if b < a]
    first = round(cut["flush"] / FRAME_S)
    # Old picture from before the append may be told late. From the leap back on all is new, and in order.
    # Each seek may bring one, and in Firefox another, whenever its sound runs again.
    assert len(leaps) <= 2 * len(cut["seeks"]) + (cut["begun"] if browser == "firefox" else 0), (first, told)
    return next(number for number in told[leaps[0] if leaps else 0 :] if number >= first) - first


@pytest.mark.parametrize(
    ("browser", "scenario"), [("chromium", "cuts"), ("firefox", "cuts"), ("chromium", "cuts of a page")]
)
def test_a_cut_is_silent_at_once_and_begins_with_its_first_frame(
    seen: dict[str, dict[str, Result]], browser: str, scenario: str
) -> None:
    result = _of(seen, browser, scenario)
    _only_busy(result)
    # A source that had to be made anew in the middle of a cut tells nothing of the cut.
    rounds = [one for one in result["rounds"] if not one["rebuilt"]]
    for cut in rounds:
        # Quieter in the very task that asks or is told, and never louder until the new generation is reached.
        assert cut["at_once"] is None or cut["at_once"] < 1
        assert cut["level"] < 1
        fading = [one["level"] for one in cut["sound"] if one["at"] < cut["heard"]["at"]]
        assert fading == sorted(fading, reverse=True)
        assert cut["heard"]["head"] > cut["flush"] - FRAME_S
        assert cut["heard"]["at"] > cut["append"]
        if cut["silent"] is not None:
            assert cut["quiet"] < cut["silent"]
            assert not cut["loud_after"]
        assert all(one["gen"] > cut["before"] for one in cut["appends"]), "old media after the event"
        assert cut["landed"]["pts"] / 1e6 == pytest.approx(cut["flush"])
        _landing(cut)
    # A cut that is done wrongly loses a segment each time; a machine that is busy presents some frames less.
    assert min((_begun(cut, browser) for cut in rounds), default=0) < SEGMENT


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_gateway_that_dies_in_mid_sentence_costs_no_picture(
    seen: dict[str, dict[str, Result]], browser: str
) -> None:
    result = _of(seen, browser, "reconnect")
    assert [one["state"] for one in result["states"]].count("live") >= 2
    _assert_whole(result, browser)
    numbers = [one["n"] for one in result["events"]]
    assert numbers == list(range(len(numbers)))


def test_the_page_itself_in_firefox(seen: dict[str, dict[str, Result]]) -> None:
    result = _of(seen, "firefox", "whole_page")
    assert result["first"]["heard"]
    assert "not heard" in result["first"]["log"]
    assert result["second"]["session"] == result["first"]["session"], "the same conversation goes on"
    assert "How do you work?" in result["second"]["log"]


@pytest.mark.parametrize("browser", BROWSERS)
def test_a_page_that_was_hidden_is_on_time_again(seen: dict[str, dict[str, Result]], browser: str) -> None:
    result = _of(seen, browser, "hidden")
    assert abs(result["lag_ms"]) < 500
    assert all(one["to"] > one["head"] for one in result["seeks"]), "what was missed is not caught up with"
    assert result["states"][-1]["state"] == "live"


def test_a_new_daemon_is_met_with_a_new_session(seen: dict[str, dict[str, Result]]) -> None:
    result = _of(seen, "chromium", "restart")
    states = [one["state"] for one in result["states"]]
    assert states[states.index("ended") :][:2] == ["ended", "connecting"]
    assert states[-1] == "live"
    _assert_whole(result, "chromium")


def test_a_question_into_the_microphone_is_answered_aloud(seen: dict[str, dict[str, Result]]) -> None:
    result = _of(seen, "chromium", "microphone")
    # Which words depends on what a busy machine loses of the sound; test_gateway_websocket.py has them.
    assert result["text"]
    assert result["sizes"] == ["320@16000"]
    assert result["loudest"] > 0.05


def test_one_line_embeds_the_player_in_a_page_elsewhere(seen: dict[str, dict[str, Result]]) -> None:
    result = _of(seen, "chromium", "embedded")
    assert result["quiet"] is True  # until somebody clicks
    assert result["muted"] is False
    assert result["caption"] == "Hello from another page."
    assert result["states"][:2] == ["connecting", "live"]
