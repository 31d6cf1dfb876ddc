"""Every router of the gateway. A router that needs something running gives itself a ``lifespan``."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter

from clients.gateway import (
    daemon,
    media,
    metrics,
    recordings,
    render,
    sessions,
    speech,
    templates,
    transcripts,
    websockets,
    whep_off,
)
from clients.gateway.livetalking import routes as livetalking
from configs.schema import Gateway as Settings

ROUTERS: tuple[APIRouter, ...] = (
    daemon.router,
    sessions.router,
    speech.router,
    templates.router,
    websockets.router,
    media.router,
    recordings.router,
    render.router,
    transcripts.router,
    metrics.router,
)


def optional(settings: Settings) -> Iterator[APIRouter]:
    """Those that a setting switches on. What they need beside is imported only then.

    Raises:
        ModuleNotFoundError: the extra ``webrtc`` is not installed.
    """
    if settings.webrtc:
        from clients.gateway.webrtc import routes

        yield routes.router
    else:
        yield whep_off.router
    if settings.livetalking:
        yield livetalking.router
