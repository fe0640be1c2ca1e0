"""Where people look: Gaze360, MPIIFaceGaze and Columbia Gaze."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featflow.datasets.benchmarks.files import (
    lines_of,
    matlab_of,
    matlab_text,
    numbers_of,
    present,
)
from featflow.datasets.benchmarks.sets import FaceSet, Floats, of_photographs
from featflow.errors import InputError

_TEST = 2
"""Number of Gaze360's test part."""
_COLUMBIA = re.compile(r"\d{4}_2m_([+-]?\d+)P_([+-]?\d+)V_([+-]?\d+)H", re.IGNORECASE)

TO_OURS = {
    "gaze360": np.array([-1.0, 1.0, -1.0]),
    "camera": np.array([1.0, -1.0, -1.0]),
}
"""Signs that bring a vector to x image right, y up, z towards the camera. Gaze360 has x to the
left, y up and z away (as its README says); cameras of computer vision x right, y down, z away."""


def angles_of(vectors: Floats) -> NDArray[np.float64]:
    """Pitch and yaw (N, 2) in radians of directions (N, 3) in our frame, of any length."""
    v = np.asarray(vectors, np.float64)
    v = v / np.linalg.norm(v, axis=-1, keepdims=True)
    pitch, yaw = np.arcsin(np.clip(v[..., 1], -1, 1)), np.arctan2(-v[..., 0], v[..., 2])
    return np.stack([pitch, yaw], -1)


def _pointing(pictures: list[Path], vectors: Floats) -> NDArray[np.float64]:
    """Unit vectors (N, 3) of directions of any length.

    Raises:
        InputError: one has no length, so it points nowhere.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    nowhere = np.flatnonzero(~(lengths[:, 0] > 0))
    if len(nowhere):
        raise InputError(str(pictures[nowhere[0]]), "has a gaze of length 0, or none")
    return np.asarray(vectors / lengths, np.float64)


def gaze360(root: Path) -> FaceSet:
    """The test part of Gaze360: crops of heads, looking anywhere, also away from the camera.

    Either ``metadata.mat`` of the data set or ``test.txt`` of its code, whose rows are a picture
    and the gaze; pictures are in ``imgs``. Directions are about the ray from the camera to the
    eyes. Groups: gaze within 90 and within 20 degrees of the camera, as the paper has them.
    """
    listed = (root / "metadata.mat").is_file()
    pictures, vectors = _gaze360_metadata(root) if listed else _gaze360_list(root)
    vectors = _pointing(pictures, vectors)
    away = np.degrees(np.arccos(np.clip(-vectors[:, 2], -1, 1)))
    return of_photographs(
        present(pictures),
        gaze=angles_of(vectors * TO_OURS["gaze360"]),
        groups={"front 180": away <= 90, "front facing": away <= 20},
    )


def _gaze360_metadata(root: Path) -> tuple[list[Path], NDArray[np.float64]]:
    names = ("recordings", "recording", "person_identity", "frame", "gaze_dir", "split")
    found = matlab_of(root / "metadata.mat", *names)
    recordings = [matlab_text(name) for name in np.ravel(found[0])]
    recording, person, frame, split = (np.ravel(found[i]).astype(int) for i in (1, 2, 3, 5))
    pictures = [
        root
        / "imgs"
        / recordings[recording[i]]
        / "head"
        / f"{person[i]:06d}"
        / f"{frame[i]:06d}.jpg"
        for i in np.flatnonzero(split == _TEST)
    ]
    return pictures, np.asarray(found[4], np.float64).reshape(-1, 3)[split == _TEST]


def _gaze360_list(root: Path) -> tuple[list[Path], NDArray[np.float64]]:
    path = root / "test.txt"
    rows = [line.split() for line in lines_of(path)]
    vectors = [numbers_of(path, row[1:], 3) for row in rows]
    return [root / "imgs" / row[0] for row in rows], np.array(vectors).reshape(-1, 3)


def mpiifacegaze(root: Path) -> FaceSet:
    """MPIIFaceGaze: people at their laptops.

    Each row of ``p00/p00.txt`` has a picture and 27 values, of which numbers 22 to 24 are the
    centre of the face and 25 to 27 what it looks at, millimetres in the camera's frame.
    """
    pictures, vectors = [], []
    for path in sorted(root.glob("p[0-9][0-9]/p[0-9][0-9].txt")):
        for line in lines_of(path):
            words = line.split()
            values = np.array(numbers_of(path, words[1:27], 26))
            pictures.append(path.parent / words[0])
            vectors.append(values[23:26] - values[20:23])
    ours = _pointing(pictures, np.array(vectors).reshape(-1, 3)) * TO_OURS["camera"]
    return of_photographs(present(pictures), gaze=angles_of(ours))


def columbia_gaze(root: Path) -> FaceSet:
    """Columbia Gaze: 56 people, 5 turns of the head, 21 directions of gaze.

    A picture's name says all: ``0001_2m_-15P_10V_-5H.jpg`` has a head turned by -15 degrees and a
    gaze 10 degrees up and -5 to the side. Group ``head 0``: heads that face the camera.

    The authors do not publish the signs. Taken here: V up, H to the subject's right; where that is
    wrong ``yaw_r`` or ``pitch_r`` of every node comes out negative. See the catalogue's page.
    """
    found = {path: _COLUMBIA.match(path.stem) for path in sorted(root.rglob("*H.jpg"))}
    pictures = [path for path, match in found.items() if match]
    angles = np.array([[float(a) for a in m.groups()] for m in found.values() if m]).reshape(-1, 3)
    gaze = np.radians(angles[:, 1:])
    return of_photographs(pictures, gaze=gaze, groups={"head 0": angles[:, 0] == 0})
