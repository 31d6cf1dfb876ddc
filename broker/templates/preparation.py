"""Things that are made once and then shared: templates in the catalog, init segments per size and quality."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from broker.context import Context
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import (
    Demand,
    InitItem,
    InitSegment,
    Item,
    Message,
    Output,
    PrepareAsk,
    PrepareItem,
    PrepareProgress,
    TemplateReady,
)
from broker.stream.events import TemplateProgress
from broker.stream.publisher import Publisher
from broker.templates.catalog import BUILTIN, Catalog, Listed
from broker.templates.idle_cache import LOOP_QUALITY, IdleCache
from broker.templates.tensor_asks import Asks, Order

log = structlog.get_logger()

PREPARE_RETRY_MS = 2000

TemplateDone = Callable[[Listed | ControlError, TemplateReady | None], None]
InitDone = Callable[[tuple[bytes, str] | ControlError], None]


class Preparations:
    """Asks for what is missing; several who want the same wait for one item."""

    def __init__(
        self,
        context: Context,
        catalog: Catalog,
        tell_supervisor: Callable[[Message], None],
        idle_cache: IdleCache,
        shows: Callable[[str], bool],
        order: Order,
    ) -> None:
        self._context = context
        self.asks = Asks(context, order)
        self._idle_cache = idle_cache
        self._shows = shows
        self._catalog = catalog
        self._tell = tell_supervisor
        self._templates: dict[str, PrepareJob] = {}
        self._inits: dict[tuple[int, int, str], tuple[bytes, str]] = {}
        self._init_jobs: dict[tuple[int, int, str], InitJob] = {}
        self._count = 0

    def template(self, template_id: str, then: TemplateDone) -> None:
        """Call ``then`` with the template.

        It is made first when it is a built-in one that is not there yet, or one of an older format.

        One that is being made anew is waited for; should that fail, the one that is there will do.
        """
        found = self._catalog.find(template_id)
        self._catalog.touch(template_id)
        job = self._templates.get(template_id)
        if job is not None:
            old = found if found is not None and not found.outdated else None

            def made_or_old(made: Listed | ControlError, ready: TemplateReady | None) -> None:
                then(old if old is not None and isinstance(made, ControlError) else made, ready)

            job.waiting.append(made_or_old)
        elif found is not None and found.outdated:
            self.prepare(PrepareRequest(template_id, "kept"), then)
        elif found is not None:
            then(found, None)
            self._loop(found)
        elif template_id not in BUILTIN:
            then(ControlError(ErrorCode.NOT_FOUND, self._catalog.missing(template_id)), None)
        else:
            self.prepare(PrepareRequest(template_id, "builtin"), then)

    def prepare(self, request: PrepareRequest, then: TemplateDone) -> None:
        """Make a template; a second request for the same id and source joins the first."""
        job = self._templates.get(request.template_id)
        if job is not None and job.request.key != request.key:
            message = f"template {request.template_id!r} is being made with another source or option; ask later"
            then(ControlError(ErrorCode.BUSY, message, PREPARE_RETRY_MS), None)
            return
        if job is None:
            job = self._templates[request.template_id] = PrepareJob(self, request, self._context.publisher)
            job.item_id = self._submit(f"_/{request.template_id}", "prepare", job)
            self._tell(Demand(stage="prepare"))
        job.waiting.append(then)

    def template_made(self, template_id: str, made: TemplateReady | ControlError) -> None:
        """A preparation has ended."""
        job = self._templates.pop(template_id)
        if isinstance(made, ControlError):
            tell = log.info if made.code is ErrorCode.INVALID_ARGUMENT else log.warning
            tell("template.failed", template=template_id, code=made.code, reason=made.message)
            for then in job.waiting:
                then(made, None)
            return
        listed = self._catalog.add(made)
        log.info("template.ready", template=template_id, frames=made.frames, cached=made.cached)
        self._context.publisher.template(TemplateProgress(template_id, "ready", 1, 1))
        for then in job.waiting:
            then(listed, made)
        self._loop(listed)
        busy = {template_id, *self._templates}
        self._catalog.evict(self._limit, lambda t: t in busy or self._shows(t))

    @property
    def _limit(self) -> int:
        return self._context.config.templates.cache_bytes

    def room(self, request: PrepareRequest) -> tuple[int | None, str]:
        """Bytes that the cache has for this template, and what a person can do when they do not suffice.

        A template that only has to be made anew was let in long ago.
        """
        if request.kind != "source":
            return None, ""
        return self._catalog.room(request.template_id, self._limit, self._shows)

    def _loop(self, listed: Listed) -> None:
        """See to it that the template's next idle video needs no encoding."""

        def with_init(init: tuple[bytes, str] | ControlError) -> None:
            if not isinstance(init, ControlError):
                self._idle_cache.prepare(listed.ref, listed.frames, init[0])

        self.init(listed.width, listed.height, LOOP_QUALITY, with_init)

    def init(self, width: int, height: int, quality: str, then: InitDone) -> None:
        """Call ``then`` with init segment and mime type for these settings."""
        key = (width, height, quality)
        found = self._inits.get(key)
        if found is not None:
            then(found)
            return
        job = self._init_jobs.get(key)
        if job is None:
            job = self._init_jobs[key] = InitJob(self, key)
            self._submit(f"_/{width}x{height}-{quality}", "encode", job)
        job.waiting.append(then)

    def init_made(self, key: tuple[int, int, str], made: tuple[bytes, str] | ControlError) -> None:
        """An init segment is there, or cannot be had."""
        job = self._init_jobs.pop(key)
        if not isinstance(made, ControlError):
            self._inits[key] = made
        for then in job.waiting:
            then(made)

    def _submit(self, prefix: str, stage: str, job: PrepareJob | InitJob) -> str:
        self._count += 1
        entry = self._context.ledger.submit(
            f"{prefix}/{stage}/{self._count}", stage, job, priority=self._context.now()
        )
        return entry.id


