"""The application: every route, the page, and what stands around them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from clients.aio.control import Control
from clients.daemon import door
from clients.gateway import docs, errors
from clients.gateway.auth import Tokens
from clients.gateway.errors import ApiError
from clients.gateway.gateway import Gateway
from clients.gateway.guard import Guard
from clients.gateway.page import Page
from clients.gateway.routers import ROUTERS, optional
from configs.gateway import Address
from configs.schema import Config


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
