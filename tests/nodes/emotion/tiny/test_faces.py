import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.datasets import sample_photo
from featflow.datasets.labelled import read_rgb
from featflow.geometry.similarity import apply, compose
from featflow.geometry.warp import warp
from featflow.nodes.emotion.tiny import faces as module
from featflow.nodes.emotion.tiny.faces import (
    HELD_OUT,
    Expressions,
    find_landmarks,
    held_out,
    matrices_of,
    place_crops,
    without_a_face,
)
from featflow.nodes.emotion.tiny.node import CROP
from featflow.testing.face68 import FACE68_CM


def face(scale=2.6, centre=(24.0, 25.0)):
    return FACE68_CM[:, :2] * [scale, -scale] + centre


def painted(points, size=48):
    """A white spot at the subject's right eye (image left) on black."""
    y, x = np.mgrid[0:size, 0:size] + 0.5
    eye = points[36:42].mean(0)
    near = (x - eye[0]) ** 2 + (y - eye[1]) ** 2 <= 9
    return np.repeat(np.where(near, 255, 0).astype(np.uint8)[..., None], 3, -1)


def spot(crop):
    y, x = np.mgrid[0 : crop.shape[0], 0 : crop.shape[1]] + 0.5
    light = crop[..., 0].astype(float)
    return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()


def one(points):
    return Expressions(
        [painted(points)], matrices_of(points[None]), np.full((1, 7), 1 / 7), np.ones(1)
    )


def test_plain_crops_are_those_of_the_node():
    points = face()
    crop = one(points).plain(0)
    expected = apply(matrices_of(points[None])[0], points[36:42].mean(0)[None])[0]
    assert crop.shape == (64, 64, 3)
    assert np.abs(spot(crop) - expected).max() < 0.6


def test_augmented_crops_are_jittered_and_half_of_them_mirrored(monkeypatch):
    for name in ("degrade", "relight", "cover"):
        monkeypatch.setattr(module, name, lambda image, *_: image)
    points = face()
    faces = one(points)
    expected = spot(faces.plain(0))
    at = np.array([spot(faces.augmented(0, np.random.default_rng(s))) for s in range(400)])
    mirrored = at[:, 0] > CROP.size / 2
    assert 150 < mirrored.sum() < 250
    at[mirrored, 0] = CROP.size - at[mirrored, 0]
    assert np.abs(at.mean(0) - expected).max() < 0.7
    assert (at.std(0) > 1.5).all()  # three parts in a hundred of the side, and more by the turn
    assert (at.std(0) < 5).all()


def test_pictures_without_landmarks_are_cut_as_the_others_are():
    points = np.stack([face(), face(), face(), np.full((68, 2), np.nan)])
    images = [np.zeros((48, 48, 3), np.uint8)] * 3 + [np.zeros((96, 96, 3), np.uint8)]
    matrices = place_crops(images, points)
    assert np.allclose(matrices[:3], matrices_of(points[:1]))
    # The last picture is twice as large, so its crop is too.
    twice = apply(matrices[3], face()[30:31] * 2)
    assert np.allclose(twice, apply(matrices[0], face()[30:31]), atol=1e-6)


def test_without_any_landmarks_the_crop_is_the_picture():
    images = [np.zeros((48, 60, 3), np.uint8)]
    matrix = place_crops(images, np.full((1, 68, 2), np.nan))[0]
    corners = np.array([[0.0, 0.0], [60.0, 0.0], [60.0, 48.0]])
    assert np.allclose(apply(matrix, corners), [[0, 0], [64, 0], [64, 64]])


def test_landmarks_are_those_of_the_strongest_face_in_each_picture():
    photo = read_rgb(sample_photo())
    height, width = photo.shape[:2]
    half = compose(np.array([[0.5, 0, 0], [0, 0.5, 0]]), np.eye(2, 3))
    small = warp(photo, half, (height // 2, width // 2))
    found = find_landmarks([photo, np.zeros((48, 48, 3), np.uint8), small])
    assert found.shape == (3, 68, 2)
    assert np.isnan(found[1]).all()
    eyes = found[0, 36:42].mean(0), found[0, 42:48].mean(0)
    assert np.linalg.norm(eyes[0] - (225, 193)) < 10  # read off the portrait by eye
    assert np.linalg.norm(eyes[1] - (303, 188)) < 10
    assert np.abs(found[2] * 2 - found[0]).mean() < 3


@given(st.integers(0, 2**31))
@settings(max_examples=30)
def test_a_crop_without_a_face_has_nothing_in_its_place(seed):
    rng = np.random.default_rng(seed)
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    crop[16:32, 16:32] = 7  # one of the sixteen pieces
    lost = without_a_face(crop, rng)
    assert lost.shape == crop.shape
    assert lost.dtype == np.uint8
    assert not np.array_equal(lost, crop)
    pieces = lost.reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1)
    if np.ptp(lost) == 0:
        return
    shuffled = sorted(map(tuple, pieces)) == sorted(
        map(tuple, crop.reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1))
    )
    assert shuffled or not (pieces == 7).all(1).any()


def test_one_in_ten_people_is_held_out_with_all_their_pictures():
    people = [f"person {i // 3}" for i in range(6000)]
    table = pl.DataFrame({"identity": people, "file": [f"{i}.jpg" for i in range(6000)]})
    apart = held_out(table)
    assert apart.mean() == pytest.approx(1 / HELD_OUT, abs=0.02)
    assert (apart.reshape(-1, 3) == apart.reshape(-1, 3)[:, :1]).all()
    unnamed = table.with_columns(identity=pl.lit(None, pl.String))
    assert held_out(unnamed).mean() == pytest.approx(1 / HELD_OUT, abs=0.02)
    assert not np.array_equal(held_out(unnamed), apart)


def test_shares_count_by_weight():
    targets = np.eye(7)[[0, 1, 1]]
    faces = Expressions([], np.zeros((3, 2, 3)), targets, np.array([1.0, 0.5, 0.5]))
    assert faces.shares.tolist() == [0.5, 0.5, 0, 0, 0, 0, 0]
