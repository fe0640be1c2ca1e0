"""Training samples: what is seen, where its points lie and what it is said to show."""

import numpy as np
import pytest

from featflow.datasets.labelled import LabelledFaces
from featflow.geometry.landmarks import MIRROR_68, interocular
from featflow.geometry.similarity import apply
from featflow.nodes.au.tiny import photographs
from featflow.nodes.au.tiny.node import CROP, aligned_points
from featflow.nodes.au.tiny.photographs import NOISE, UnitCrops, own_landmarks, soft_jitter
from featflow.testing.face68 import FACE68_CM

RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)
MARKS = {36: RED, 45: BLUE, 57: GREEN}
"""The subject's right eye corner (image left), the left one, and the lower lip."""


class Crops(UnitCrops):
    """Two painted faces whose landmarks are known, as if featflow had set them."""

    def __init__(self):
        face = FACE68_CM[:, :2] * [9.0, -9.0]
        self.teacher = np.stack([face + [130.0, 110.0], 0.8 * face + [120.0, 120.0]])
        self.own = [self.teacher.copy()]
        self.units = np.array([[0.1] * 20, [0.9] * 20], np.float32)
        y, x = np.mgrid[0:240, 0:260] + 0.5
        self.images = []
        for points in self.teacher:
            image = np.full((240, 260, 3), 60, np.uint8)
            for index, colour in MARKS.items():
                image[((np.stack([x, y], -1) - points[index]) ** 2).sum(-1) <= 25] = colour
            self.images.append(image)


def place(crop, colour):
    y, x = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]] + 0.5
    same = np.abs(crop.astype(int) - colour).max(-1) < 90
    return np.array([x[same].mean(), y[same].mean()])


def in_crop(points):
    """Where aligned points lie in the crop."""
    return (points / CROP.expansion + 0.5 - [0.0, CROP.shift_y]) * CROP.size


@pytest.fixture
def plain_light(monkeypatch):
    for name in ("degrade", "relight", "cover"):
        monkeypatch.setattr(photographs, name, lambda image, *_, **__: image)
    monkeypatch.setattr(photographs, "NOISE", 0.0)
    monkeypatch.setattr(photographs, "SHAKE", 0.0)


def test_plain_crops_show_the_points_where_they_are_said_to_be():
    sample = Crops().plain(np.array([1, 0]))
    assert sample["units"][:, 0].tolist() == pytest.approx([0.9, 0.1])
    for crop, points in zip(sample["crop"], in_crop(sample["points"]), strict=True):
        for index, colour in MARKS.items():
            assert np.abs(place(crop, colour) - points[index]).max() < 0.8


def test_mirrored_samples_show_the_other_side(plain_light):
    rows = np.array([0, 1] * 10)
    sample = Crops().augmented(rows, np.random.default_rng(0))
    mirrored = 0
    for crop, points in zip(sample["crop"], in_crop(sample["points"]), strict=True):
        red, blue = place(crop, RED), place(crop, BLUE)
        turned = red[0] > blue[0]
        mirrored += turned
        for index, colour in MARKS.items():
            at = points[MIRROR_68[index]] if turned else points[index]
            assert np.abs(place(crop, colour) - at).max() < 0.8
        assert points[36, 0] < points[45, 0]
    assert 4 <= mirrored <= 16
    assert sample["units"][:, 3].tolist() == pytest.approx([0.1, 0.9] * 10)


def test_points_carry_errors_of_the_size_that_is_written_down():
    crops = Crops()
    rows = np.zeros(3000, np.int64)
    off = crops._points(rows, np.random.default_rng(1)) - crops.teacher[0]
    size = interocular(crops.teacher[0])
    # A level drawn evenly from 0 to 2 s gives errors of standard deviation 2 s / sqrt(3).
    assert off.std() / size == pytest.approx(2 * NOISE / np.sqrt(3), rel=0.05)
    assert np.abs(off.mean((0, 1))).max() / size < 0.002


def test_points_are_featflows_own_three_times_in_four():
    crops = Crops()
    crops.own = [crops.teacher + 1000.0, crops.teacher + 2000.0]
    points = crops._points(np.zeros(4000, np.int64), np.random.default_rng(0))
    near = [np.abs(points[:, 0, 0] - crops.teacher[0, 0, 0] - s) < 300 for s in (0, 1000, 2000)]
    share = [float(each.mean()) for each in near]
    assert share == pytest.approx([0.25, 0.375, 0.375], abs=0.03)


def test_rare_units_are_drawn_more_often_but_not_for_ever():
    crops = Crops()
    crops.units = np.full((1000, 20), 0.1, np.float32)
    crops.units[0] = 1.0
    chances = crops.chances()
    assert chances.sum() == pytest.approx(1)
    assert chances[0] / chances[1] == pytest.approx(3.0, rel=0.1)


def test_jitter_is_about_the_centre_and_small():
    drawn = np.array([soft_jitter(np.random.default_rng(seed)) for seed in range(400)])
    centre = apply(drawn, np.full((1, 2), CROP.size / 2))[:, 0] - CROP.size / 2
    assert centre.std(0) == pytest.approx([0.25 * 0.03 * CROP.size] * 2, rel=0.15)


def test_own_landmarks_are_those_of_the_landmark_node(unit_faces):
    from featflow.nodes.landmark.tiny.node import LandmarkTiny
    from featflow.testing.sample import sample_for

    node = LandmarkTiny()
    batch = sample_for(node)
    with_engine = node.post_process(batch, node.process(node.pre_process(batch)))["landmarks"]
    images = [batch.frames.images[row] for row in batch.frame_rows]
    fields = batch.faces.fields
    nowhere = np.full((8, 68, 2), -1.0)
    ours = own_landmarks(images, fields["box"], fields["points5"], nowhere, at_a_time=3)
    np.testing.assert_allclose(ours, with_engine, atol=2e-2)
    same = np.full((8, 5, 2), 50.0)
    assert (own_landmarks(images, fields["box"], same, nowhere) == -1).all()


def test_photographs_get_units_crops_and_landmarks(unit_faces):
    faces = LabelledFaces.open(unit_faces, "train")
    crops = UnitCrops(faces, (0.0, 0.02), seed=1)
    assert len(crops) == len(faces)
    sample = crops.plain(np.arange(3))
    assert sample["crop"].shape == (3, 80, 80, 3)
    np.testing.assert_array_equal(sample["points"], aligned_points(crops.own[0][:3]))
    smile = faces.table["bs_mouthSmileLeft"], faces.table["bs_mouthSmileRight"]
    np.testing.assert_allclose(sample["units"][:, 9], np.maximum(*smile)[:3], atol=1e-6)
    assert not np.array_equal(crops.own[0], crops.own[1])
