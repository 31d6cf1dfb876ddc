"""What a template keeps of its face's points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.templates.framing import lip_landmarks
from models.templates.writer import TemplateWriter


def save_points(
    writer: TemplateWriter, meshes: NDArray[np.floating[Any]], axes: NDArray[np.float32] | None
) -> None:
    """Add ``landmarks.npy``, ``mesh.npy`` and, where the head leans, ``axes.npy`` to a template.

    Args:
        writer: of the template.
        meshes: ``[L, 468, 2]``, pixels of its frames.
        axes: of every frame, see ``framing.Framing``; one row for all of them will do.
    """
    turns = np.zeros(len(meshes)) if axes is None else np.broadcast_to(axes, (len(meshes), 3))[:, 2]
    lips = [lip_landmarks(mesh, float(roll)) for mesh, roll in zip(meshes, turns, strict=True)]
    writer.save("landmarks.npy", np.stack(lips))
    writer.save("mesh.npy", meshes.astype(np.float32))
    if axes is not None:
        writer.save("axes.npy", np.array(np.broadcast_to(axes, (len(meshes), 3)), np.float32))
