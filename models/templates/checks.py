"""Which faces can become a template, and why the others cannot. Pure policy on landmarks and pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.grid import FPS
from models.landmarks import measure
from models.landmarks.faces import Agreement, Face

U8 = NDArray[np.uint8]

MIN_FACE = 64
"""Pixels from cheek to cheek; below, a mouth has too few pixels to move."""
RIVAL = 0.6
"""Another face of this share of the largest one's width or more leaves open who is meant."""
MAX_YAW = 32.0
"""Degrees to the side."""
MAX_ROLL = 60.0
"""Degrees that a head may lean; beyond, the detector no longer finds every face."""
MIN_NOSE = 0.16
"""How far below the eyes the tip of the nose is, on the way to the chin. Faces have 0.22 to 0.55; of one that is
thrown back (0.08) the mesh takes the chin for the mouth."""
MIN_PRESENCE = 0.9
"""Of the mesh; a face that looks at the camera has 0.99."""
MAX_OUTSIDE = 0.03
"""How far the face's outline may lie outside the picture, in widths of the face."""
MAX_OPEN = 0.26
"""Opening of the mouth in its widths; a broad smile has up to 0.25. Wider ones, closed, are another face."""
MAX_BLUR = 0.68
"""Of ``blur``. Sharp portraits have 0.42 to 0.52; one blurred by sigma = an 80th of the face's width has this.
Video compression takes away up to 0.1 from a blurred face: its blocks look like edges."""
BLUR_SIDE = 160
MAX_DISAGREEMENT = 0.035
"""Of the lips in several looks at one face. Human faces, painted and drawn ones too, have 0.005 to 0.02, a mouth
torn open 0.03; dogs whose mouth is found 0.01 to 0.03; rockets, letters, fur and badges 0.04 to 0.08; a mouth
behind something as large as half the face 0.04 to 0.06."""
DOUBTED = 0.5
"""Of the mesh in the least sure of them. Below, other limits hold: of the animals that the other checks accept
nearly all have less, of people only drawn ones and statues."""
DETECTED = 0.8
"""Of the detector: drawn faces have 0.82 to 0.93, dogs 0.69 to 0.78; one with 0.85 has its mouth where a person
has it."""
MAX_DETECTED, MAX_DOUBTED = 0.025, 0.015
"""Limits of disagreement there, where the detector says ``DETECTED`` and where not. Mouths that were found beside
the dog's own, on its nose or behind a hand have 0.018 to 0.034."""
CERTAIN = 0.998
"""Of the mesh in all of them: then it is a face, however its lips are seen. Nothing else was seen above 0.9963."""


class Fault(NamedTuple):
    """Why a frame cannot be used; ``kind`` tells runs of frames apart."""

    kind: str
    fact: str
    hint: str


def blur(bgr: U8, face: Face) -> float:
    """How blurred a face is, 0 (sharp) to 1.

    Compares the differences between neighbouring pixels with those of the same picture blurred once more
    ("The Blur Effect", Crete et al., SPIE 2007), over the face scaled to one size.
    """
    x0, y0, x1, y1 = (int(v) for v in face.box)
    height, width = bgr.shape[:2]
    part = bgr[max(y0, 0) : min(y1, height), max(x0, 0) : min(x1, width)]
    if min(part.shape[:2]) < 8:
        return 1.0
    grey = cv2.cvtColor(part, cv2.COLOR_BGR2GRAY)
    scale = BLUR_SIDE / max(grey.shape)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=method).astype(np.float32)
    worst = 0.0
    for axis in (0, 1):
        kernel = (1, 11) if axis == 0 else (11, 1)
        again = cv2.blur(grey, kernel)
        sharp = np.abs(np.diff(grey, axis=axis))
        soft = np.abs(np.diff(again, axis=axis))
        total = float(sharp.sum())
        lost = float(np.maximum(sharp - soft, 0).sum())
        worst = max(worst, (total - lost) / total if total > 0 else 1.0)
    return worst


def choose(faces: Sequence[Face], bgr: U8) -> Face | Fault:
    """The one face that is meant, or what stands against it.

    Args:
        faces: all faces of the picture, the largest first.
        bgr: the picture, u8 ``[H, W, 3]``.
    """
    if not faces:
        return Fault("none", "no face was found", "use a picture that shows one whole face, looking at the camera")
    widths = [float(face.box[2] - face.box[0]) for face in faces]
    rivals = [w for w, face in zip(widths, faces, strict=True) if w >= RIVAL * widths[0] and _is_face(face)]
    if len(rivals) > 1:
        return Fault("several", f"{len(rivals)} faces of similar size were found", "crop it to one person")
    face = faces[0]
    fault = _place(face, bgr) or _direction(face)
    if fault is None and blur(bgr, face) > MAX_BLUR:
        fault = Fault("blurred", "the face is blurred", "use a sharper picture, or one in better light")
    if fault is None and not _is_face(face):
        fault = Fault(
            "side", "the face is turned away or covered", "look at the camera, with nothing before the face"
        )
    return fault or face


