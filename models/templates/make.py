"""A photo or a video becomes a template: the whole way from a source to a folder in place."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from models.api import Cancel, EngineError, Progress
from models.landmarks import files as landmark_files
from models.landmarks.faces import Face, Landmarker, landmarker
from models.media.paste import planes
from models.templates import checks, framing
from models.templates.animation import Animation
from models.templates.builtin import LOOP
from models.templates.cache import Held, Outcome, Prepared, adopt, confirm, describe, held, intact, twin
from models.templates.canvas import read_bgr
from models.templates.film import prepare_film
from models.templates.image import FORMATS_HINT, HEAD, decode_photo, format_of, open_picture, refuse_small
from models.templates.motion import LID
from models.templates.origin import SOURCE, Entry, Origin, read_origin, refuse_beyond_room
from models.templates.photo import PhotoAnimator
from models.templates.points import save_points
from models.templates.source import open_below
from models.templates.video import open_video
from models.templates.work import (
    BOX_MAX,
    SIDE_MAX,
    SOURCE_MAX,
    Source,
    Workplace,
    refuse_cancelled,
    refuse_full_disk,
)
from models.templates.writer import TemplateWriter, content_hash, template_lock

U8 = NDArray[np.uint8]

VERSION = "5"
"""Raise it whenever the same source would become other pixels: older templates are then made again."""
CONTENT_LOCKS = 64
"""Locks by content, shared by hash: two ids of one source do the work once. An id has no dot, their names have."""
READ = 1 << 20
CROPPED_MAX = 3 * SIDE_MAX
"""The longer side of a photo of which a part is taken: the part is to have the pixels of a template."""
DRAWING = 2
"""Threads that draw a photo's frames; what they call holds no lock of Python."""


def prepare_source(source: Source, place: Workplace, progress: Progress, cancel: Cancel) -> Prepared:
    """The template of ``source``: as it is when it is in place, else made.

    Safe against concurrent callers and against death at any moment; two callers with one source do the work
    once, under one id or two.

    Raises:
        EngineError: INVALID_ARGUMENT when the source cannot become a template, TOO_LARGE beyond a limit,
            NOT_FOUND when ``path`` is not there, ALREADY_EXISTS with ``if_absent`` when the id holds another
            source's template, FAILED for everything else; the message says what to do.
    """
    began = time.monotonic()
    try:
        with _open(source, place) as file:
            origin = Origin(_sha256(file, cancel), source.bbox_shift, source.crop)
            if source.kept not in (None, origin):
                raise EngineError(
                    "FAILED",
                    f"the source that was kept of template {source.template_id} is damaged",
                    "prepare it again from the original file",
                )
            digest = content_hash(f"source:{origin.sha256}", _parameters(source), place.preparers)
            entry = Entry(digest, file, origin, source.keep, source.room, source.no_room)
            try:
                with template_lock(place.root, source.template_id):
                    outcome = _ensure(source, file, entry, place, progress, cancel)
            except OSError:
                # One that is whole serves from a folder that takes no lock.
                if source.force or not intact(place.root / source.template_id, digest):
                    raise
                outcome = Outcome(cached=True)
    except OSError as error:
        raise EngineError(
            "FAILED", f"cannot write template {source.template_id}: {error}", "free space or set state_dir"
        ) from error
    return describe(place.root / source.template_id, outcome, seconds=time.monotonic() - began)


def rebuild(template_id: str, place: Workplace, progress: Progress, cancel: Cancel) -> Prepared:
    """The template made anew from the source that is kept beside it; until then the old one stays as it is.

    Raises:
        EngineError: NOT_FOUND when none is kept; else as ``prepare_source``.
    """
    origin = read_origin(place.root / template_id)
    if origin is None:
        raise EngineError(
            "NOT_FOUND", f"no source was kept of template {template_id}", "prepare it again from the original file"
        )
    source = Source(template_id, bbox_shift=origin.bbox_shift, crop=origin.crop, kept=origin)
    return prepare_source(source, place, progress, cancel)


