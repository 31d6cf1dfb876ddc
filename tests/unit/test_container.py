"""The variables of a container, as settings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from configs.container import translated
from configs.load import ConfigError, load
from tests.support.floor import Floor
from tests.support.limits import COMMAND_S


@pytest.mark.parametrize(
    ("given", "max_segment_ms"),
    [("1.0", 960), ("0.32", 320), ("5.12", 5120), ("0.64", 640), ("2", 1920), ("", 1280)],
)
def test_a_segment_is_as_long_as_asked_rounded_down_to_whole_quanta(given: str, max_segment_ms: int) -> None:
    assert load(None, environ=translated({"SEGMENT_DURATION": given})).timeline.max_segment_ms == max_segment_ms


def test_frames_and_mode_become_settings() -> None:
    timeline = load(None, environ=translated({"SKIP_FRAMES": "2", "STREAMING_MODE": "offline"})).timeline
    assert (timeline.skip_frames, timeline.mode) == (2, "offline")
    assert load(None, environ=translated({"STREAMING_MODE": "integrated"})).timeline.mode == "realtime"


@pytest.mark.parametrize(("given", "longest"), [("0.32", 8), ("1.0", 24), ("2.0", 48)])
def test_no_segment_is_longer_than_asked_and_long_speech_has_some_that_are_as_long(
    floor: Floor, given: str, longest: int
) -> None:
    floor.config = load(None, environ=translated({"SEGMENT_DURATION": given}))
    floor.speech_us = 10_000_000
    session = floor.session(mode="offline")
    session.new_turn("say", floor.time, "Long.")
    floor.run(30_000_000)
    assert max(item.frames for item, _ in floor.lipsync) == longest
    assert sum(item.frames for item, _ in floor.lipsync) == 256, "32 quanta"


@pytest.mark.parametrize(("given", "skip"), [("1", 1), ("2", 2)])
def test_frames_are_skipped_as_asked(floor: Floor, given: str, skip: int) -> None:
    floor.config = load(None, environ=translated({"SKIP_FRAMES": given}))
    floor.lipsync_skips = True
    session = floor.session()
    session.new_turn("say", floor.time, "Short.")
    floor.run(9_000_000)
    assert {item.skip for item, _ in floor.lipsync} == {skip}


def test_musecasts_own_variables_win() -> None:
    environ = {"SEGMENT_DURATION": "1", "MUSECAST_TIMELINE__MAX_SEGMENT_MS": "640"}
    assert load(None, environ=translated(environ)).timeline.max_segment_ms == 640


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("SEGMENT_DURATION", value) for value in ("0.3", "5.2", "fast", "nan", "inf", "-1", "1e99")),
        *(("SKIP_FRAMES", value) for value in ("0", "3", "two")),
        ("STREAMING_MODE", "online"),
    ],
)
def test_anything_else_is_refused_with_the_names(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}='{value}'") as refusal:
        translated({name: value, "MUSECAST_TIMELINE__MODE": "offline", "MUSECAST_TIMELINE__MAX_SEGMENT_MS": "640"})
    for other in ("SEGMENT_DURATION", "SKIP_FRAMES", "STREAMING_MODE", "CUDA_VISIBLE_DEVICES"):
        assert other in str(refusal.value)


def test_the_entry_point_becomes_the_command_or_ends_with_78() -> None:
    command = [sys.executable, "-m", "configs.container", "env"]
    environ = {"PATH": os.environ["PATH"], "SKIP_FRAMES": "2"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=COMMAND_S, check=True)
    assert "MUSECAST_TIMELINE__SKIP_FRAMES=2" in done.stdout.splitlines()
    environ["SKIP_FRAMES"] = "4"
    refused = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    assert (refused.returncode, refused.stdout) == (78, "")
    assert refused.stderr.startswith("musecast: SKIP_FRAMES='4'")
