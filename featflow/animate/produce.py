"""From files to files: a still, and a table, a clip or poses, become pictures or a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featflow.animate.animator import Image
from featflow.animate.core import AnimationCore
from featflow.animate.interpolate import PoseInterpolator
from featflow.animate.pose import INDEX, POSE_NAMES, Pose
from featflow.animate.puppet import MeshWarpAnimator
from featflow.animate.retarget import FexRetargeter, resample
from featflow.animate.rig import Rig
from featflow.animate.sinks import CLIPS, write_clip, write_pictures
from featflow.animate.still import fit_still, read_still
from featflow.errors import MissingInputError, OptionError, OutputError, SchemaError

TABLES = (".parquet", ".csv", ".feather", ".json")
_BESIDE_POSES = frozenset({"time", "frame"})


@dataclass(frozen=True)
class Motion:
    """Poses and when they are.

    Attributes:
        poses: (T, 45).
        fps: poses a second, even.
    """

    poses: Pose
    fps: float


def read_motion(
    source: str | Path,
    *,
    person: str | None = None,
    fps: float | None = None,
    mirror: bool = False,
    device: str = "auto",
) -> Motion:
    """Poses from a table of faces, a table of pose parameters, or a clip (detected first).

    Args:
        source: ``.parquet``, ``.csv``, ``.feather`` or ``.json`` table, or a clip.
        person: whose rows, see :func:`~featflow.animate.tracks.one_person`.
        fps: poses a second; those of the source by default.
        mirror: act like a mirror image.
        device: for detection.

    Raises:
        MissingInputError: no such file.
        OptionError: a column of a table of poses is no pose parameter.
        SchemaError: no table of one person.
    """
    path = Path(source)
    if not path.exists():
        raise MissingInputError(str(path), "no such table or clip")
    if path.suffix.lower() == ".csv":
        content = _read_csv(path)
        header = set(content.columns)
        if header & set(POSE_NAMES) or not {"Pitch", "x_0", "FaceScore"} & header:
            return _even(_pose_table(content, str(path)), fps, mirror)
    table = _faces(path, device)
    retargeter = FexRetargeter(person, mirror=mirror)
    track = retargeter.track(table)
    if not len(track) or track.faceless().all():
        raise SchemaError(f"{path}: holds no face")
    return _at(retargeter.poses(table), track.times_s, fps)


def _read_csv(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise SchemaError(f"{path}: is not a readable table: {error} (save it again)") from error


def _faces(path: Path, device: str) -> Any:
    if path.suffix.lower() in TABLES:
        from featflow.fex import read_fex

        return read_fex(path)
    from featflow.detector import Detector

    detector = Detector(au="tiny", gaze="tiny", device=device)
    return detector.detect(str(path), progress_bar=False)


def _pose_table(table: Any, source: str) -> tuple[Pose, NDArray[np.float64]]:
    unknown = [n for n in table.columns if n not in INDEX and n not in _BESIDE_POSES]
    if unknown:
        raise OptionError(f"{source}: {unknown[0]!r} is neither a pose parameter nor time or frame")
    if not len(table):
        raise SchemaError(f"{source}: holds no poses (one a row, below the names)")
    poses = np.zeros((len(table), 45), np.float32)
    for name in table.columns:
        if name in INDEX:
            poses[:, INDEX[name]] = _numbers(table[name], source)
    times = _numbers(table["time"], source) if "time" in table else np.arange(len(table)) / 30
    if (np.diff(times) <= 0).any():
        row = int(np.flatnonzero(np.diff(times) <= 0)[0]) + 2
        raise SchemaError(f"{source}: time does not rise in row {row} (sort the rows by time)")
    return poses, times


def _numbers(column: Any, source: str) -> NDArray[np.float64]:
    import pandas as pd

    values = np.asarray(pd.to_numeric(column, errors="coerce"), np.float64)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise SchemaError(
            f"{source}: {column.name} in row {row + 1} is {column.iloc[row]!r}, not a number"
            " (hold the last good value)"
        )
    return values


def _even(rows: tuple[Pose, NDArray[np.float64]], fps: float | None, mirror: bool) -> Motion:
    from featflow.animate.pose import clip_poses, mirror_poses

    poses = clip_poses(rows[0])
    return _at(mirror_poses(poses) if mirror else poses, rows[1], fps)


def _at(poses: Pose, times_s: NDArray[np.float64], fps: float | None) -> Motion:
    if fps is not None and not fps > 0:
        raise OptionError(f"fps must be above 0, got {fps}")
    usual = 1 / float(np.median(np.diff(times_s))) if len(times_s) > 1 else 30.0
    steady = len(times_s) < 3 or np.ptp(np.diff(times_s)) < 0.25 / usual
    if fps is None and steady:
        return Motion(poses, usual)
    return Motion(resample(poses, times_s, fps or usual), fps or usual)


def prepare(still: str | Path, rig: Rig | None = None) -> tuple[Image, Rig]:
    """The 512 x 512 still of a picture file, and its rig.

    Args:
        still: picture file of any size.
        rig: landmarks in the picture's own pixels; found if None.

    Raises:
        InputError: no such picture, or no face in it.
        OptionError: the rig belongs to a picture of another size.
    """
    image = read_still(still)
    size = (image.shape[0], image.shape[1])
    if rig is None:
        from featflow.animate.find import find_rig

        rig = find_rig(image, source=str(still))
    if rig.size_px != size:
        raise OptionError(f"{still}: has {size[0]} x {size[1]} pixels, its rig {rig.size_px}")
    square, points = fit_still(image, rig.landmarks)
    if points is None:
        raise OptionError("a rig has landmarks")
    return square, Rig(points, (square.shape[0], square.shape[1]), rig.actions, rig.rest)


def animate_file(
    still: str | Path,
    motion: Motion,
    out: str | Path,
    *,
    rig: Rig | None = None,
    interpolate: int = 1,
) -> int:
    """Play a motion on a picture file and write the frames.

    Args:
        still: picture file.
        motion: from :func:`read_motion`.
        out: a clip (``.mp4``, ``.mkv``, ``.mov``), or a folder for PNG pictures with alpha.
        rig: of the picture; found if None.
        interpolate: 2, 3 or 4 frames for each pose; 1 for none in between.

    Returns:
        Number of frames written.
    """
    out = Path(out)
    clip = out.suffix.lower() in CLIPS
    if out.suffix and not clip and not out.is_dir():
        raise OptionError(f"{out}: must end in {', '.join(CLIPS)}, or name a folder for pictures")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: there is no folder {out.parent} (create it first)")
    between = PoseInterpolator(interpolate) if interpolate != 1 else None
    square, fitted = prepare(still, rig)
    core = AnimationCore(MeshWarpAnimator(fitted), interpolator=between)
    core.set_image(square)
    frames = _frames(core, motion.poses)
    if clip:
        return write_clip(out, frames, motion.fps * interpolate)
    return write_pictures(out, frames)


def _frames(core: AnimationCore, poses: Pose) -> Iterator[Image]:
    for row in core.render(poses):
        yield from row
