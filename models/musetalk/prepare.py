"""MuseTalk's part of a template: where the crop lies, its latents, and what of it is shown.

No torch: the networks run in the process that owns the device, small batch by small batch, see ``asks``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from configs.schema import Config
from models.api import CROP, Cancel, EngineError, Progress, TensorSource
from models.media.paste import i420_to_bgr
from models.musetalk import asks, geometry, masks
from models.musetalk.constants import LATENT
from models.musetalk.faces import FaceSource, Found, Part, choose_source, source_name
from models.musetalk.manifest import converted_entry, source_digest
from models.musetalk.prepared import ENGINE, META_VERSION
from models.templates.store import Template

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
VERSION = "2"
MOST_WITHOUT = 0.2
"""A template in which more than this share of the frames shows no usable face is refused."""

log = structlog.get_logger(__name__)


class Track(NamedTuple):
    """What was found in a template's frames."""

    found: list[Found | None]
    boxes: F32
    valid: NDArray[np.bool_]
    shift: dict[str, Any]
    """``bbox_shift``: asked for, used, and the range that suits this face."""


class Frames(Sequence[U8]):
    """The different frames of a template, u8 BGR ``[H, W, 3]``, made when they are asked for.

    The way back of a film shows the frames of the way there, so they are looked at once.

    Args:
        template: mapped.

    Attributes:
        place: per frame of the template, its place in this sequence.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        loop = template.frames
        self.place = [*range(loop)]
        if template.kind == "video" and all(_same_frame(template, k, loop - k) for k in range(1, loop // 2)):
            self.place = [min(k, loop - k) for k in range(loop)]

    def __len__(self) -> int:
        return max(self.place) + 1

    def __getitem__(self, k: Any) -> Any:
        return frame_of(self._template, k)


class MuseTalkPreparer:
    """Writes ``engine/musetalk/``, see ``models.musetalk.prepared``.

    Args:
        config: ``weights_dir`` and ``musetalk.*``.
        tensors: who runs the networks; None where only ``version`` is wanted.
        bbox_shift: pixels further down, for version 1.0; 1.5 has no use for it.
        source: landmarks and regions; None: the networks, or the face mesh without them.
    """

    engine = ENGINE

    def __init__(
        self,
        config: Config,
        tensors: TensorSource | None = None,
        bbox_shift: int = 0,
        source: FaceSource | None = None,
    ) -> None:
        self._config, self._tensors, self._shift, self._source = config, tensors, bbox_shift, source
        self._root = Path(config.weights_dir)

    @property
    def version(self) -> str:
        """Changes with the settings and with every file of weights that preparation reads."""
        settings = self._config.musetalk
        digests = [source_digest(self._root, name)[:8] for name in ("vae", "dwpose", "face-parse", "s3fd")]
        faces = source_name(self._root, settings.preparation)
        return "-".join([VERSION, settings.version, settings.preparation, settings.parsing, faces, *digests])

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Find the face in every frame, place the crop, have it encoded, draw the mask.

        Raises:
            EngineError: FAILED when weights are missing, nobody runs the networks, or too many frames show no
                usable face, with the ranges of those frames and the reason.
        """
        settings = self._config.musetalk
        converted_entry(self._root, "vae")
        if self._tensors is None:
            raise EngineError("FAILED", "nobody runs musetalk's networks here", "name it in engines.lipsync")
        source = self._source or choose_source(self._root, self._tensors, settings.preparation)

        def step(phase: str, done: int, total: int) -> None:
            if cancel.is_set():
                message = f"preparing {template.id} was cancelled"
                raise EngineError("FAILED", message, "ask again", retryable=True)
            progress(phase, done, total)

        frames = Frames(template)
        track = self._track(template, frames, source, step)
        latents = np.zeros((len(frames), 8, LATENT, LATENT), np.float32)
        mask = np.zeros((template.frames, CROP, CROP), np.uint8)
        batch = 1 if settings.preparation == "strict" else asks.BATCH
        for first in range(0, len(frames), batch):
            numbers = range(first, min(first + batch, len(frames)))
            pictures = [frames[k] for k in numbers]
            pairs = zip(pictures, track.boxes[first:], strict=False)
            crops = np.stack([geometry.crop(frame, _box(box)) for frame, box in pairs])
            (latents[list(numbers)],) = self._tensors.tensors(asks.LATENTS, [crops], step)
            shown = dict(zip(numbers, pictures, strict=True))
            self._draw_masks(template, frames.place, source, track, shown, mask, step)
            step("latents", numbers[-1] + 1, len(frames))
        self._save(Path(out), frames.place, track, latents, mask, source.name)

    def _save(self, folder: Path, place: list[int], track: Track, latents: F32, mask: U8, faces: str) -> None:
        settings = self._config.musetalk
        np.save(folder / "latents.npy", latents[place])
        np.save(folder / "boxes.npy", track.boxes[place])
        np.save(folder / "mask.npy", mask)
        np.save(folder / "valid.npy", track.valid[place])
        meta = {
            "v": META_VERSION,
            "vae": source_digest(self._root, "vae"),
            "settings": {"preparation": settings.preparation, "parsing": settings.parsing, "faces": faces},
            "bbox_shift": track.shift,
        }
        (folder / "meta.json").write_text(json.dumps(meta), "utf-8")

    def _track(self, template: Template, frames: Frames, source: FaceSource, step: Progress) -> Track:
        settings = self._config.musetalk
        results = source.find(frames, step)
        refuse_faceless(template.id, [results[k] for k in frames.place])
        found = [None if isinstance(one, str) else one for one in results]
        valid = np.array([one is not None for one in found])
        shift = self._fitting_shift(template.id, found)
        if settings.preparation == "strict":
            boxes = np.zeros((len(found), 4), np.float32)
            for k, one in enumerate(found):
                box = None
                if one is not None and one.points is not None:
                    points = one.points.astype(np.int32)
                    box = geometry.strict_box(points, shift["used"], settings.version, template.height, one.face)
                valid[k] = box is not None
                boxes[k] = box or (0, 0, template.width, template.height)
            return Track(found, boxes, valid, shift)
        outlines = np.stack([np.zeros(4, np.float32) if one is None else one.outline for one in found])
        outlines[:, 2] += shift["used"]
        place = frames.place
        loop = geometry.refined_boxes(outlines[place], valid[place])
        return Track(found, loop[: len(frames)], valid, shift)

    def _fitting_shift(self, template_id: str, found: Sequence[Found | None]) -> dict[str, Any]:
        """How far down the crop's middle goes: 0 in version 1.5, else what was asked for within the range."""
        shift: dict[str, Any] = {"asked": self._shift, "used": 0}
        if self._config.musetalk.version == "v15":
            return shift
        low, high = geometry.shift_range(np.stack([one.nose for one in found if one is not None]))
        used = max(min(low, 0), min(max(high, 0), self._shift))
        shift |= {"used": used, "range": [low, high]}
        if used != self._shift:
            log.warning("template.bbox_shift_limited", template=template_id, **shift)
        return shift

    def _draw_masks(
        self,
        template: Template,
        place: list[int],
        source: FaceSource,
        track: Track,
        pictures: dict[int, U8],
        mask: U8,
        step: Progress,
    ) -> None:
        """Fill ``mask`` (u8 ``[L, 256, 256]``) where these different frames are shown."""
        settings = self._config.musetalk
        wholes = {k: _whole(track.boxes[k]) for k in pictures}
        parts = {
            k: Part(frame, masks.expanded(wholes[k]), found)
            for k, frame in pictures.items()
            if (found := track.found[k]) is not None
        }
        if not parts:
            return
        for k, classes in zip(parts, source.classes([*parts.values()], step), strict=True):
            square = parts[k].square
            chosen = masks.region(classes, settings.parsing)
            soft = masks.soft_mask(chosen, wholes[k], square, masks.BLUR["realtime"])
            own = masks.in_crop(soft, square, wholes[k], template.boxes[k], CROP)
            mask[[n for n, at in enumerate(place) if at == k]] = own


