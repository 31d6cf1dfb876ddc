"""The application: every route, the page, and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from clients.aio.control import Control
from clients.daemon import door
from clients.gateway import docs, errors
from clients.gateway.auth import Tokens
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway
from clients.gateway.guard import Guard
from clients.gateway.routers import ROUTERS, optional
from configs.gateway import Address
from configs.schema import Config

PAGE = Path(__file__).resolve().parents[1] / "web"


def create_app(config: Config, address: Address) -> FastAPI:
    """The gateway of one process; ``app.state.gateway`` is what its routes share.

    Args:
        config: resolved.
        address: where it listens.

    Raises:
        OSError: ``gateway.token_file`` or the key of tokens cannot be read.
        NoDaemonError: the daemon's own keys cannot be read.
    """
    tokens = Tokens(config.gateway, config.runtime_dir)
    there = door(config)
    gateway = Gateway(config, there, Control(*there, refused=ApiError), tokens)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with gateway.control.running():
            yield

    app = FastAPI(
        title="musecast",
        version=metadata.version("musecast"),
        description="A daemon that gives a language model a face and a voice. `docs/protocol.md` says more.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    errors.install(app)
    for router in (*ROUTERS, *optional(config.gateway)):
        app.include_router(router)
    docs.install(app)
    app.router.default = Page()
    if config.gateway.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.gateway.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Location"],
        )
    app.add_middleware(Guard, settings=config.gateway, address=address, tokens=tokens, meter=gateway.meter)
    return app


class Page:
    """The page's files, for every path that no route has."""

    def __init__(self) -> None:
        # Media is never compressed; the page is text, a third of it comments.
        self._files = GZipMiddleware(StaticFiles(directory=PAGE, html=True))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file, or raise the 404 of what is none."""
        if scope["type"] != "http":
            await errors.refuse(ApiError("NOT_FOUND", f"there is no {scope['path']} here"), scope, send)
        elif scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(404)
        else:
            await self._files(scope, receive, send)
