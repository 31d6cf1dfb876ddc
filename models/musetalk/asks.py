"""What a preparation asks of the networks: kinds, and the shapes that go in and come out. No torch.

faces          u8 BGR [n, H, W, 3]         f32 [m, 5] boxes x0, y0, x1, y1, score; i32 [n], how many are whose
points         u8 BGR [n, 384, 288, 3]     f32 [n, 133, 2] in the picture, finer than a bin; f32 [n, 133] scores
points.strict  the same                    the same in whole bins, the mirror image in a call of its own
classes        u8 RGB [n, 512, 512, 3]     u8 [n, 512, 512]
latents        u8 BGR [n, 256, 256, 3]     f32 [n, 8, 32, 32], the masked crop's latent, then the whole crop's

Faces of one picture are ordered, the surest first.
"""

from __future__ import annotations

FACES, POINTS, STRICT_POINTS, CLASSES, LATENTS = "faces", "points", "points.strict", "classes", "latents"
KINDS = (FACES, POINTS, STRICT_POINTS, CLASSES, LATENTS)
BATCH = 4
"""Pictures in one ask; small, so that a GPU that also speaks is never held for long."""
