"""The shipped portrait is what the painter paints, to a level that nobody sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.media.paste import bgr_to_i420
from models.portrait import painting
from models.portrait.motion import BLINKS, Animator
from models.templates.builtin import BUILTIN, LOOP
from tools.portrait.scene import paint

SHIPPED_BYTES = 600_000
"""Of all pictures together: every clone and every wheel carries them."""


@pytest.mark.parametrize("name", BUILTIN)
def test_frames_of_the_shipped_painting_are_those_of_the_painter(name: str) -> None:
    artwork = BUILTIN[name]
    shipped = painting.load(name, artwork.size, artwork.origin)
    painted = paint(artwork.size, artwork.origin)
    assert (shipped.patch_at, len(shipped.patches)) == (painted.patch_at, len(painted.patches))
    for mine, theirs in zip(shipped.patches, painted.patches, strict=True):
        assert np.abs(mine.astype(int) - theirs).max() <= 1, "the eyes are the same in every picture"
    moving, wanted = Animator(shipped, LOOP), Animator(painted, LOOP)
    for n in (0, BLINKS[0] + 1, LOOP // 2):
        apart = np.abs(bgr_to_i420(moving.frame(n)).astype(int) - bgr_to_i420(wanted.frame(n)))
        assert apart.mean() < 0.4
        assert (apart > 1).mean() < 0.01
        assert apart.max() <= 8


def test_the_pictures_stay_small() -> None:
    shipped = {path.name: path.stat().st_size for path in Path(painting.__file__).parent.glob("*.webp")}
    assert set(shipped) == {f"{name}.webp" for name in (*BUILTIN, painting.PATCHES)}
    assert sum(shipped.values()) < SHIPPED_BYTES
