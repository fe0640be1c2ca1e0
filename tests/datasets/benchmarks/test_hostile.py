"""Label files that were cut, edited or are something else: a set that loads, or a typed error."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from featflow.datasets.benchmarks import BENCHMARKS, load_benchmark
from featflow.errors import FeatflowError, InputError

POINTS = "version: 1\nn_points: 68\n{\n" + "1.5 2.5\n" * 68 + "}\n"
MPII = "day01/1.jpg " + " ".join(str(i) for i in range(26)) + " left\n"
TURN = "1 0 0\n0 1 0\n0 0 1\n"

FILES = {
    "disfa": ("ActionUnit_Labels/SN001/SN001_au1.txt", "1,0\n2,3\n"),
    "disfa_plus": ("Labels/SN001/t/AU1.txt", "head\nhead\n000.jpg 1\n"),
    "bp4d": ("AUCoding/AU_OCC/F001_T1.csv", ",".join(map(str, range(30))) + "\n1" + ",0" * 29),
    "affectnet": ("validation.csv", "1/a.jpg,0,0,9,9,1;2,3,0.1,0.2\n"),
    "raf_db": ("EmoLabel/list_patition_label.txt", "test_1.jpg 3\n"),
    "lfw": ("pairs.txt", "1 1\nA 1 2\nA 1 B 1\n"),
    "cplfw": ("pairs_CPLFW.txt", "a.jpg 1\nb.jpg 1\na.jpg 0\nc.jpg 0\n"),
    "300w": ("01_Indoor/indoor_001.pts", POINTS),
    "wider_face": (
        "wider_face_split/wider_face_val_bbx_gt.txt",
        "e/a.jpg\n1\n1 2 3 4 0 0 0 0 0 0\n",
    ),
    "gaze360": ("test.txt", "rec_000/head/000000/000000.jpg 0.1 0.2 -0.9\n"),
    "mpiifacegaze": ("p00/p00.txt", MPII),
    "biwi": ("01/frame_00000_pose.txt", TURN + "\n1 2 3\n"),
}
BESIDE = (
    "Videos_LeftCamera/LeftVideoSN001_comp.avi Images/SN001/t/000.jpg F001/T1/1.jpg "
    "Manually_Annotated_Images/1/a.jpg Image/original/test_1.jpg lfw/A/A_0001.jpg "
    "lfw/A/A_0002.jpg lfw/B/B_0001.jpg images/a.jpg images/b.jpg images/c.jpg "
    "01_Indoor/indoor_001.png WIDER_val/images/e/a.jpg p00/day01/1.jpg 01/frame_00000_rgb.png "
    "imgs/rec_000/head/000000/000000.jpg"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """One folder in which every set of :data:`FILES` lies."""
    root = tmp_path_factory.mktemp("sets")
    for name in BESIDE.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    for name, text in FILES.values():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for unit in (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26):
        for name, key in (
            ("ActionUnit_Labels/SN001/SN001_au", "disfa"),
            ("Labels/SN001/t/AU", "disfa_plus"),
        ):
            (root / f"{name}{unit}.txt").write_text(FILES[key][1])
    (root / "01" / "rgb.cal").write_text(f"{TURN}\n0 0 0 0\n\n{TURN}\n1 2 3\n\n640 480\n")
    return root


@pytest.mark.parametrize("name", FILES)
def test_the_files_as_they_are_load(tree, name):
    assert len(load_benchmark(name, tree)) > 0


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40)
@given(data=st.data())
def test_edited_text_loads_or_is_a_typed_error(tree, name, data):
    path, text = tree / FILES[name][0], FILES[name][1]
    start = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, len(text) - start))
    put = data.draw(
        st.sampled_from(["", "nan", "-1", "1e999", "é", "\n", " ", "{", "0", "7 7", ","])
    )
    path.write_text(text[:start] + put + text[start + length :])
    try:
        with contextlib.suppress(FeatflowError):
            assert len(load_benchmark(name, tree)) > 0
    finally:
        path.write_text(text)


@pytest.mark.parametrize("name", FILES)
def test_bytes_that_are_no_text(tree, name):
    path, text = tree / FILES[name][0], FILES[name][1]
    path.write_bytes(bytes(range(128, 256)) * 4)
    try:
        with pytest.raises(InputError, match=path.name):
            load_benchmark(name, tree)
    finally:
        path.write_text(text)


def test_numbers_of_a_matlab_file_that_point_nowhere(tmp_path):
    (tmp_path / "imgs" / "a" / "head" / "0").mkdir(parents=True)
    (tmp_path / "imgs" / "a" / "head" / "0" / "0.jpg").touch()
    values = {"recording": [5], "person_identity": [0], "frame": [0], "split": [2]}
    savemat(
        tmp_path / "metadata.mat",
        {"recordings": np.array(["a"], object), "gaze_dir": np.ones((1, 3)), **values},
    )
    with pytest.raises(InputError, match="is not Gaze360 as its authors publish it"):
        load_benchmark("gaze360", tmp_path)


def test_a_gaze_without_a_direction(tree):
    path, text = tree / FILES["gaze360"][0], FILES["gaze360"][1]
    path.write_text(text.replace("0.1 0.2 -0.9", "0 0 0"))
    try:
        with pytest.raises(InputError, match=r"000000\.jpg: has a gaze of length 0"):
            load_benchmark("gaze360", tree)
    finally:
        path.write_text(text)


def test_every_set_has_a_case_here():
    # CALFW is read as CPLFW is; the others have no text file of labels.
    assert BENCHMARKS.keys() - FILES.keys() == {"calfw", "columbia_gaze", "aflw2000"}
