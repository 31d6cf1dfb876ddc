"""Every router of the gateway. A router that needs something running gives itself a ``lifespan``."""

from __future__ import annotations

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
)

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
