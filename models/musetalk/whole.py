"""Audio features of a segment from the whole speech around it: upstream's own recipe, for quality "max".

The turn is encoded in consecutive passages of 30 s, each with its own loudest mel as the floor, and a window
that crosses a border takes states of both: exactly ``audio.one_shot`` of the whole recording. A passage is encoded
once; its states are kept by content, so an engine's output stays a function of the item alone.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from models.api import FPS, PASSAGE_US, Passage
from models.musetalk.audio import chunk_states, windows
from models.musetalk.constants import CHUNK_SECONDS
from models.musetalk.gpu import exact
from models.musetalk.stream import decimated
from models.musetalk.whisper import Encoder

PASSAGE_FRAMES = CHUNK_SECONDS * FPS
KEPT = 8
"""Passages whose states stay on the device, two for each of four recordings: 6 MB each in float16."""


class WholeFeatures:
    """Windows of hidden states of whole passages.

    Args:
        encoder: in evaluation mode, on its device, in its dtype.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._states: OrderedDict[bytes, Tensor] = OrderedDict()
        self.encoded = 0
        """Passages encoded since the start."""

    @torch.inference_mode()
    @exact()
    def windows(self, passages: Sequence[Passage], first: int, count: int) -> Tensor:
        """Features of frames ``first`` .. of the turn: ``[count, 50, width]``; token = 5 * step + state.

        Args:
            passages: consecutive; all that these frames reach.
        """
        states = torch.cat([self._encode(passage) for passage in passages])
        return windows(states, Fraction(FPS), first - passages[0].number * PASSAGE_FRAMES, count)

    def _encode(self, passage: Passage) -> Tensor:
        key = hashlib.blake2b(passage.pcm.tobytes(), digest_size=16).digest()
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = chunk_states(self._encoder, decimated(passage.pcm))
            self.encoded += 1
            while len(self._states) > KEPT:
                self._states.popitem(last=False)
        self._states.move_to_end(key)
        return found


assert CHUNK_SECONDS * 1_000_000 == PASSAGE_US
