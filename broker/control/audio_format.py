"""Client audio of ``process_segment``: which format, where the samples are. Pure; looks at headers only."""

from __future__ import annotations

from broker.control.requests import ProcessSegment
from broker.errors import ControlError, ErrorCode
from broker.sessions.client_audio import AudioFormat
from models.media.positions import SAMPLE_BYTES
from models.media.wav import parse_wav

RAW_RATES = (8_000, 48_000)


def samples_of(args: ProcessSegment) -> tuple[AudioFormat, memoryview]:
    """Format and sample bytes of a call's audio.

    Raises:
        ControlError: INVALID_ARGUMENT when it is neither a WAV we read nor raw s16le with a sample rate.
    """
    if args.format is None:
        try:
            info = parse_wav(args.audio)
        except ValueError as error:
            raise ControlError(ErrorCode.INVALID_ARGUMENT, f"audio: {error}") from error
        frame = SAMPLE_BYTES[info.encoding] * info.channels
        data = memoryview(args.audio)[info.data_offset : info.data_offset + info.data_bytes]
        whole = len(data) // frame * frame
        return AudioFormat(info.sample_rate, info.channels, info.encoding, frame), data[:whole]
    low, high = RAW_RATES
    if args.sample_rate is None or not low <= args.sample_rate <= high:
        raise ControlError(
            ErrorCode.INVALID_ARGUMENT,
            f"raw audio needs 'sample_rate' from {low} to {high} Hz, got {args.sample_rate}",
        )
    if len(args.audio) % 2:
        odd = f"s16le has two bytes a sample; {len(args.audio)} bytes are odd: send whole samples"
        raise ControlError(ErrorCode.INVALID_ARGUMENT, odd)
    return AudioFormat(args.sample_rate, 1, "s16le", 2), memoryview(args.audio)
