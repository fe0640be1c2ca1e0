"""Writing frames: a folder of pictures, or a clip. Both say in their metadata what they are."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featflow.errors import OptionError, OutputError
from featflow.files import atomic_path

if TYPE_CHECKING:
    from featflow.animate.animator import Image

SYNTHETIC = "Synthetic: frames made from a still picture by featflow animate; not a recording"
"""Written into every file, so that nobody need guess."""

CLIPS: dict[str, str] = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
_TICKS = 90_000


def write_pictures(folder: str | Path, frames: Iterable[Image]) -> int:
    """Write frames as ``000000.png``, ``000001.png``, ... with their alpha.

    Args:
        folder: made if it does not exist (its parent must); files of these names are replaced.
        frames: (H, W, 4) BGRA uint8.

    Returns:
        Number of files.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    from PIL import Image as Pillow
    from PIL.PngImagePlugin import PngInfo

    folder = Path(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    info = PngInfo()
    info.add_text("Description", SYNTHETIC)
    info.add_text("Software", "featflow")
    count = 0
    for frame in frames:
        picture = Pillow.fromarray(np.ascontiguousarray(frame[..., [2, 1, 0, 3]]))
        with atomic_path(folder / f"{count:06d}.png") as temporary:
            picture.save(temporary, format="PNG", pnginfo=info, compress_level=1)
        count += 1
    return count


def write_clip(
    path: str | Path,
    frames: Iterable[Image],
    fps: float,
    background: tuple[int, int, int] = (255, 255, 255),
) -> int:
    """Write frames as an H.264 clip.

    Args:
        path: ends in one of :data:`CLIPS`.
        frames: (H, W, 4) BGRA uint8, sides even.
        fps: frames a second.
        background: red, green and blue behind what is transparent; clips have no alpha.

    Returns:
        Number of frames.

    Raises:
        OptionError: unknown ending, or fps not above 0.
        OutputError: the file cannot be written.
    """
    import av

    path = Path(path)
    if path.suffix.lower() not in CLIPS:
        raise OptionError(f"{path}: must end in {', '.join(CLIPS)}, or name a folder for pictures")
    if not fps > 0:
        raise OptionError(f"fps must be above 0, got {fps}")
    container = CLIPS[path.suffix.lower()]
    behind = np.array(background, np.float32)
    count = 0
    with atomic_path(path) as temporary, av.open(str(temporary), "w", format=container) as file:
        file.metadata["comment"] = SYNTHETIC
        file.metadata["title"] = "featflow animate (synthetic)"
        stream: Any = None
        for frame in frames:
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = file.add_stream("h264", rate=rate, options={"crf": "18"})
                stream.width, stream.height = frame.shape[1], frame.shape[0]
                stream.pix_fmt = "yuv420p"
                stream.codec_context.time_base = Fraction(1, _TICKS)
            picture = av.VideoFrame.from_ndarray(_flat(frame, behind), format="rgb24")
            picture.pts, picture.time_base = round(count * _TICKS / fps), Fraction(1, _TICKS)
            file.mux(stream.encode(picture))
            count += 1
        if stream is not None:
            file.mux(stream.encode())
    return count


def _flat(frame: Image, behind: NDArray[np.float32]) -> Image:
    rgb = frame[..., [2, 1, 0]]
    if (frame[..., 3] == 255).all():
        return np.ascontiguousarray(rgb)
    alpha = frame[..., 3:].astype(np.float32) / 255
    return np.asarray(np.rint(rgb * alpha + behind * (1 - alpha)), np.uint8)
