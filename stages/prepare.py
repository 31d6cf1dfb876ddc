"""The ``prepare`` stage: from a source to a template folder. Runs on demand, one item at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from broker.messages import PrepareItem, PrepareProgress, TemplateReady, TemplateRef
from models.api import EngineError, Progress
from models.templates.builtin import ensure_builtin
from stages.stage import Result, Stage, Work


class PrepareStage(Stage):
    """Makes templates; what is already in place is answered at once."""

    name: ClassVar[str] = "prepare"
    engine = "builtin"

    def setup(self, progress: Progress) -> None:
        """Nothing to load: the drawing code is imported when something must be drawn."""
        progress("ready", 1, 1)

    def handle(self, work: Work) -> Iterator[Result]:
        """Progress outputs while it works, then ``TemplateReady``.

        Raises:
            EngineError: UNSUPPORTED for a kind this build cannot prepare; else as ``ensure_builtin``.
        """
        item = work.item
        if not isinstance(item, PrepareItem):
            raise EngineError("INVALID_ARGUMENT", f"prepare got {type(item).__name__}, not PrepareItem")
        if item.kind != "builtin":
            raise EngineError(
                "UNSUPPORTED",
                f"this version prepares built-in templates only, not a template from {item.kind!r}",
                'use "default" or "default-portrait"',
            )

        def progress(phase: str, done: int, total: int) -> None:
            work.progress()
            work.emit(
                PrepareProgress(src="", ep=0, id="", attempt=0, index=0, phase=phase, done=done, total=total)
            )

        made = ensure_builtin(self.config.state_dir, item.template_id, progress, work.cancel)
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
            ),
            (),
        )
