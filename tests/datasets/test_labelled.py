import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from featflow.datasets.detection import (
    empty_files,
    empty_pictures,
    head_and_shoulders,
    portraits,
    scenes,
)
from featflow.datasets.labelled import LabelledFaces, read_rgb
from featflow.errors import MissingInputError, OptionError
from featflow.geometry.landmarks import five_points
from featflow.testing.face68 import FACE68_CM


def points_of(index):
    """What the photograph of that number was painted from."""
    return FACE68_CM[:, :2] * [5.0, -5.0] + [75.0 + index, 70.0]


def box_of(index):
    points = points_of(index)
    return np.concatenate([points.min(0), points.max(0)])


VAL = [i for i in range(14) if i % 7 > 4]
TRAIN = [i for i in range(14) if i % 7 <= 4]


@pytest.mark.parametrize(("split", "members"), [("train", TRAIN), ("val", VAL), (None, range(14))])
def test_labels_arrive_in_the_order_of_the_table(mini_faces, split, members):
    faces = LabelledFaces.open(mini_faces, split)
    assert len(faces) == len(members)
    for row, index in enumerate(members):
        assert np.allclose(faces.landmarks[row], points_of(index), atol=1e-4)
        image = faces.read(row)
        assert image.shape == (140, 160, 3)
        assert image[0, 0].tolist() == [10 * index, 60, 200], "not red, green, blue"
        if index == 2:
            assert np.isnan(faces.boxes[row]).all()
            assert np.isnan(faces.points5[row]).all()
        else:
            assert np.allclose(faces.boxes[row], box_of(index), atol=1e-4)
            assert np.allclose(faces.points5[row], five_points(points_of(index)), atol=1e-4)
    assert np.array_equal(faces.rotations, np.repeat(np.eye(3)[None], len(faces), 0))
    for image, row in zip(faces.read_all(), range(len(faces)), strict=True):
        assert np.array_equal(image, faces.read(row))


def test_rotations_are_read_row_by_row(shared):
    faces = LabelledFaces.open(shared / "faces", "val")
    row = faces.table.row(5, named=True)
    assert faces.rotations[5].tolist() == [[row[f"R{i}{j}"] for j in range(3)] for i in range(3)]
    right_angled = faces.rotations[:50] @ faces.rotations[:50].transpose(0, 2, 1)
    assert np.allclose(right_angled, np.eye(3), atol=1e-3)


def test_the_version_is_the_tables_hash(mini_faces):
    content = Path(mini_faces, "labels.parquet").read_bytes()
    assert LabelledFaces.open(mini_faces).version == hashlib.sha256(content).hexdigest()[:12]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"labels\.parquet"):
        LabelledFaces.open(tmp_path)
    with pytest.raises(MissingInputError, match=r"scenes\.parquet"):
        scenes(tmp_path, "train")
    with pytest.raises(MissingInputError, match=r"no\.jpg"):
        read_rgb(tmp_path / "no.jpg")


def test_an_unknown_split_is_refused(mini_faces):
    with pytest.raises(OptionError, match="tarin"):
        LabelledFaces.open(mini_faces, "tarin")


def test_portraits_are_the_tight_crops_with_a_box(mini_faces):
    photos = portraits(mini_faces, "train")
    expected = [i for i in TRAIN if i % 2 == 0 and i != 2]
    assert [int(photo.image[0, 0, 0]) // 10 for photo in photos] == expected
    for photo, index in zip(photos, expected, strict=True):
        assert np.allclose(photo.boxes, box_of(index)[None], atol=1e-4)
        assert np.allclose(photo.points5[0], five_points(points_of(index)), atol=1e-4)
        assert photo.certain.tolist() == [True]


def test_head_and_shoulders_hold_every_face_and_points_of_the_labelled_one(mini_faces):
    photos = head_and_shoulders(mini_faces, "val")
    expected = [i for i in VAL if i % 2]
    assert [int(photo.image[0, 0, 0]) // 10 for photo in photos] == expected
    for photo, index in zip(photos, expected, strict=True):
        assert np.allclose(photo.boxes, [[120, 10, 150, 40], box_of(index)], atol=1e-4)
        assert photo.certain.tolist() == [False, True]
        assert np.isnan(photo.points5[0]).all()
        assert np.allclose(photo.points5[1], five_points(points_of(index)), atol=1e-4)


def test_scenes_hold_boxes_scores_and_points(mini_faces):
    train, val = scenes(mini_faces, "train"), scenes(mini_faces, "val")
    assert [photo.image[0, 0, 0] for photo in (*train, *val)] == [0, 80, 40, 120]
    photo = train[1]
    assert photo.boxes.tolist() == [[10, 20, 50, 70], [70, 20, 90, 40]]
    assert photo.points5[1].tolist() == [[10, 11], [12, 13], [14, 15], [16, 17], [18, 19]]
    assert photo.certain.tolist() == [True, False]
    assert len(val[1].boxes) == 1


def test_a_third_of_the_empty_pictures_is_held_out(mini_faces):
    def levels(held_out):
        return [round(float(p.mean()) / 30) - 1 for p in empty_pictures(mini_faces, held_out)]

    assert levels(held_out=True) == [0, 3]
    assert levels(held_out=False) == [1, 2, 4, 5]
    assert [f.name for f in empty_files(mini_faces)] == [f"{i}.jpg" for i in range(6)]


def test_reading_equals_opencv_turned_to_rgb(mini_faces):
    path = Path(mini_faces, "noface", "1.jpg")
    assert np.array_equal(read_rgb(path), cv2.imread(str(path))[..., ::-1])
