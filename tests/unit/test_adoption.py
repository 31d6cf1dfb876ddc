"""What a session is under the next broker: its history, numbers, clock and turns, over scripted stages."""

from __future__ import annotations

from pathlib import Path

from broker.ipc.messages import TemplateRef
from broker.journal.journal import Journal
from broker.sessions.registry import REJOIN_S, Sessions
from broker.sessions.settings import SessionSettings
from broker.stream.publisher import Publisher
from tests.support.floor import Floor, contiguous


def begin(floor: Floor, folder: Path) -> Sessions:
    floor.publisher = Publisher(
        floor.wire,  # type: ignore[arg-type]
        "boot",
        None,  # type: ignore[arg-type]
        Journal(folder, "boot", floor.config.ring),
    )
    sessions = Sessions(floor, floor.asr_streams, floor.idle_cache)
    sessions.live = floor.live
    return sessions


def test_a_session_goes_on_under_another_broker(tmp_path: Path) -> None:
    first = Floor()
    sessions = begin(first, tmp_path)
    settings = SessionSettings(TemplateRef("t", "/nowhere", "h"), voice="v", system_prompt="Be brief.")
    session = sessions.start(sessions.reserve("s", "t"), b"init", "video/mp4", settings)
    session.new_turn("chat", first.time, "Well?")
    first.run(9_000_000)
    session.new_turn("chat", first.time, "And now?")
    session.new_turn("say", first.time, "This waits.")
    first.run(first.time + 300_000)
    lines, before = session.history.lines(), session.output.timeline
    assert lines[0] == ("user", "Well?")

    second = Floor()
    second.time = first.time + 2_000_000
    again = begin(second, tmp_path)
    (found,) = Journal(tmp_path, "boot", second.config.ring).take()
    again.adopt(found)
    heir = second.live["s"]
    assert (heir.settings, heir.history.lines()) == (settings, lines)
    after = heir.output.timeline
    assert (after.seq, after.gen, after.end) == (before.seq, before.gen, before.end)
    assert after.clock(second.time) == before.clock(second.time)
    second.run(second.time + int(REJOIN_S * 1_000_000))
    assert [(e["turn"], e["data"]["code"]) for e in second.events("turn.failed")] == [(2, "FAILED"), (3, "FAILED")]
    heir.new_turn("say", second.time, "It goes on.")
    second.run(second.time + 9_000_000)
    assert [e["turn"] for e in second.events("turn.ended")] == [4]
    assert contiguous([*first.media, *second.media])
    numbers = [e["n"] for e in (*first.events(), *second.events())]
    assert numbers == list(range(len(numbers)))
