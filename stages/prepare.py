"""The ``prepare`` stage: from a source to a template folder. Runs on demand, one item at a time.

It loads no lip-sync engine: the network work of an engine's preparer is done by the process that runs the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import structlog

from broker.ipc.messages import PrepareItem, PrepareProgress, TemplateReady, TemplateRef
from models.api import EngineError, Preparer, Progress
from models.registry import preparers
from models.templates.builtin import ensure_builtin
from models.templates.cache import Prepared
from models.templates.origin import read_origin
from models.templates.writer import sweep_all
from stages.stage import Result, Stage, Work
from stages.tensors import Asker

log = structlog.get_logger(__name__)


class PrepareStage(Stage):
    """Makes templates; what is already in place is answered at once."""

    name: ClassVar[str] = "prepare"
    engine = "builtin"

    def setup(self, progress: Progress) -> None:
        """Remove what killed preparations left. Models and drawing code are loaded when they are needed."""
        cv2.setNumThreads(self.settings.threads)
        swept = sweep_all(self._root)
        if swept:
            log.info("template.swept", folders=swept)
        progress("ready", 1, 1)

    def handle(self, work: Work) -> Iterator[Result]:
        """Progress outputs while it works, then ``TemplateReady``.

        Raises:
            EngineError: as ``ensure_builtin`` and ``prepare_source``.
        """
        item = work.item
        if not isinstance(item, PrepareItem):
            raise EngineError("INVALID_ARGUMENT", f"prepare got {type(item).__name__}, not PrepareItem")

        def progress(phase: str, done: int, total: int) -> None:
            work.progress()
            work.emit(
                PrepareProgress(src="", ep=0, id="", attempt=0, index=0, phase=phase, done=done, total=total)
            )

        kept = read_origin(self._root / item.template_id) if item.kind == "kept" else None
        shift = item.bbox_shift if kept is None else kept.bbox_shift
        made_by = preparers(self.config, lambda engine: Asker(work, engine, self._ask_limit_s), shift)
        if item.kind == "builtin":
            made = ensure_builtin(self.config.state_dir, item.template_id, progress, work.cancel, made_by)
        else:
            made = self._from_source(item, work, made_by, progress)
        yield (
            TemplateReady(
                src="",
                ep=0,
                id="",
                attempt=0,
                index=0,
                template=TemplateRef(made.id, str(made.path), made.hash),
                kind=made.kind,
                frames=made.frames,
                width=made.width,
                height=made.height,
                nbytes=made.nbytes,
                engines=made.engines,
                cached=made.cached,
                seconds=made.seconds,
                bbox_shift=made.bbox_shift,
                replaced=made.outcome.replaced,
                same_as=made.outcome.same_as,
            ),
            (),
        )

    @property
    def _root(self) -> Path:
        """The folder of all templates."""
        return Path(self.config.state_dir) / "templates"

    @property
    def _ask_limit_s(self) -> float:
        """For one ask: lip-sync may have to load first, then live sessions come before it."""
        return self.config.stages.lipsync.load_timeout_s + self.settings.item_timeout_s

    def _from_source(
        self, item: PrepareItem, work: Work, made_by: Sequence[Preparer], progress: Progress
    ) -> Prepared:
        # Imported here: a daemon that shows built-in templates only needs none of it.
        from models.templates.make import prepare_source, rebuild
        from models.templates.work import Source, Workplace

        place = Workplace(
            state_dir=self.config.state_dir,
            weights_dir=self.config.weights_dir,
            roots=self.config.template_roots,
            max_video_s=self.config.templates.max_video_s,
            threads=self.settings.threads,
            preparers=made_by,
        )
        if item.kind == "kept":
            return rebuild(item.template_id, place, progress, work.cancel)
        source = Source(
            template_id=item.template_id,
            path=item.path,
            data=work.buffers[0] if work.buffers else b"",
            bbox_shift=item.bbox_shift,
            crop=item.crop,
            force=item.force,
            in_use=item.in_use,
            if_absent=item.if_absent,
            keep=item.keep,
            room=item.room,
            no_room=item.no_room,
        )
        return prepare_source(source, place, progress, work.cancel)
