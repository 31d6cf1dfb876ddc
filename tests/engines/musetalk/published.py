"""What upstream does with Pillow, as an oracle."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from models.musetalk import masks
from models.musetalk.geometry import Box


def pasted(frame: np.ndarray, face: np.ndarray, box: Box, mask: np.ndarray) -> np.ndarray:
    """The frame with a face: u8 BGR ``[H, W, 3]``; ``mask`` over ``masks.expanded(box)``."""
    square = masks.expanded(box)
    whole = Image.fromarray(frame[..., ::-1])
    part = whole.crop(square)
    resized = cv2.resize(face, (box[2] - box[0], box[3] - box[1]))
    part.paste(Image.fromarray(resized[..., ::-1]), (box[0] - square[0], box[1] - square[1]))
    whole.paste(part, square[:2], Image.fromarray(mask))
    return np.asarray(whole)[..., ::-1]
