"""WIDER FACE, from files written here as their owners write them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from featflow.datasets.benchmarks import load_benchmark
from featflow.errors import InputError, MissingInputError

TEXT = """0--Parade/0_Parade_1.jpg
3
449 330 122 149 0 0 0 0 0 0
361 98 26 39 1 0 0 1 0 0
10 10 0 5 2 0 0 0 2 0
0--Parade/0_Parade_2.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Handshaking/1_Hand_7.jpg
1
1 2 3 4 0 0 0 0 0 0
"""
NAMES = ["0--Parade/0_Parade_1", "0--Parade/0_Parade_2", "1--Handshaking/1_Hand_7"]


def pictures(root):
    for name in NAMES:
        path = root / "WIDER_val" / "images" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def text(root, content=TEXT):
    (root / "wider_face_split").mkdir(exist_ok=True)
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_text(content)


def test_boxes_of_the_text(tmp_path):
    pictures(tmp_path)
    text(tmp_path)
    found = load_benchmark("wider_face", tmp_path)
    assert [p.stem for p in found.inputs] == ["0_Parade_1", "0_Parade_2", "1_Hand_7"]
    np.testing.assert_array_equal(
        found.boxes[0], [[449, 330, 571, 479], [361, 98, 387, 137], [10, 10, 10, 15]]
    )
    assert found.boxes[1].shape == (0, 4)
    assert [rows.tolist() for rows in found.subsets["valid"]] == [[True, False, False], [], [True]]


def test_text_that_ends_early(tmp_path):
    pictures(tmp_path)
    text(tmp_path, TEXT.replace("1 2 3 4 0 0 0 0 0 0\n", ""))
    with pytest.raises(InputError, match="ends within the faces of 1--Handshaking"):
        load_benchmark("wider_face", tmp_path)


def cells(values):
    column = np.empty((len(values), 1), object)
    column[:, 0] = values
    return column


def matlab(root, folder):
    """The authors' files: cells of events, in which are cells of pictures."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    files = cells([cells(["0_Parade_1", "0_Parade_2"]), cells(["1_Hand_7"])])
    first = np.array([[449.0, 330, 122, 149], [361, 98, 26, 39]])
    second, third = np.array([[5.0, 6, 7, 8]]), np.array([[1.0, 2, 3, 4]])
    boxes = cells([cells([first, second]), cells([third])])
    counts = {
        "easy": ([[1]], [], [1]),
        "medium": ([[1], [2]], [[1]], [1]),
        "hard": ([[2]], [[1]], []),
    }
    for level, (a, b, c) in counts.items():
        a, b, c = (np.array(rows, np.uint8).reshape(-1, 1) for rows in (a, b, c))
        savemat(
            root / folder / f"wider_{level}_val.mat",
            {
                "event_list": cells(["0--Parade", "1--Handshaking"]),
                "file_list": files,
                "face_bbx_list": boxes,
                "gt_list": cells([cells([a, b]), cells([c])]),
            },
        )


@pytest.mark.parametrize("folder", ["eval_tools/ground_truth", "ground_truth", "."])
def test_subsets_of_the_authors(tmp_path, folder):
    pictures(tmp_path)
    matlab(tmp_path, folder)
    found = load_benchmark("wider_face", tmp_path)
    assert [str(p.relative_to(tmp_path / "WIDER_val" / "images")) for p in found.inputs] == [
        f"{name}.jpg" for name in NAMES
    ]
    np.testing.assert_array_equal(found.boxes[0], [[449, 330, 571, 479], [361, 98, 387, 137]])
    assert {k: [rows.tolist() for rows in v] for k, v in found.subsets.items()} == {
        "easy": [[True, False], [False], [True]],
        "medium": [[True, True], [True], [True]],
        "hard": [[False, True], [True], [False]],
    }


def test_a_damaged_matlab_file_and_a_missing_picture(tmp_path):
    pictures(tmp_path)
    matlab(tmp_path, "ground_truth")
    (tmp_path / "WIDER_val" / "images" / "0--Parade" / "0_Parade_2.jpg").unlink()
    with pytest.raises(MissingInputError, match=r"0_Parade_2\.jpg"):
        load_benchmark("wider_face", tmp_path)
    (tmp_path / "ground_truth" / "wider_hard_val.mat").write_bytes(b"MATLAB 5.0 MAT-file" * 20)
    with pytest.raises(InputError, match=r"wider_hard_val\.mat: cannot be read as a Matlab file"):
        load_benchmark("wider_face", tmp_path)
    savemat(tmp_path / "ground_truth" / "wider_hard_val.mat", {"event_list": 1})
    with pytest.raises(InputError, match="lacks the variables file_list"):
        load_benchmark("wider_face", tmp_path)
