"""Reading media back for tests: PyAV, and the ffmpeg program where there is one."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

BT709, LIMITED = 1, 1


class Times(NamedTuple):
    """Decode times of one track in its own time scale, with the key flag of each packet."""

    dts: list[int]
    key: list[bool]


def _open(data: bytes) -> Any:
    return av.open(io.BytesIO(data))


def packet_times(data: bytes) -> tuple[Times, Times]:
    """Video and audio packets in file order."""
    tracks = {"video": Times([], []), "audio": Times([], [])}
    with _open(data) as source:
        for packet in source.demux():
            if packet.dts is not None:
                tracks[packet.stream.type].dts.append(packet.dts)
                tracks[packet.stream.type].key.append(packet.is_keyframe)
    return tracks["video"], tracks["audio"]


def bytes_of_frames(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes of the samples of each frame's 40 ms, from the first frame on: of the picture, of the sound."""
    found: dict[str, list[tuple[float, int]]] = {"video": [], "audio": []}
    with _open(data) as source:
        for packet in source.demux():
            if packet.dts is not None:
                found[packet.stream.type].append((float(packet.dts * packet.time_base), packet.size))
    begin, frames = min(at for at, _ in found["video"]), len(found["video"])
    sums = {kind: np.zeros(frames, np.int64) for kind in found}
    for kind, samples in found.items():
        for at, size in samples:
            sums[kind][int((at - begin) * 25 + 1e-6)] += size
    return sums["video"], sums["audio"]


def decode_video(data: bytes) -> list[Any]:
    """Every picture as a PyAV frame."""
    with _open(data) as source:
        return list(source.decode(video=0))


def decode_audio(data: bytes) -> NDArray[np.float32]:
    """All samples, -1 to 1."""
    with _open(data) as source:
        return np.concatenate([frame.to_ndarray()[0] for frame in source.decode(audio=0)])


def tagged_bgr(frame: Any) -> NDArray[np.uint8]:
    """Convert a decoded frame by its own tags, as a player does; refuses a frame without them."""
    assert (frame.colorspace, frame.color_range) == (BT709, LIMITED)
    converted = frame.reformat(format="bgr24", src_colorspace=frame.colorspace, src_color_range=frame.color_range)
    return np.asarray(converted.to_ndarray(), np.uint8)


def ffmpeg(*arguments: str, data: bytes) -> bytes:
    """Run the ffmpeg program on ``data``: the machine's, else the one of a package. Warnings are errors."""
    program = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    done = subprocess.run(
        [program, "-v", "warning", "-i", "pipe:0", *arguments, "pipe:1"],
        input=data,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert not done.stderr, done.stderr.decode()
    return done.stdout


@dataclass(frozen=True)
class Film:
    """What a player sees."""

    frames: int
    fps: float
    video_s: float
    audio_samples: int
    """By the container: what a player plays."""
    starts: tuple[float, float]
    colour: tuple[int, int, int, int]
    luma: NDArray[np.uint8]
    sound: NDArray[np.float32]


def watch(path: Path) -> Film:
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        assert video.time_base is not None
        assert audio.time_base is not None
        assert audio.rate == 48_000
        starts = tuple(float((s.start_time or 0) * s.time_base) for s in (video, audio) if s.time_base)
        context = video.codec_context
        colour = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
        about = (
            float(video.average_rate or 0),
            float((video.duration or 0) * video.time_base),
            round((audio.duration or 0) * audio.time_base * 48_000),
        )
        pictures = [frame.to_ndarray()[: video.height] for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [frame.to_ndarray().mean(axis=0) for frame in container.decode(audio=0)]
    return Film(len(pictures), *about, starts, colour, np.stack(pictures), np.concatenate(sound))  # type: ignore[arg-type]
