"""Pipecat: musecast as a service between text-to-speech and the output transport. Needs the extra ``pipecat``."""

from clients.adapters.pipecat.service import MusecastVideoService, MusecastVideoSettings

__all__ = ["MusecastVideoService", "MusecastVideoSettings"]