class PrepareRequest:
    """What to make of which source; ``kind`` as in ``PrepareItem``."""

    def __init__(
        self,
        template_id: str,
        kind: str,
        *,
        path: str = "",
        source: bytes = b"",
        bbox_shift: int = 0,
        crop: str = "",
        force: bool = False,
        in_use: bool = False,
        keep: bool = False,
        if_absent: bool = False,
    ) -> None:
        self.template_id = template_id
        self.kind = kind
        self.path = path
        self.source = source
        self.bbox_shift = bbox_shift
        self.crop = crop
        self.force = force
        self.in_use = in_use
        self.keep = keep
        self.if_absent = if_absent
        self.key = (kind, path, hashlib.sha256(source).digest(), bbox_shift, crop, force, keep, if_absent)
        """Equal for two requests that ask for the same."""


class PrepareJob:
    """One preparation."""

    media_ms = 0

    def __init__(self, preparations: Preparations, request: PrepareRequest, publisher: Publisher) -> None:
        self._preparations = preparations
        self._publisher = publisher
        self._asks = preparations.asks
        self.request = request
        self.item_id = ""
        self._made: TemplateReady | None = None
        self.waiting: list[TemplateDone] = []

    def _withdraw(self) -> None:
        """What an attempt that is over still asked for is not wanted."""
        self._asks.withdraw(self.item_id)

    def build(self) -> tuple[Item, Sequence[Any]]:
        """From the start, each time: a killed preparation leaves nothing."""
        self._withdraw()
        r = self.request
        room, no_room = self._preparations.room(r)
        item = PrepareItem(
            template_id=r.template_id,
            kind=r.kind,
            path=r.path,
            bbox_shift=r.bbox_shift,
            crop=r.crop,
            force=r.force,
            in_use=r.in_use,
            keep=r.keep,
            if_absent=r.if_absent,
            room=room,
            no_room=no_room,
        )
        return item, [r.source] if r.source else []

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """Progress, asks for network work, at last the template."""
        if isinstance(message, PrepareProgress):
            progress = TemplateProgress(self.request.template_id, message.phase, message.done, message.total)
            self._publisher.template(progress)
        elif isinstance(message, PrepareAsk):
            self._asks.submit(message, buffers)
        elif isinstance(message, TemplateReady):
            self._made = message

    def done(self) -> None:
        """Finished."""
        self._withdraw()
        missing = ControlError(ErrorCode.FAILED, "the preparation ended without a template; see the prepare log")
        self._preparations.template_made(self.request.template_id, self._made or missing)

    def failed(self, code: ErrorCode, message: str) -> None:
        """It cannot be made."""
        self._withdraw()
        if self.request.kind == "kept":  # who asked for it did not send the source
            code = ErrorCode.FAILED
            message = (
                f"template {self.request.template_id!r} is of an older format and could not be made anew from "
                f"the source that was kept: {message}"
            )
        self._preparations.template_made(self.request.template_id, ControlError(code, message))


class InitJob:
    """One init segment."""

    media_ms = 0

    def __init__(self, preparations: Preparations, key: tuple[int, int, str]) -> None:
        self._preparations = preparations
        self._key = key
        self._made: tuple[bytes, str] | None = None
        self.waiting: list[InitDone] = []

    def build(self) -> tuple[Item, Sequence[Any]]:
        """Size and quality."""
        width, height, quality = self._key
        item = InitItem(
            width=width,
            height=height,
            quality=quality,
        )
        return item, ()

    def output(self, message: Output, buffers: list[memoryview]) -> None:
        """The segment."""
        assert isinstance(message, InitSegment)
        self._made = (bytes(buffers[0]), message.mime)

    def done(self) -> None:
        """Finished."""
        missing = ControlError(ErrorCode.FAILED, "encode ended without an init segment")
        self._preparations.init_made(self._key, self._made or missing)

    def failed(self, code: ErrorCode, message: str) -> None:
        """These settings cannot be encoded."""
        self._preparations.init_made(self._key, ControlError(code, message))
