"""The grid of media time that the contract fixes: rates, frames, the smallest segment, the look-ahead.

Told once and imported everywhere, except by ``clients/client.py``, which stands alone as an example.
"""

SAMPLE_RATE = 48_000
"""Hz; every PCM between tts and encode, and the sound of every session, is mono s16 at this rate."""
SAMPLE_BYTES = 2
ASR_RATE = 16_000
"""Hz; what speech recognition hears."""
FPS = 25
FRAME_US = 1_000_000 // FPS
"""40000."""
FRAME_SAMPLES = SAMPLE_RATE // FPS
"""1920 samples of audio per video frame."""

QUANTUM_FRAMES = 8
"""Video frames of the smallest segment; 15 AAC frames are as long. Every ``pts`` is a multiple of it."""
QUANTUM_US = QUANTUM_FRAMES * FRAME_US
"""320000."""
QUANTUM_MS = QUANTUM_US // 1000
QUANTUM_SAMPLES = QUANTUM_FRAMES * FRAME_SAMPLES
"""15360."""
MAX_SEGMENT_MS = 16 * QUANTUM_MS
"""``timeline.max_segment_ms`` at most."""
MAX_ITEM_FRAMES = 32 * QUANTUM_FRAMES
"""10.24 s; far beyond any configured segment, and a bound on what one item may cost a stage."""

PAST_US = 2_000_000
"""How much of the speech before a segment lip-sync sees."""
FUTURE_US = 80_000
"""Look-ahead, microseconds. 320 + 80 = 400 ms is the most the contract lets a call carry over."""
PASSAGE_US = 30_000_000
"""What features of whole speech are made of, counted from the start of the turn (quality "max")."""
PASSAGE_MARGIN = 48
"""Samples (1 ms) to either side of a passage: the reach of a resampling filter."""
