"""Voice activity detection: Silero v6, the ONNX file that the faster-whisper package carries.

The loop over the audio is our own, because the package's own function wants the whole recording at once. The
file is found without importing faster-whisper, which would load ctranslate2 for nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.api import EngineError, Pcm, Progress
from models.asr.silero import HINT, model_path

WINDOW = 512
"""Samples per probability (32 ms)."""
CONTEXT = 64
"""Samples before the window that the network sees again."""
_STATE = 128

Probabilities = NDArray[np.float32]


class VoiceDetector:
    """The loaded network, shared by all streams of a process; ``stream`` gives each its own state."""

    def __init__(self) -> None:
        self._session: Any = None

    def load(self, progress: Progress) -> None:
        """Load the network and run it once.

        Raises:
            EngineError: the file or onnxruntime is missing, or the file is not the network we know.
        """
        progress("vad", 0, 1)
        path = model_path()
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineError("FAILED", f"onnxruntime does not import: {error}", "Install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # Spinning threads would burn a core in a process that only waits.
        for key in ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning"):
            options.add_session_config_entry(key, "0")
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self.stream().feed(np.zeros(WINDOW, np.int16))
        except Exception as error:  # onnxruntime's errors share no public base class
            self._session = None
            raise EngineError("FAILED", f"{path.name} does not run: {error}", HINT) from error
        progress("vad", 1, 1)

    def close(self) -> None:
        """Release the network."""
        self._session = None

    def stream(self) -> VoiceStream:
        """A new stream, as if silence had come before it."""
        return VoiceStream(self._session)


class VoiceStream:
    """One stream's state: recurrent state, context, and samples that do not fill a window yet."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._h = np.zeros((1, 1, _STATE), np.float32)
        self._c = np.zeros((1, 1, _STATE), np.float32)
        self._input = np.zeros((1, CONTEXT + WINDOW), np.float32)
        self._rest = np.zeros(0, np.int16)

    def feed(self, pcm: Pcm) -> Probabilities:
        """Probability of a voice for each window that these samples complete.

        Args:
            pcm: s16 mono 16 kHz, any length.

        Returns:
            float32 ``[n]``, 0 to 1; how the audio is cut into calls does not change the sequence.
        """
        samples = np.concatenate([self._rest, pcm]) if self._rest.size else pcm
        count = len(samples) // WINDOW
        found = np.empty(count, np.float32)
        for number in range(count):
            self._input[0, :CONTEXT] = self._input[0, -CONTEXT:]
            self._input[0, CONTEXT:] = samples[number * WINDOW : (number + 1) * WINDOW]
            self._input[0, CONTEXT:] /= 32768.0
            probability, self._h, self._c = self._session.run(
                None, {"input": self._input, "h": self._h, "c": self._c}
            )
            found[number] = probability.flat[0]
        self._rest = np.array(samples[count * WINDOW :], np.int16)
        return found
