"""Gaze360, MPIIFaceGaze and Columbia Gaze: formats, and that no sign is flipped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from featflow.datasets.benchmarks import load_benchmark
from featflow.datasets.benchmarks.gaze import angles_of
from featflow.errors import InputError
from featflow.evaluation.shapes import direction


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@given(st.floats(-1.5, 1.5), st.floats(-3.1, 3.1), st.floats(0.1, 100))
def test_angles_are_those_of_a_direction(pitch, yaw, length):
    vector = direction(pitch, yaw) * length
    np.testing.assert_allclose(angles_of(vector[None])[0], [pitch, yaw], atol=1e-9)


# What the README of Gaze360 says of its eye frame, and one gaze up and to the image left.
DIRECTIONS = {
    "into the camera": ([0, 0, -1], [0, 0]),
    "to the right of the picture": ([-1, 0, 0], [0, -90]),
    "up": ([0, 1, 0], [90, 0]),
    "up and to the left of the picture": ([0.5, 0.5, -np.sqrt(0.5)], [30, 35.2643897]),
    "away": ([0, 0, 2.0], [0, 180]),
}


def gaze360_tree(root, split=2):
    """Frames of one recording, of which one more is in another part."""
    vectors = np.array([v for v, _ in DIRECTIONS.values()] + [[0, 0, -1.0]])
    count = len(vectors)
    recordings = np.empty((1, 2), object)
    recordings[0] = ["rec_000", "rec_001"]
    frame = np.arange(count) * 10
    for number in frame[:-1]:
        touch(root / "imgs" / "rec_001" / "head" / "000003" / f"{number:06d}.jpg")
    savemat(
        root / "metadata.mat",
        {
            "recordings": recordings,
            "recording": np.ones((1, count), np.int64),
            "person_identity": np.full((1, count), 3),
            "frame": frame[None],
            "gaze_dir": vectors,
            "split": np.array([[split] * (count - 1) + [0]]),
        },
    )


def test_gaze360_metadata(tmp_path):
    gaze360_tree(tmp_path)
    found = load_benchmark("gaze360", tmp_path)
    assert [p.name for p in found.inputs[:2]] == ["000000.jpg", "000010.jpg"]
    assert len(found) == len(DIRECTIONS)
    expected = [angles for _, angles in DIRECTIONS.values()]
    found_deg = np.degrees(found.gaze)
    np.testing.assert_allclose(found_deg[:2], expected[:2], atol=1e-6)
    np.testing.assert_allclose(found_deg[2, 0], 90)  # straight up has any yaw
    np.testing.assert_allclose(found_deg[3], expected[3], atol=1e-6)
    np.testing.assert_allclose(np.abs(found_deg[4]), expected[4], atol=1e-6)
    assert found.groups["front facing"].tolist() == [True, False, False, False, False]
    assert found.groups["front 180"].tolist() == [True, True, True, True, False]


def test_gaze360_list_of_the_code(tmp_path):
    rows = []
    for number, (vector, _) in enumerate(DIRECTIONS.values()):
        name = f"rec_000/head/000001/{number:06d}.jpg"
        touch(tmp_path / "imgs" / name)
        rows.append(" ".join([name, *(str(v) for v in vector)]))
    (tmp_path / "test.txt").write_text("\n".join(rows) + "\n")
    found = load_benchmark("gaze360", tmp_path)
    np.testing.assert_allclose(np.degrees(found.gaze[1]), [0, -90], atol=1e-6)
    (tmp_path / "test.txt").write_text(rows[0].rsplit(" ", 1)[0])
    with pytest.raises(InputError, match="expected 3 numbers in a row, got 2"):
        load_benchmark("gaze360", tmp_path)


def mpii_row(picture, centre, target):
    """28 columns: picture, screen point, six points, pose, centre, target, eye."""
    values = [1, 2, *range(12), *range(6), *centre, *target]
    return " ".join([picture, *(str(v) for v in values), "left"])


def test_mpiifacegaze(tmp_path):
    """A camera has x right, y down, z away; the laptop is between the face and 0."""
    rows = [
        mpii_row("day01/0001.jpg", (0, 0, 600), (0, 0, 0)),
        mpii_row("day01/0002.jpg", (0, 0, 600), (-600, 0, 0)),  # to the left of the picture
        mpii_row("day02/0003.jpg", (10, 20, 600), (10, -580, 0)),  # up
        mpii_row("day02/0004.jpg", (0, 0, 500), (0, 500, 0)),  # down
    ]
    folder = tmp_path / "p07"
    for row in rows:
        touch(folder / row.split()[0])
    (folder / "p07.txt").write_text("\n".join(rows) + "\n")
    found = load_benchmark("mpiifacegaze", tmp_path)
    assert found.inputs[2] == folder / "day02" / "0003.jpg"
    expected = [[0, 0], [0, 45], [45, 0], [-45, 0]]
    np.testing.assert_allclose(np.degrees(found.gaze), expected, atol=1e-9)


def test_columbia(tmp_path):
    for name in ("0001_2m_0P_10V_-5H", "0001_2m_-15P_0V_0H", "0056_2m_30P_-10V_15H"):
        touch(tmp_path / "Columbia Gaze Data Set" / name[:4] / f"{name}.jpg")
    touch(tmp_path / "Columbia Gaze Data Set" / "0001" / "notes_H.jpg")
    found = load_benchmark("columbia_gaze", tmp_path)
    by_name = dict(zip((p.stem for p in found.inputs), np.degrees(found.gaze), strict=True))
    assert len(found) == 3
    np.testing.assert_allclose(by_name["0001_2m_0P_10V_-5H"], [10, -5])
    np.testing.assert_allclose(by_name["0056_2m_30P_-10V_15H"], [-10, 15])
    facing = dict(zip((p.stem for p in found.inputs), found.groups["head 0"], strict=True))
    assert facing == {
        "0001_2m_0P_10V_-5H": True,
        "0001_2m_-15P_0V_0H": False,
        "0056_2m_30P_-10V_15H": False,
    }