def _ensure(
    source: Source, file: BinaryIO, entry: Entry, place: Workplace, progress: Progress, cancel: Cancel
) -> Outcome:
    """Make sure that the template is in place."""
    target = place.root / source.template_id
    progress("check", 0, 1)
    if not source.force and intact(target, entry.digest):
        confirm(target, entry)
        return Outcome(cached=True)
    replaced = held(target, entry) is Held.OTHER
    if replaced and source.if_absent:
        raise EngineError(
            "ALREADY_EXISTS",
            f"template {source.template_id} is there, made from another source",
            "choose another template_id, or leave out if_absent to replace it",
        )
    if source.in_use and target.exists():
        raise EngineError(
            "FAILED",
            f"template {source.template_id} is shown by a session and would have to be replaced",
            "end its sessions first, or choose another template_id",
        )
    refuse_beyond_room(source.template_id, file.seek(0, os.SEEK_END), entry)  # the source is kept, too
    file.seek(0)
    with template_lock(place.root, f"content.{int(entry.digest[:8], 16) % CONTENT_LOCKS}"):
        same = None if source.force else twin(place.root, source.template_id, entry.digest)
        if same is not None:
            with contextlib.suppress(FileNotFoundError):  # deleted since it was found
                adopt(place.root, source.template_id, same, entry)
                return Outcome(cached=True, replaced=replaced, same_as=same.name)
        _make(source, file, entry, place, progress, cancel)
    return Outcome(cached=False, replaced=replaced)


def _parameters(source: Source) -> dict[str, object]:
    return {
        "version": VERSION,
        "loop": LOOP,
        "side": SIDE_MAX,
        "box": BOX_MAX,
        "bbox_shift": source.bbox_shift,
        "landmarks": sorted(landmark_files.SHA256.values()),
        **({"crop": source.crop} if source.crop else {}),
    }


def _open(source: Source, place: Workplace) -> BinaryIO:
    if source.kept is not None:
        return (place.root / source.template_id / SOURCE).open("rb")
    return open_below(source.path, place.roots, SOURCE_MAX) if source.path else io.BytesIO(source.data)


def _sha256(file: BinaryIO, cancel: Cancel) -> str:
    digest = hashlib.sha256()
    try:
        while data := file.read(READ):
            digest.update(data)
            refuse_cancelled(cancel)
    except OSError as error:
        raise EngineError("FAILED", f"the source cannot be read: {error}", "look at the disk it is on") from error
    file.seek(0)
    return digest.hexdigest()


def _make(
    source: Source, file: BinaryIO, entry: Entry, place: Workplace, progress: Progress, cancel: Cancel
) -> None:
    progress("load", 0, 1)
    head = file.read(HEAD)
    file.seek(0)
    if not head:
        raise EngineError("INVALID_ARGUMENT", "the file is empty", FORMATS_HINT)
    kind = format_of(head)
    if kind is None:
        with open_video(file, place.max_video_s, place.threads) as film:
            prepare_film(source, film, entry, place, progress, cancel)
        return
    with open_picture(file, kind) as opened:
        refuse_small(opened.width, opened.height)
        if opened.animated:
            prepare_film(source, Animation(opened), entry, place, progress, cancel)
            return
        picture = decode_photo(opened, CROPPED_MAX if source.crop else SIDE_MAX)
    models = landmarker(place.weights_dir)
    refuse_cancelled(cancel)
    if source.crop:
        picture = _cropped(picture, models)
    _make_photo(source, picture, entry, place, models, progress, cancel)