def _is_face(face: Face) -> bool:
    return face.presence >= MIN_PRESENCE


def _place(face: Face, bgr: U8) -> Fault | None:
    """Whether the whole face is there, large enough."""
    height, width = bgr.shape[:2]
    wide = measure.face_width(face.points)
    outline = face.points[list(measure.OVAL), :2]
    outside = max(
        -float(outline.min()), float(outline[:, 0].max()) - (width - 1), float(outline[:, 1].max()) - (height - 1)
    )
    if outside > MAX_OUTSIDE * wide:
        return Fault("cut", "the face is cut off by the picture's border", "leave room around the whole face")
    if wide < MIN_FACE:
        return Fault(
            "small", f"the face is {wide:.0f} pixels wide; at least {MIN_FACE} are needed", "move closer or crop"
        )
    return None


def _direction(face: Face) -> Fault | None:
    """Whether it is upright and looks at the camera."""
    leaning = lean_fault(measure.roll_degrees(face.points))
    if leaning is not None:
        return leaning
    nose = measure.nose_share(face.points)
    if nose < MIN_NOSE:
        return Fault(
            "back",
            f"the head is thrown back: the tip of the nose is {100 * nose:.0f} % of the way from the eyes to the "
            f"chin; at least {100 * MIN_NOSE:.0f} % are needed",
            "look at the camera, with the chin lower",
        )
    yaw = abs(measure.yaw_degrees(face.points))
    if yaw <= MAX_YAW:
        return None
    return Fault(
        "side",
        f"the face is turned to the side, about {_beyond(yaw, MAX_YAW)} degrees; the limit is {MAX_YAW:.0f}",
        "look at the camera",
    )


def lean_fault(roll: float | None) -> Fault | None:
    """What stands against a head that leans by ``roll`` degrees clockwise; nothing where that is not known."""
    if roll is None or abs(roll) <= MAX_ROLL:
        return None
    degrees = _beyond(abs(roll), MAX_ROLL)
    lying = f"the face leans to the side, by about {degrees} degrees; the limit is {MAX_ROLL:.0f}"
    back = "counter-clockwise" if roll > 0 else "clockwise"
    return Fault("leaning", lying, f"turn the picture upright, about {degrees} degrees {back}")


def _beyond(value: float, limit: float) -> int:
    """Rounded, but never to the limit that it exceeds."""
    return max(round(value), math.floor(limit) + 1)


def unlike(looks: Agreement) -> Fault | None:
    """Whether what was found is no face, or one whose mouth is not where it was found."""
    limit = MAX_DISAGREEMENT
    if looks.presence < DOUBTED:
        limit = MAX_DETECTED if looks.score >= DETECTED else MAX_DOUBTED
    if looks.lips <= limit or looks.presence >= CERTAIN:
        return None
    return Fault(
        "unlike",
        "something like a face was found, but no mouth for certain: several looks at it disagree by "
        f"{looks.lips * 100:.1f} % of its width; the limit is {limit * 100:.1f} %",
        "use a picture of a person, or of an animal or figure with a face like a person's, looking at the camera, "
        "with nothing before the mouth",
    )


def open_fault(face: Face) -> Fault | None:
    """What stands against a mouth that is too wide open to be closed."""
    share = measure.lip_gap(face.points) / max(measure.lip_width(face.points), 1e-6)
    if share <= MAX_OPEN:
        return None
    wide = f"the mouth is open by {math.ceil(100 * share)} % of its width; the limit is {100 * MAX_OPEN:.0f}"
    return Fault("open", wide, "use a picture with closed lips, or with a smile")


class Run(NamedTuple):
    """Frames ``first`` to ``last`` have the same fault."""

    first: int
    last: int
    fault: Fault


def runs(faults: Sequence[Fault | None]) -> list[Run]:
    """Neighbouring frames of one kind of fault, in order."""
    found: list[Run] = []
    for n, fault in enumerate(faults):
        if fault is None:
            continue
        if found and found[-1].last == n - 1 and found[-1].fault.kind == fault.kind:
            found[-1] = found[-1]._replace(last=n)
        else:
            found.append(Run(n, n, fault))
    return found


def describe(found: Sequence[Run], limit: int = 4) -> str:
    """Frame ranges for a message: ``frames 10-42 (0.40-1.72 s): no face was found; ...``."""
    parts = []
    for run in found[:limit]:
        span = f"frame {run.first}" if run.first == run.last else f"frames {run.first}-{run.last}"
        parts.append(f"{span} ({run.first / FPS:.2f}-{(run.last + 1) / FPS:.2f} s): {run.fault.fact}")
    more = len(found) - limit
    return "; ".join(parts) + (f"; and {more} more" if more > 0 else "")
