"""Boxes and landmarks from JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featflow import Detector
from featflow.errors import InputError, MissingInputError
from featflow.extract import read_boxes
from featflow.geometry.landmarks import box_of_landmarks


def written(folder: Path, document: Any) -> Path:
    path = folder / "faces.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_boxes_landmarks_and_corners(tmp_path: Path, make_face: Any) -> None:
    points = make_face((100, 90), 60)
    corners = [[10, 20], [50, 20], [50, 80], [10, 80]]
    path = written(
        tmp_path,
        {
            "a.jpg": [
                {"detected": [10, 20, 40, 80]},
                {"detected": [1, 2, 4, 8], "landmarks_2d": points.tolist()},
            ],
            "none.jpg": [],
            "b.jpg": [{"landmarks_2d": points.tolist()}, {"landmarks_2d": corners}],
        },
    )
    fex = read_boxes(path)
    names = ["a.jpg", "a.jpg", "none.jpg", "b.jpg", "b.jpg"]
    assert fex["input"].tolist() == [str(tmp_path / name) for name in names]
    boxes = fex.faceboxes.to_numpy()
    assert boxes[0].tolist() == [10, 20, 30, 60]
    assert boxes[1].tolist() == [1, 2, 3, 6]
    assert np.isnan(boxes[2]).all()
    x0, y0, x1, y1 = box_of_landmarks(points)
    np.testing.assert_allclose(boxes[3], [x0, y0, x1 - x0, y1 - y0], rtol=1e-5)
    assert boxes[4].tolist() == [10, 20, 40, 60]
    np.testing.assert_allclose(fex["x_30"], [np.nan, points[30, 0], np.nan, points[30, 0], np.nan])
    np.testing.assert_allclose(fex["y_8"].iloc[1], points[8, 1], rtol=1e-6)
    assert "FaceScore" not in fex
    assert fex.meta["provenance"] == [{"step": "read_boxes", "file": "faces.json"}]


def test_frames_of_a_clip_count_from_one(tmp_path: Path) -> None:
    box = [{"detected": [1, 2, 3, 4]}]
    path = written(tmp_path, {"film_000001.png": box, "film_000120.png": box})
    fex = read_boxes(path, clip="film.mp4")
    assert fex["frame"].tolist() == [0, 119]
    assert fex["input"].tolist() == ["film.mp4"] * 2
    for name in ("film.png", "film_000000.png"):
        with pytest.raises(InputError, match="not the name of a frame"):
            read_boxes(written(tmp_path, {name: box}), clip="film.mp4")


def test_pictures_in_another_folder_are_detected_from(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "pictures" / "a.png")
    path = written(tmp_path, {"a.png": [{"detected": [0, 0, 30, 30]}]})
    fex = read_boxes(path, tmp_path / "pictures")
    taker = Detector.only(device="cpu", extract={"min_size": 0.5})
    done = taker.detect_from(fex, progress_bar=False)
    assert done["FaceShare"].tolist() == pytest.approx([0.6])
    assert done["Keep"].tolist() == [True]


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "is not JSON"),
        ([], "does not map"),
        ({"a": {}}, "a: faces must be a list"),
        ({"a": [{}]}, "a, face 0: neither a box nor landmarks"),
        ({"a": [{"detected": [1, 2, 3]}]}, "a box is 4 finite"),
        ({"a": [{"detected": [5, 2, 3, 4]}]}, "not left, top, right, bottom"),
        ({"a": [{"detected": [1, 2, 3, "x"]}]}, "a, face 0"),
        ({"a": [{"detected": [1, 2, 3, 4], "name": "x"}]}, "unknown keys"),
        ({"a": [{"landmarks_2d": [[0, 0]] * 51}]}, "51 landmarks"),
        ('{"a": [{"detected": [1, 2, 3, NaN]}]}', "finite"),
        ({"a": [7]}, "a, face 0"),
    ],
)
def test_what_is_of_another_form_is_named(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_boxes(written(tmp_path, document))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_boxes(tmp_path / "none.json")
    empty = read_boxes(written(tmp_path, {}))
    assert len(empty) == 0
    assert "FaceRectX" in empty