def _make_photo(
    source: Source,
    picture: U8,
    entry: Entry,
    place: Workplace,
    models: Landmarker,
    progress: Progress,
    cancel: Cancel,
) -> None:
    picture = _within(picture, SIDE_MAX)
    progress("face", 0, 1)
    picture, face = _fitted(picture, _the_face(picture, models))
    animator = PhotoAnimator(picture, face.points, LOOP)
    refuse_cancelled(cancel)
    meshes = np.stack([animator.follow(n) for n in range(LOOP)])
    size = (picture.shape[1], picture.shape[0])
    side = min(framing.box_side(meshes, size), BOX_MAX)
    # One place for all: the head moves by less than the box's room, and a box that steps shows at the moved chin.
    placed = framing.framed(meshes.mean(axis=0)[None], side, size, source.bbox_shift)
    x, y = (int(v) for v in placed.origins[0])
    refuse_full_disk(place.root, LOOP, size, side)
    kind, box = "image", (side, side)
    with TemplateWriter(place.root, source.template_id, kind, size, box, placed.alpha, entry) as writer:
        for n, frame in enumerate(_drawn(animator, cancel)):
            writer.add_i420(frame, read_bgr(frame, (x, y, x + side, y + side)), (x, y))
            if n % 8 == 7:
                progress("frames", n + 1, LOOP)
        save_points(writer, meshes, placed.axes)
        writer.finish(place.preparers, progress, cancel)


def _cropped(picture: U8, models: Landmarker) -> U8:
    """Head and shoulders, from a picture that is larger than a template can be; else all of it."""
    picture = _within(picture, CROPPED_MAX)
    face = checks.choose(models.faces(picture), picture)
    frame = framing.head_and_shoulders(face.points, picture.shape[1::-1]) if isinstance(face, Face) else None
    if frame is None:
        return picture
    left, top, right, bottom = frame
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _drawn(animator: PhotoAnimator, cancel: Cancel) -> Iterator[U8]:
    """Every frame of the loop, I420; the next one is drawn while the caller keeps this one."""
    frames = animator.still(), animator.still()
    with ThreadPoolExecutor(DRAWING, "draw") as pool:
        list(pool.map(animator.close, set(LID)))

        def begin(n: int) -> list[Future[None]]:
            refuse_cancelled(cancel)
            animator.blink(n)
            shift, frame = animator.shift(n), planes(frames[n % 2])
            return [pool.submit(animator.draw, frame, part, shift) for part in animator.parts]

        coming = begin(0)
        for n in range(LOOP):
            for part in coming:
                part.result()
            if n + 1 < LOOP:
                coming = begin(n + 1)
            yield frames[n % 2]


def _the_face(picture: U8, models: Landmarker) -> Face:
    faces = models.faces(picture)
    found = checks.lean_fault(models.lean(picture, faces)) or checks.choose(faces, picture)
    if isinstance(found, Face):
        found = checks.unlike(models.agreement(picture, found)) or checks.open_fault(found) or found
    if isinstance(found, checks.Fault):
        raise EngineError("INVALID_ARGUMENT", f"this photo cannot be used: {found.fact}", found.hint)
    return found


def _within(picture: U8, side_max: int) -> U8:
    """The picture with even sides, the longer at most ``side_max``."""
    height, width = picture.shape[:2]
    scale = min(1.0, side_max / max(height, width))
    if scale < 1:
        size = (max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2)))
        return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    # Odd sizes lose their last row or column rather than being resampled.
    return np.ascontiguousarray(picture[: height & ~1, : width & ~1])


def _fitted(picture: U8, face: Face) -> tuple[U8, Face]:
    """Scaled down where the face fills more pixels than a crop can hold."""
    height, width = picture.shape[:2]
    side = framing.box_side(face.points[None], (1 << 20, 1 << 20))
    scale = BOX_MAX / side
    if scale >= 1:
        return picture, face
    size = (2 * round(width * scale / 2), 2 * round(height * scale / 2))
    ratio = np.array([size[0] / width, size[1] / height, size[0] / width], np.float32)
    centre = np.array([0.5, 0.5, 0], np.float32)
    points = (face.points + centre) * ratio - centre
    smaller = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return smaller, face._replace(points=points, box=face.box * np.tile(ratio[:2], 2))