def frame_of(template: Template, k: int) -> U8:
    """One frame, u8 BGR ``[H, W, 3]``; inside the template's box its original pixels."""
    frame = i420_to_bgr(template.i420[k])
    x0, y0, x1, y1 = template.boxes[k]
    frame[y0:y1, x0:x1] = template.roi[k]
    return frame


def _same_frame(template: Template, a: int, b: int) -> bool:
    arrays = (template.boxes, template.valid, template.i420, template.roi)
    return all(np.array_equal(array[a], array[b]) for array in arrays)


def _whole(values: F32) -> geometry.Box:
    x0, y0, x1, y1 = (round(float(value)) for value in values)
    return x0, y0, x1, y1


def _box(values: F32) -> F32 | geometry.Box:
    whole = _whole(values)
    return whole if np.array_equal(values, whole) else values


def refuse_faceless(template_id: str, results: Sequence[Found | str]) -> None:
    """Raise FAILED with the frame ranges and reasons when too many frames have no usable face."""
    missing = sum(isinstance(one, str) for one in results)
    if missing <= MOST_WITHOUT * len(results):
        return
    reasons = "; ".join(
        f"frames {first}-{last}: {reason}" if last > first else f"frame {first}: {reason}"
        for first, last, reason in list(ranges(results))[:5]
    )
    raise EngineError(
        "FAILED",
        f"{missing} of {len(results)} frames of {template_id} show no usable face ({reasons})",
        "use a frontal face of 200 to 300 px, alone in the picture, not covered",
    )


def ranges(results: Sequence[Found | str]) -> Iterator[tuple[int, int, str]]:
    """Stretches of frames with the same reason: first, last, reason."""
    first = 0
    for k in range(1, len(results) + 1):
        if k == len(results) or not _same(results[k], results[first]):
            reason = results[first]
            if isinstance(reason, str):
                yield first, k - 1, reason
            first = k


def _same(a: Found | str, b: Found | str) -> bool:
    return isinstance(a, str) == isinstance(b, str) and (not isinstance(a, str) or a == b)
