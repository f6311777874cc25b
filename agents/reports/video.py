"""Frames to an H.264 file, with the encoder that PyAV ships."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from agents.storage.files import created


def write_mp4(path: Path | str, frames: np.ndarray, fps: float) -> Path:
    """Write frames uint8 [T, H, W, 3] at `fps` frames a second; odd sizes lose a row or column.

    Raises ValueError for frames of another shape or type.
    """
    import av

    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {frames.shape}")
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    path = Path(path)
    temporary = path.with_name(f".tmp-{path.name}")
    created(temporary).close()
    with av.open(str(temporary), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "28", "preset": "veryfast"}
        for image in frames[:, :height, :width]:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    temporary.replace(path)
    return path
