"""A Pipecat service: the voice of a bot goes in, its face comes out beside the voice."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    OutputTransportReadyFrame,
    SpeechOutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.ai_service import AIService
from pipecat.services.settings import ServiceSettings

from clients.adapters.avatar import Avatar
from clients.adapters.decoder import Tick
from clients.client import SAMPLE_RATE, RequestError
from clients.keys import Keys

DRAIN_S = 60.0
"""At the end of a pipeline: for what has been said and not been shown yet."""


@dataclass
class MusecastVideoSettings(ServiceSettings):
    """Nothing of it changes while it runs."""


class MusecastVideoService(AIService):
    """Between the text-to-speech service and ``transport.output()``.

    The transport's parameters: ``video_out_enabled``, ``video_out_is_live``, ``video_out_framerate=25``,
    ``video_out_width`` and ``video_out_height`` of the template, ``audio_out_sample_rate=48000``.

    Args:
        endpoint: the daemon's control socket.
        stream: its stream.
        template_id: of the face.
        keys: where the daemon has them on; of the scope control.
        settings: of the service.
        session: more arguments of ``start_session``.
        kwargs: of ``AIService``.
    """

    Settings = MusecastVideoSettings
    _settings: MusecastVideoSettings

    def __init__(
        self,
        *,
        endpoint: str = "tcp://127.0.0.1:28880",
        stream: str = "tcp://127.0.0.1:28881",
        template_id: str = "default",
        keys: Keys | None = None,
        settings: MusecastVideoSettings | None = None,
        session: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        defaults = MusecastVideoSettings(model=None)
        if settings is not None:
            defaults.apply_update(settings)
        super().__init__(settings=defaults, **kwargs)
        arguments = {"template_id": template_id, **(session or {})}
        self._avatar = Avatar(endpoint, stream, pixels="rgb24", keys=keys, **arguments)
        self._reader: asyncio.Task[None] | None = None
        self._telling: set[asyncio.Future[None]] = set()
        self._stopped: deque[TTSStoppedFrame] = deque()
        """Of speech that is not yet over: each goes on behind its last picture."""
        self._said = asyncio.Event()
        self._said.set()
        self._ready = False

    def can_generate_metrics(self) -> bool:
        """Time to the first sound."""
        return True

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Connect, and begin a session; where that fails the pipeline is told, and a daemon is waited for."""
        await super().setup(setup)
        try:
            await self._avatar.start()
        except RequestError as error:
            await self.push_error(f"musecast: {error.message}", error)

    async def start(self, frame: StartFrame) -> None:
        """Begin to read what the daemon makes."""
        await super().start(frame)
        if self._reader is None:
            self._reader = self.create_task(self._read(), "musecast")

    async def stop(self, frame: EndFrame) -> None:
        """Show what was said to its end, then leave."""
        await super().stop(frame)
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._avatar.finish()
                if self._avatar.busy:
                    await self._said.wait()
        except TimeoutError:
            await self.push_error(f"musecast: not all was shown within {DRAIN_S:g} s")
        await self._teardown()

    async def cancel(self, frame: CancelFrame) -> None:
        """Leave at once."""
        await super().cancel(frame)
        await self._teardown()

    async def cleanup(self) -> None:
        """Leave, if that has not happened."""
        await self._teardown()
        await super().cleanup()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Speech is taken, everything else goes on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self._said.clear()
            await self._avatar.speak(frame.audio, frame.sample_rate, frame.num_channels)
            return
        if isinstance(frame, TTSStoppedFrame):
            await self._stop_speaking(frame, direction)
            return
        if isinstance(frame, TTSStartedFrame):
            await self.start_ttfb_metrics()
        elif isinstance(frame, InterruptionFrame):
            self._interrupt()
        elif isinstance(frame, OutputTransportReadyFrame):
            self._ready = True
        elif isinstance(frame, BotStartedSpeakingFrame):
            await self.stop_ttfb_metrics()
        await self.push_frame(frame, direction)

    async def _stop_speaking(self, frame: TTSStoppedFrame, direction: FrameDirection) -> None:
        if self._avatar.speaking:
            self._stopped.append(frame)
            await self._avatar.finish()
        else:
            await self.push_frame(frame, direction)

    def _interrupt(self) -> None:
        """Frames of the old words end here and now; the daemon is told beside, for this frame may not wait."""
        told: Awaitable[None] = self._avatar.interrupt()
        self._stopped.clear()
        self._said.set()
        telling = asyncio.ensure_future(told)
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _read(self) -> None:
        async for one in self._avatar.outputs():
            if isinstance(one, Tick):
                if self._ready or one.turn:
                    await self._show(one)
                continue
            if self._stopped:
                await self.push_frame(self._stopped.popleft())
            if not self._avatar.busy:
                self._said.set()

    async def _show(self, tick: Tick) -> None:
        picture = OutputImageRawFrame(tick.picture, (tick.width, tick.height), "RGB")
        picture.sync_with_audio = True  # in the queue of its sound: an interruption drops both
        await self.push_frame(picture)
        await self.push_frame(SpeechOutputAudioRawFrame(tick.sound, SAMPLE_RATE, 1))

    async def _teardown(self) -> None:
        reader, self._reader = self._reader, None
        await self._avatar.close()
        if reader is not None:
            await self.cancel_task(reader)
        for telling in tuple(self._telling):
            telling.cancel()
