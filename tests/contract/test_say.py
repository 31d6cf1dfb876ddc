"""``say`` to media: what contract 2 and 3 promise about one spoken turn, seen from outside."""

from __future__ import annotations

import itertools

import pytest

from tests.support.client import TERMINAL, Message, Session, Stranger
from tests.support.limits import REPLY_S
from tests.support.pacing import CLOCKS_APART_NS, TOLERANCE_US, assert_paced
from tests.support.segments import assert_continuous, assert_seamless, check_segment, correlation, decode

TEXT = (
    "Good morning. The quick brown fox jumps over the lazy dog, and the dog does not mind at all. "
    "This is the last sentence of a short speech."
)
HEADER_KEYS = {
    "v", "boot", "sid", "kind", "gen", "turn", "seq", "pts", "dur", "frames", "last", "mime", "crc32",
    "degraded", "sent_ns",
}  # fmt: skip
LEVELS = (None, "skip", "fallback", "audio_only")
ARRIVAL_NS = 60_000_000_000
"""What is published arrives within this, however busy the subscriber's machine is."""
TIMINGS = [
    "llm_first_token", "llm_first_sentence", "tts_first_audio", "lipsync_first", "encode_first",
    "first_segment", "last_segment",
]  # fmt: skip


@pytest.fixture(scope="module")
def spoken(module_stranger: Stranger) -> Session:
    """A session in which TEXT has been said as turn 1."""
    session = module_stranger.session()
    assert session.speak(TEXT) == 1
    return session


def test_start_session_tells_what_a_player_needs(spoken: Session) -> None:
    reply = spoken.reply
    assert reply["session_id"] == spoken.sid
    assert (reply["width"], reply["height"], reply["fps"], reply["gen"]) == (512, 512, 25, 0)
    assert reply["mime"].startswith('video/mp4; codecs="avc1.')
    assert "mp4a.40.2" in reply["mime"]
    assert isinstance(reply["limits"], dict)


def test_headers_are_complete_and_typed(spoken: Session) -> None:
    boot = spoken.control.ok("health")["boot"]
    for message in spoken.inits + spoken.media:
        header = message.header
        assert set(header) >= HEADER_KEYS - {"last"}
        assert (header["v"], header["boot"], header["sid"], header["gen"]) == (1, boot, spoken.sid, 0)
        assert header["mime"] == spoken.reply["mime"]
        assert header["degraded"] in LEVELS
        assert message.at_ns - ARRIVAL_NS < header["sent_ns"] < message.at_ns + CLOCKS_APART_NS
    for header in spoken.events():
        assert (header["v"], header["boot"], header["sid"]) == (1, boot, spoken.sid)
        assert isinstance(header["data"], dict)


def test_degraded_media_is_told_and_none_is_where_nothing_is_late(stranger: Stranger, spoken: Session) -> None:
    """A live avatar on a machine that is too busy for its lips goes on without them; unpaced, nothing is late."""
    levels = [None, *(m.header["degraded"] for m in spoken.media), None]
    changes = [after for before, after in itertools.pairwise(levels) if before != after]
    names = ("degraded", "recovered")
    spoken.stream.wait(  # the last one comes behind the end of the turn
        lambda _: sum(e["event"] in names for e in spoken.events()) >= len(changes), REPLY_S, "recovered"
    )
    told = [e for e in spoken.events() if e["event"] in names]
    assert [e["data"].get("level") for e in told] == changes
    assert [e["event"] for e in told] == ["degraded" if level else "recovered" for level in changes]
    unpaced = stranger.session(mode="offline")
    unpaced.speak(TEXT)
    assert {m.header["degraded"] for m in unpaced.media} == {None}
    assert unpaced.end()["degraded_us"] == 0


def test_init_is_the_same_bytes_everywhere(spoken: Session) -> None:
    assert spoken.inits, "no init on the stream"
    assert spoken.inits[0].header["seq"] is None
    assert {m.payload for m in spoken.inits} == {spoken.reply["init"]}
    kinds = [m.header["kind"] for m in spoken.all if "kind" in m.header]
    assert kinds[0] == "init"


def test_every_segment_is_what_its_header_says(spoken: Session) -> None:
    for message in spoken.media:
        check_segment(message.header, message.payload)


def test_seq_has_no_hole_and_times_are_contiguous(spoken: Session) -> None:
    headers = [m.header for m in spoken.media]
    assert_seamless(headers)
    assert {h["turn"] for h in headers} == {1}
    assert [h.get("last", False) for h in headers] == [False] * (len(headers) - 1) + [True]


def test_the_whole_turn_decodes_with_continuous_times(spoken: Session) -> None:
    headers = [m.header for m in spoken.media]
    decoded = decode(spoken.blob())
    assert_continuous(decoded, headers[0]["pts"], sum(h["frames"] for h in headers))
    assert decoded.first_frame.shape == (512, 512, 3)
    assert float(abs(decoded.sound).max()) > 0.05, "the speech is silent"


def test_any_run_of_segments_is_playable(spoken: Session) -> None:
    count = len(spoken.media)
    assert count >= 4
    for first, last in ((1, count), (2, 4), (count - 1, count)):
        headers = [m.header for m in spoken.media[first:last]]
        assert_continuous(decode(spoken.blob(first, last)), headers[0]["pts"], sum(h["frames"] for h in headers))


