"""LiveKit Agents: musecast as the avatar of an ``AgentSession``. Needs the extra ``livekit``."""

from clients.adapters.livekit.generator import MusecastVideoGenerator
from clients.adapters.livekit.session import AvatarSession
from clients.adapters.livekit.worker import Worker

__all__ = ["AvatarSession", "MusecastVideoGenerator", "Worker"]
