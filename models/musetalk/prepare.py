"""MuseTalk's part of a template: where the crop lies, its latents, and what of it is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.schema import Config
from models.api import CROP, Cancel, EngineError, Progress
from models.media.paste import i420_to_bgr
from models.musetalk import geometry, masks
from models.musetalk.constants import LATENT, MASK_ROW, SCALING
from models.musetalk.faces import FaceSource, Found, choose_source
from models.musetalk.loading import choose_device, load_module
from models.musetalk.prepared import ENGINE, META_VERSION
from models.musetalk.weights import source_digest
from models.templates.store import Template

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
VERSION = "1"
MOST_WITHOUT = 0.2
"""A template in which more than this share of the frames shows no usable face is refused."""
BATCH = 4
"""Crops encoded together; small, so that a GPU that also speaks is never held for long."""


def vae_inputs(crop: U8) -> Tensor:
    """The masked and the whole crop: u8 BGR ``[256, 256, 3]`` to f32 ``[2, 3, 256, 256]``, -1 to 1."""
    rgb = torch.from_numpy(np.ascontiguousarray(crop[..., ::-1])).permute(2, 0, 1).float() / 255
    masked = rgb.clone()
    masked[:, MASK_ROW:] = 0
    return (torch.stack([masked, rgb]) - 0.5) / 0.5


@torch.inference_mode()
def encode(vae: Any, inputs: Tensor) -> Tensor:
    """Scaled latents, the mode of the posterior: f ``[B, 3, 256, 256]`` to ``[B, 4, 32, 32]``."""
    out: Tensor = vae.encode(inputs).latent_dist.mode() * SCALING
    return out


class Track(NamedTuple):
    """What was found in a template's frames."""

    found: list[Found | None]
    boxes: F32
    valid: NDArray[np.bool_]


class MuseTalkPreparer:
    """Writes ``engine/musetalk/``, see ``models.musetalk.prepared``.

    Args:
        config: ``weights_dir``, ``musetalk.*`` and the device of ``stages.prepare``.
        source: landmarks and regions; None: the networks, or the face mesh without them.
    """

    engine = ENGINE

    def __init__(self, config: Config, source: FaceSource | None = None) -> None:
        self._config, self._source = config, source
        self._root = Path(config.weights_dir)

    @property
    def version(self) -> str:
        """Changes with the settings and with every file of weights that preparation reads."""
        settings = self._config.musetalk
        digests = [source_digest(self._root, name)[:8] for name in ("vae", "dwpose", "face-parse", "s3fd")]
        return "-".join([VERSION, settings.version, settings.preparation, settings.parsing, *digests])

    def prepare(self, template: Template, out: str, progress: Progress, cancel: Cancel) -> None:
        """Find the face in every frame, place the crop, encode it, draw the mask.

        Raises:
            EngineError: FAILED when weights are missing or too many frames show no usable face, with the
                ranges of those frames and the reason.
        """
        settings = self._config.musetalk
        device = choose_device(self._config.stages.prepare.devices)
        source = self._source or choose_source(self._root, device, settings.preparation)
        vae = load_module(self._root, "vae").to(device)
        track = self._track(template, source, progress, cancel)
        folder = Path(out)
        mask = np.zeros((template.frames, CROP, CROP), np.uint8)
        latents = np.zeros((template.frames, 8, LATENT, LATENT), np.float32)
        for first in range(0, template.frames, BATCH):
            _look(cancel, template)
            numbers = range(first, min(first + BATCH, template.frames))
            pictures = [frame_of(template, k) for k in numbers]
            crops = [
                geometry.crop(frame, _box(track.boxes[k])) for k, frame in zip(numbers, pictures, strict=True)
            ]
            inputs = torch.cat([vae_inputs(crop) for crop in crops]).to(device)
            made = encode(vae, inputs).float().cpu().numpy()
            latents[list(numbers)] = made.reshape(len(crops), 8, LATENT, LATENT)
            for k, frame in zip(numbers, pictures, strict=True):
                found = track.found[k]
                if found is not None:
                    mask[k] = self._mask(template, source, frame, k, track.boxes[k], found)
            progress("latents", numbers[-1] + 1, template.frames)
        np.save(folder / "latents.npy", latents)
        np.save(folder / "boxes.npy", track.boxes)
        np.save(folder / "mask.npy", mask)
        np.save(folder / "valid.npy", track.valid)
        meta = {
            "v": META_VERSION,
            "vae": source_digest(self._root, "vae"),
            "settings": {"preparation": settings.preparation, "parsing": settings.parsing, "faces": source.name},
        }
        (folder / "meta.json").write_text(json.dumps(meta), "utf-8")

    def _track(self, template: Template, source: FaceSource, progress: Progress, cancel: Cancel) -> Track:
        results: list[Found | str] = []
        for k in range(template.frames):
            _look(cancel, template)
            results.append(source.find(frame_of(template, k)))
            progress("faces", k + 1, template.frames)
        refuse_faceless(template.id, results)
        found = [None if isinstance(one, str) else one for one in results]
        valid = np.array([one is not None for one in found])
        if self._config.musetalk.preparation == "strict":
            boxes = np.zeros((len(found), 4), np.float32)
            for k, one in enumerate(found):
                box = None if one is None or one.points is None else self._strict_box(template, one)
                valid[k] = box is not None
                boxes[k] = box or (0, 0, template.width, template.height)
        else:
            outlines = np.stack([np.zeros(4, np.float32) if one is None else one.outline for one in found])
            boxes = geometry.refined_boxes(outlines, valid)
        return Track(found, boxes, valid)

    def _strict_box(self, template: Template, found: Found) -> geometry.Box | None:
        assert found.points is not None
        points = found.points.astype(np.int32)
        return geometry.strict_box(points, 0, self._config.musetalk.version, template.height, found.face)

    def _mask(self, template: Template, source: FaceSource, frame: U8, k: int, box: F32, found: Found) -> U8:
        settings = self._config.musetalk
        x0, y0, x1, y1 = (round(float(value)) for value in box)
        whole = (x0, y0, x1, y1)
        square = masks.expanded(whole)
        chosen = masks.region(source.classes(frame, square, found), settings.parsing)
        soft = masks.soft_mask(chosen, whole, square, masks.BLUR["realtime"])
        return masks.in_crop(soft, square, whole, template.boxes[k], CROP)


def frame_of(template: Template, k: int) -> U8:
    """One frame, u8 BGR ``[H, W, 3]``; inside the template's box its original pixels."""
    frame = i420_to_bgr(template.i420[k])
    x0, y0, x1, y1 = template.boxes[k]
    frame[y0:y1, x0:x1] = template.roi[k]
    return frame


def _box(values: F32) -> F32 | geometry.Box:
    whole = [int(value) for value in values]
    return (whole[0], whole[1], whole[2], whole[3]) if np.array_equal(values, whole) else values


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


def _look(cancel: Cancel, template: Template) -> None:
    if cancel.is_set():
        raise EngineError("FAILED", f"preparing {template.id} was cancelled", "ask again", retryable=True)