def test_a_run_sounds_like_its_part_of_the_whole(spoken: Session) -> None:
    whole = decode(spoken.blob()).sound
    part = decode(spoken.blob(2, 4)).sound
    offset = (spoken.media[2].header["pts"] - spoken.media[0].header["pts"]) * 48 // 1000
    # A decoder that joins late lacks one frame of overlap with what came before.
    assert correlation(part[2048:], whole[offset + 2048 :]) > 0.99


def test_first_segment_is_one_quantum(spoken: Session) -> None:
    assert spoken.media[0].header["dur"] == 320_000
    assert max(m.header["dur"] for m in spoken.media) <= 1_280_000


def test_nothing_is_published_ahead_of_the_clock(stranger: Stranger, spoken: Session) -> None:
    def another() -> list[Message]:
        session = stranger.session()
        session.speak(TEXT)
        return session.media

    assert_paced(spoken.media, another)
    spread_s = spoken.media[-1].sent - spoken.media[0].sent
    media_s = (spoken.media[-1].header["pts"] - spoken.media[0].header["pts"]) / 1e6
    assert spread_s >= media_s - 1.0 - TOLERANCE_US / 1e6, "not paced at all"


def test_events_come_in_the_promised_order(spoken: Session) -> None:
    events = spoken.events()
    assert [e["n"] for e in events] == list(range(len(events)))
    names = [e["event"] for e in events]
    assert names[0] == "session.started"
    for name in ("turn.started", "reply.delta", "speech.started", "speech.ended", "turn.ended"):
        assert names.count(name) == 1, (name, names)
    order = [names.index(n) for n in ("turn.started", "reply.delta", "sentence", "speech.started")]
    assert order == sorted(order)
    assert names.index("speech.ended") < names.index("turn.ended")
    assert spoken.events("turn.started")[0]["data"]["source"] == "say"
    assert spoken.events("reply.delta")[0]["data"]["text"] == TEXT
    assert [n for n in names if n in TERMINAL] == ["turn.ended"]


def test_sentences_are_announced_before_they_are_heard(spoken: Session) -> None:
    sentences = [e["data"] for e in spoken.events("sentence")]
    assert [s["index"] for s in sentences] == list(range(len(sentences)))
    assert "".join(s["text"] for s in sentences).replace(" ", "") == TEXT.replace(" ", "")
    end = spoken.media[-1].header["pts"] + spoken.media[-1].header["dur"]
    previous = spoken.media[0].header["pts"]
    for sentence in sentences:
        assert previous <= sentence["pts"]
        previous = sentence["pts"] + (sentence["dur"] or 0)  # nil where it was shown before all of it was spoken
        assert previous <= end
        arrival = next(
            i for i, m in enumerate(spoken.all) if m.header.get("data", {}).get("index") == sentence["index"]
        )
        first_with = next(
            i
            for i, m in enumerate(spoken.all)
            if m.header.get("kind") == "media" and m.header["pts"] + m.header["dur"] > sentence["pts"]
        )
        assert arrival < first_with


def test_the_voice_begins_and_ends_inside_the_media(spoken: Session) -> None:
    (started,), (ended,) = spoken.events("speech.started"), spoken.events("speech.ended")
    first, last = spoken.media[0].header, spoken.media[-1].header
    assert first["pts"] <= started["pts"] < ended["pts"] <= last["pts"] + last["dur"]


def test_timings_are_real_marks_in_order(spoken: Session) -> None:
    timings = spoken.events("turn.ended")[0]["data"]["timings_ms"]
    assert set(timings) == {"vad_end", "asr_final", *TIMINGS}
    assert timings["vad_end"] is None
    assert timings["asr_final"] is None
    without_lips = spoken.media[0].header["degraded"] is not None  # a busy machine: the first lips came later
    order = [name for name in TIMINGS if not (without_lips and name == "lipsync_first")]
    passed = [timings[name] for name in order if timings[name] is not None]
    assert passed == sorted(passed)
    for name in ("tts_first_audio", "encode_first", "first_segment", "last_segment"):
        assert timings[name] is not None
    sent_ms = (spoken.media[-1].sent - spoken.media[0].sent) * 1000
    assert abs(timings["last_segment"] - timings["first_segment"] - sent_ms) < TOLERANCE_US / 1000


def _two_turns(stranger: Stranger) -> Session:
    session = stranger.session()
    assert session.speak("One.") == 1
    assert session.speak("Two.") == 2
    return session


def test_a_second_turn_goes_on_where_the_first_ended(stranger: Stranger) -> None:
    session = _two_turns(stranger)
    headers = [m.header for m in session.media]
    assert_seamless(headers)
    assert {h["turn"] for h in headers} == {1, 2}
    assert_continuous(decode(session.blob()), headers[0]["pts"], sum(h["frames"] for h in headers))
    # Between turns the clock stood still: the second turn was anchored anew.
    assert_paced(session.media, lambda: _two_turns(stranger).media)


def test_the_portrait_speaks_too(stranger: Stranger) -> None:
    session = stranger.session(template_id="default-portrait")
    assert (session.reply["width"], session.reply["height"]) == (720, 1280)
    session.speak("Hello.")
    decoded = decode(session.blob())
    assert decoded.first_frame.shape == (1280, 720, 3)
    assert decoded.frames == sum(m.header["frames"] for m in session.media)
