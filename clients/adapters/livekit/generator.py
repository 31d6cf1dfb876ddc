"""What LiveKit's ``AvatarRunner`` runs: audio in, pictures and sound out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TypeAlias

from livekit import rtc
from livekit.agents.voice.avatar import AudioSegmentEnd, VideoGenerator

from clients.adapters.avatar import Avatar
from clients.adapters.decoder import TICK_SAMPLES, Tick
from clients.client import SAMPLE_RATE

Output: TypeAlias = "rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd"


class MusecastVideoGenerator(VideoGenerator):
    """One face. The runner stays LiveKit's own.

    Of idle motion the runner gets the pictures alone: what sound it is given it counts as played back. The silence
    beside them goes into its synchroniser directly, so that the two queues stay equally long.

    Args:
        avatar: started; its pixels are yuv420p.
    """

    def __init__(self, avatar: Avatar) -> None:
        self._avatar = avatar
        self.synchronizer: rtc.AVSynchronizer | None = None
        """The runner's ``av_sync``; without it speech is heard 80 ms before it is seen."""

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """More speech, or the end of a segment."""
        if isinstance(frame, AudioSegmentEnd):
            await self._avatar.finish()  # nothing, where the segment was cleared before
        else:
            await self._avatar.speak(bytes(frame.data), frame.sample_rate, frame.num_channels)

    async def clear_buffer(self) -> None:
        """Silence, at once: also what the runner has queued already, up to 100 ms."""
        told = self._avatar.interrupt()
        if self.synchronizer is not None:
            await self.synchronizer.clear_queue()
        await told

    def __aiter__(self) -> AsyncIterator[Output]:
        return self._outputs()

    async def _outputs(self) -> AsyncIterator[Output]:
        async for one in self._avatar.outputs():
            if not isinstance(one, Tick):
                yield AudioSegmentEnd()
                continue
            yield rtc.VideoFrame(one.width, one.height, rtc.VideoBufferType.I420, one.picture)
            sound = rtc.AudioFrame(one.sound, SAMPLE_RATE, 1, TICK_SAMPLES)
            if one.turn:
                yield sound
            elif self.synchronizer is not None:
                await self.synchronizer.push(sound)
