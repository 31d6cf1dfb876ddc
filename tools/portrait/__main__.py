"""Paint the files that ``models.portrait.painting`` reads: ``python -m tools.portrait [FOLDER]``.

After a change of a brush: run this, raise ``models.templates.builtin.ARTWORK_VERSION``, and look at
``python -m tools.portrait.gallery``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.portrait import painting
from models.templates.builtin import BUILTIN
from tools.portrait.scene import paint

LOSSY, LOSSLESS = 100, 101
"""Qualities of OpenCV's WebP. The pictures are compressed as finely as lossy WebP can, 430 instead of 2200 kB:
of what a template shows, 99.4 % of the samples differ by a level or less (``tests/engines/test_portrait.py``). The
patches are small, and a blink must not move what is around the eyes."""


def main() -> None:
    """Paint all."""
    parser = argparse.ArgumentParser(description="Paint the built-in portrait's files.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(painting.__file__).parent)
    folder: Path = parser.parse_args().folder
    for name, artwork in BUILTIN.items():
        painted = paint(artwork.size, artwork.origin)
        _write(folder / f"{name}.webp", painted.picture, LOSSY)
        if name == "default":
            _write(folder / f"{painting.PATCHES}.webp", np.vstack(painted.patches), LOSSLESS)


def _write(path: Path, picture: NDArray[np.uint8], quality: int) -> None:
    done, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    assert done
    path.write_bytes(data.tobytes())
    print(f"{path}: {len(data)} bytes")


if __name__ == "__main__":
    main()
