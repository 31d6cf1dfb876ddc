"""The generator and LiveKit's own runner, with a real daemon and no server."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, QueueAudioOutput
from livekit.agents.voice.io import PlaybackFinishedEvent

from clients.adapters.avatar import Avatar
from clients.adapters.livekit import MusecastVideoGenerator, Worker
from clients.client import RequestError
from tests.adapters.livekit.room import Room
from tests.adapters.voice import HZ, QUANTUM, RATE, hertz, pieces, run, turns, until
from tests.support import daemon as daemons
from tests.support.client import Stranger
from tests.support.daemon import Daemon


def frame(pcm: bytes, channels: int = 1) -> rtc.AudioFrame:
    return rtc.AudioFrame(pcm, RATE, channels, len(pcm) // 2 // channels)


class Outputs:
    """Everything that comes out of a generator."""

    def __init__(self, generator: MusecastVideoGenerator) -> None:
        self.all: list[Any] = []
        self._task = asyncio.create_task(self._read(generator))

    async def _read(self, generator: MusecastVideoGenerator) -> None:
        async for one in generator:
            self.all.append(one)

    @property
    def ends(self) -> int:
        return sum(isinstance(one, AudioSegmentEnd) for one in self.all)

    @property
    def sounds(self) -> list[bytes]:
        return [bytes(one.data) for one in self.all if isinstance(one, rtc.AudioFrame)]

    async def close(self) -> None:
        await self._task


@asynccontextmanager
async def face(daemon: Daemon) -> AsyncIterator[tuple[Avatar, MusecastVideoGenerator, Outputs]]:
    avatar = Avatar(daemon.control, daemon.stream, pixels="yuv420p")
    await avatar.start()
    generator = MusecastVideoGenerator(avatar)
    outputs = Outputs(generator)
    try:
        yield avatar, generator, outputs
    finally:
        await avatar.close()
        await outputs.close()


async def say(generator: MusecastVideoGenerator, seconds: float) -> None:
    for pcm in pieces(seconds):
        await generator.push_audio(frame(pcm))


def test_speech_becomes_pictures_and_sound_in_order(daemon: Daemon, stranger: Stranger) -> None:
    async def test() -> None:
        async with face(daemon) as (avatar, generator, outputs):
            await until(lambda: len(outputs.all) > 5, "idle pictures before the first word")
            assert all(isinstance(one, rtc.VideoFrame) for one in outputs.all)
            picture = outputs.all[0]
            assert (picture.width, picture.height) == (avatar.width, avatar.height)
            assert len(picture.data) == avatar.width * avatar.height * 3 // 2
            await say(generator, 1.0)
            await generator.push_audio(AudioSegmentEnd())
            await generator.push_audio(AudioSegmentEnd())  # of nothing
            await until(lambda: outputs.ends, "the end of the segment")
            after = len(outputs.all)
            await until(lambda: len(outputs.all) > after + QUANTUM, "idle pictures again")
            assert avatar.session_id is not None
            [(events, frames)] = turns(stranger, avatar.session_id).values()
            assert events == ["turn.started", "turn.ended"]
            sounds = outputs.sounds
            assert outputs.ends == 1
            assert len(sounds) == frames == 4 * QUANTUM  # 1.0 s in quanta of 0.32 s
            assert {len(one) for one in sounds} == {1920 * 2}
            first = next(at for at, one in enumerate(outputs.all) if isinstance(one, rtc.AudioFrame)) - 1
            kinds = [type(one) for one in outputs.all[first : first + 2 * frames + 1]]
            assert kinds == [rtc.VideoFrame, rtc.AudioFrame] * frames + [AudioSegmentEnd]
            assert hertz(b"".join(sounds[2:20])) == pytest.approx(HZ, abs=8)

    run(test)


def test_a_pause_of_the_voice_is_no_end_of_the_turn(daemon: Daemon, stranger: Stranger) -> None:
    async def test() -> None:
        async with face(daemon) as (avatar, generator, outputs):
            await say(generator, 0.5)
            await asyncio.sleep(2.6)  # the daemon would close the turn after 2
            stereo = pieces(0.5)
            for pcm in stereo:
                both = b"".join(pcm[at : at + 2] * 2 for at in range(0, len(pcm), 2))
                await generator.push_audio(frame(both, channels=2))
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.ends, "the end of the segment")
            assert avatar.session_id is not None
            [(events, frames)] = turns(stranger, avatar.session_id).values()
            assert events == ["turn.started", "turn.ended"]
            assert len(outputs.sounds) == frames

    run(test)


def test_what_was_cleared_is_not_seen_any_more_and_has_no_end(daemon: Daemon, stranger: Stranger) -> None:
    async def test() -> None:
        async with face(daemon) as (avatar, generator, outputs):
            await say(generator, 3.0)
            await until(lambda: outputs.sounds, "the first sound")
            clearing = asyncio.ensure_future(generator.clear_buffer())
            await asyncio.sleep(0)
            heard = len(outputs.sounds)
            await clearing
            await generator.push_audio(AudioSegmentEnd())  # the receiver delivers it nevertheless
            cut = len(outputs.all)
            await until(lambda: len(outputs.all) > cut + 2 * QUANTUM, "idle pictures after the cut")
            assert len(outputs.sounds) <= heard + 1  # the one that was on its way out
            assert outputs.ends == 0
            await say(generator, 0.3)
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.ends, "the end of the next segment")
            assert avatar.session_id is not None
            (first, _), (second, frames) = turns(stranger, avatar.session_id).values()
            assert first == ["turn.started", "turn.interrupted"]
            assert second == ["turn.started", "turn.ended"]
            assert len(outputs.sounds) - heard in (frames, frames + 1)
            assert outputs.ends == 1

    run(test)


def test_a_session_that_is_ended_elsewhere_gets_a_successor(daemon: Daemon, stranger: Stranger) -> None:
    async def test() -> None:
        async with face(daemon) as (avatar, generator, outputs):
            before = avatar.session_id
            await say(generator, 3.0)
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.sounds, "the first sound")
            stranger.control.ok("end_session", session_id=before, drain=False)
            await until(lambda: outputs.ends, "the end of the lost segment")
            await until(lambda: avatar.session_id not in (before, None), "another session")
            await say(generator, 0.3)
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.ends == 2, "the end of the next segment")

    run(test)


def test_what_the_daemon_refuses_is_said_at_once(daemon: Daemon) -> None:
    async def test() -> None:
        avatar = Avatar(daemon.control, daemon.stream, pixels="yuv420p", template_id="none-such")
        with pytest.raises(RequestError) as refused:
            await avatar.start()
        assert refused.value.code == "NOT_FOUND"
        await avatar.close()

    run(test)


def test_without_a_daemon_the_start_ends_and_speech_is_over(daemon: Daemon) -> None:
    async def test() -> None:
        (port,) = daemons.free_ports(1)
        avatar = Avatar(f"tcp://127.0.0.1:{port}", daemon.stream, pixels="yuv420p")
        with pytest.raises(RequestError) as refused:
            await avatar.start(0.5)
        assert refused.value.code == "NOT_READY"
        generator = MusecastVideoGenerator(avatar)
        outputs = Outputs(generator)
        await say(generator, 0.5)
        await generator.push_audio(AudioSegmentEnd())
        await until(lambda: outputs.ends == 1, "the end of what was not spoken")
        await avatar.close()
        await outputs.close()

    run(test)


def test_a_daemon_killed_in_mid_turn_ends_the_segment_once_and_its_successor_goes_on(
    start_daemon: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = start_daemon()
    ports = [int(address.rpartition(":")[2]) for address in (daemon.control, daemon.stream)]

    async def test() -> None:
        async with face(daemon) as (avatar, generator, outputs):
            await say(generator, 4.0)
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.sounds, "the first sound")
            before = avatar.session_id
            os.killpg(daemon.process.pid, signal.SIGKILL)
            await asyncio.to_thread(daemon.process.wait)
            await until(lambda: outputs.ends, "the end of the lost segment")
            await say(generator, 0.3)
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.ends == 2, "the end of what nobody has spoken")
            monkeypatch.setattr(daemons, "free_ports", lambda _: ports)
            await asyncio.to_thread(start_daemon)
            await until(lambda: avatar.session_id not in (before, None), "a session of the next daemon")
            heard = len(outputs.sounds)
            await say(generator, 0.3)
            await generator.push_audio(AudioSegmentEnd())
            await until(lambda: outputs.ends == 3, "the end of the next segment")
            assert len(outputs.sounds) > heard

    run(test)


@asynccontextmanager
async def shown(
    daemon: Daemon,
) -> AsyncIterator[tuple[Room, QueueAudioOutput, list[PlaybackFinishedEvent], list[Any]]]:
    """LiveKit's runner, its synchroniser and its native library, with us as the generator."""
    room, voice = Room(), QueueAudioOutput(sample_rate=RATE, wait_playback_start=True)
    finished: list[PlaybackFinishedEvent] = []
    started: list[Any] = []
    voice.on("playback_finished", finished.append)
    voice.on("playback_started", started.append)
    worker = Worker(daemon.control, daemon.stream)
    await worker.show(room, voice)
    try:
        yield room, voice, finished, started
    finally:
        await worker.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("musecast-decoder")]


def test_the_runner_tells_how_much_was_played(daemon: Daemon) -> None:
    async def test() -> None:
        async with shown(daemon) as (room, voice, finished, started):
            await until(lambda: len(room.local_participant.tracks) == 2, "tracks before the first word")
            assert room.local_participant.tracks == ["avatar_audio", "avatar_video"]
            for pcm in pieces(1.0):
                await voice.capture_frame(frame(pcm))
            voice.flush()
            await until(lambda: finished, "playback_finished")
            assert len(started) == 1
            assert (finished[0].interrupted, finished[0].playback_position) == (False, pytest.approx(1.28))

            for pcm in pieces(3.0):
                await voice.capture_frame(frame(pcm))
            await until(lambda: len(started) == 2, "the second playback_started")
            voice.clear_buffer()
            voice.flush()
            await until(lambda: len(finished) == 2, "playback_finished of what was cleared")
            assert finished[1].interrupted
            assert 0 < finished[1].playback_position < 3.0

            for pcm in pieces(0.3):
                await voice.capture_frame(frame(pcm))
            voice.flush()
            await until(lambda: len(finished) == 3, "playback_finished of the next segment")
            assert (finished[2].interrupted, finished[2].playback_position) == (False, pytest.approx(0.32))

    run(test)


