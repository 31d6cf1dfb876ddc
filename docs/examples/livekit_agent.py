"""A LiveKit agent with a face: it greets with a WAV file; put your own models where the comment says.

    pip install '.[livekit]'                            # into an environment of its own
    musecast up                                         # the daemon that makes the face
    livekit-server --dev                                # or LiveKit Cloud: set the three variables to yours
    export LIVEKIT_URL=ws://127.0.0.1:7880 LIVEKIT_API_KEY=devkey LIVEKIT_API_SECRET=secret
    python docs/examples/livekit_agent.py dev           # GREETING=hello.wav python ... to hear another one

Then join a room of that server, such as with LiveKit's Agents Playground.
"""

from __future__ import annotations

import os
import wave
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents import Agent, AgentSession, JobContext, WorkerOptions, cli

from clients.adapters.livekit import AvatarSession

FRAME_S = 0.1


async def spoken(path: str) -> AsyncIterator[rtc.AudioFrame]:
    """A WAV file (16 bits, mono) as frames."""
    with wave.open(path) as file:
        rate = file.getframerate()
        while pcm := file.readframes(int(rate * FRAME_S)):
            yield rtc.AudioFrame(pcm, rate, 1, len(pcm) // 2)


async def entrypoint(context: JobContext) -> None:
    """One room."""
    await context.connect()
    # Here go stt=, llm=, tts= and vad= of your choice. An avatar cannot resume what was interrupted.
    session: AgentSession = AgentSession(resume_false_interruption=False)
    avatar = AvatarSession(template_id="default")  # or worker_url="http://127.0.0.1:28889": a process of its own
    await avatar.start(session, context.room)
    await session.start(Agent(instructions="You answer in one short sentence."), room=context.room)
    await avatar.wait_for_join()
    if greeting := os.environ.get("GREETING"):
        await session.say("Hello.", audio=spoken(greeting))


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
