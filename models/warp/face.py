"""What one frame's face does, as a pure function of the sound around it."""

from __future__ import annotations

from typing import NamedTuple

from models.api import FPS
from models.warp.gesture import STILL, Gesture, gesture
from models.warp.track import REST, Context, MouthState, mouth_state


class FaceState(NamedTuple):
    """One frame's face."""

    mouth: MouthState = REST
    gesture: Gesture = STILL


def face_state(context: Context, frame: int) -> FaceState:
    """The face in the middle of frame number ``frame`` of the media timeline."""
    return FaceState(mouth_state(context), gesture(context, frame / FPS))
