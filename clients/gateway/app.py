"""The application: every route, the page, and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from clients.gateway import errors
from clients.gateway.control import Control
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway
from clients.gateway.routers import ROUTERS
from configs.schema import Config

PAGE = Path(__file__).resolve().parents[1] / "web"


def create_app(config: Config) -> FastAPI:
    """The gateway of one process; ``app.state.gateway`` is what its routes share.

    Args:
        config: resolved.
    """
    gateway = Gateway(config, Control(config.endpoints.control))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway.control.running():
            yield

    app = FastAPI(title="musecast", lifespan=lifespan, redirect_slashes=False)
    app.state.gateway = gateway
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.router.default = Page()
    return app


class Page:
    """The page's files, for every path that no route has."""

    def __init__(self) -> None:
        self._files = StaticFiles(directory=PAGE, html=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file, or raise the 404 of what is none."""
        if scope["type"] != "http":
            await errors.refuse(ApiError("NOT_FOUND", f"there is no {scope['path']} here"), scope, send)
        elif scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(404)
        else:
            await self._files(scope, receive, send)
