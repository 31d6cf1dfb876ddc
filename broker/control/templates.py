"""Operations on templates: ``preprocess_template``, ``list_templates``, ``delete_template``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.control.requests import DeleteTemplate, Nothing, PreprocessTemplate
from broker.control.server import Operations, Request
from broker.errors import ControlError, ErrorCode
from broker.ipc.messages import TemplateReady
from broker.templates.catalog import BUILTIN, Catalog, Listed
from broker.templates.preparation import Preparations, PrepareRequest
from models.errors import EngineError
from models.templates.source import place_below


class TemplateHandlers:
    """What can be shown.

    Args:
        roots: folders that the ``path`` of a source may be in.
        shows: whether a session shows a template.
    """

    def __init__(
        self, roots: Sequence[str], catalog: Catalog, preparations: Preparations, shows: Callable[[str], bool]
    ) -> None:
        self._roots = roots
        self._catalog = catalog
        self._preparations = preparations
        self._shows = shows

    @property
    def operations(self) -> Operations:
        """By name."""
        return {
            "preprocess_template": (PreprocessTemplate, self.preprocess_template),
            "list_templates": (Nothing, self.list_templates),
            "delete_template": (DeleteTemplate, self.delete_template),
        }

    def _check_path(self, path: str) -> None:
        """Nothing is opened here: ``prepare`` does that once, and checks what it has opened.

        Raises:
            ControlError: INVALID_ARGUMENT for what is not below one of the roots.
        """
        try:
            place_below(path, self._roots)
        except EngineError as error:
            raise ControlError(ErrorCode.of(error.code), str(error)) from None

    def preprocess_template(self, request: Request, args: PreprocessTemplate) -> None:
        """Prepare a template from a picture or a film."""
        sources = [s for s in (args.image, args.video, args.path) if s is not None]
        if len(sources) != 1:
            raise ControlError(ErrorCode.INVALID_ARGUMENT, "give exactly one of 'image', 'video' and 'path'")
        if args.path is not None:
            self._check_path(args.path)
        if args.template_id in BUILTIN:
            raise ControlError(
                ErrorCode.ALREADY_EXISTS, f"{args.template_id!r} is built in; choose another template_id"
            )
        prepare = PrepareRequest(
            args.template_id,
            "source",
            path=args.path or "",
            source=args.image or args.video or b"",
            bbox_shift=args.bbox_shift,
            crop=args.crop,
            force=args.force,
            in_use=self._shows(args.template_id),
            keep=args.keep,
            if_absent=args.if_absent,
        )

        def then(found: Listed | ControlError, made: TemplateReady | None) -> None:
            if isinstance(found, ControlError):
                request.refuse(found)
                return
            request.reply(
                template_id=found.ref.id,
                frames=found.frames,
                width=found.width,
                height=found.height,
                cached=made.cached if made else True,
                seconds=made.seconds if made else 0.0,
                replaced=made.replaced if made else False,
                **({"same_as": made.same_as} if made and made.same_as else {}),
                **({"bbox_shift": made.bbox_shift} if made and made.bbox_shift else {}),
            )

        self._preparations.prepare(prepare, then)

    def list_templates(self, request: Request, args: Nothing) -> None:
        """All that can be shown, built-in ones first."""
        request.reply(
            templates=[
                {
                    "template_id": t.ref.id,
                    "kind": t.kind,
                    "frames": t.frames,
                    "width": t.width,
                    "height": t.height,
                    "engines": t.engines,
                    "bytes": t.nbytes,
                    "in_use": self._shows(t.ref.id),
                    "keep": t.keep,
                    "outdated": t.outdated,
                }
                for t in self._catalog.all()
            ]
        )

    def delete_template(self, request: Request, args: DeleteTemplate) -> None:
        """Forget a template."""
        if args.template_id in BUILTIN:
            raise ControlError(
                ErrorCode.FAILED, f"template {args.template_id!r} is built in and stays; others can be deleted"
            )
        if not self._catalog.there(args.template_id):
            raise ControlError(ErrorCode.NOT_FOUND, f"no template {args.template_id!r}: see list_templates")
        if self._shows(args.template_id):
            raise ControlError(
                ErrorCode.FAILED, f"template {args.template_id!r} is in use; end its sessions first"
            )
        self._catalog.delete(args.template_id)
        request.reply()
