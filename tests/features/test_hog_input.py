"""The two ways from a frame to HOG features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pytest

from featflow.features.aligned import aligned_faces, alignment
from featflow.features.hog import hog
from featflow.features.hog_input import HOG_INPUTS
from featflow.geometry.similarity import apply
from featflow.geometry.warp import warp_faces


@dataclass
class OneFace:
    """A box and what a crop rule asks for besides."""

    box: np.ndarray
    points5: np.ndarray
    landmarks: np.ndarray


def scene(narrow: float = 1.0) -> tuple[np.ndarray, OneFace]:
    """A smooth picture and a face in it, its box narrowed by a factor."""
    rng = np.random.default_rng(0)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (300, 300, 3), np.uint8), (0, 0), 4)
    frame = cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX)
    landmarks = rng.uniform([100, 90], [200, 210], (68, 2))
    landmarks[36:42], landmarks[42:48] = [125, 130], [175, 135]
    landmarks[[30, 48, 54]] = [[150, 160], [130, 190], [170, 192]]
    half = 60 * narrow
    box = np.array([[150 - half, 90, 150 + half, 210]])
    return frame, OneFace(box, np.full((1, 5, 2), np.nan), landmarks[None])


def run(mode: Literal["trained", "reference"], narrow: float = 1.0) -> tuple:
    """Features and points of the scene."""
    frame, face = scene(narrow)
    rule = HOG_INPUTS[mode].crop
    matrices = rule.matrices(face)
    crops = warp_faces([frame], np.zeros(1, int), matrices, rule.size, rule.outside)
    return HOG_INPUTS[mode].features(crops, apply(matrices, face.landmarks))


def test_trained_equals_alignment_in_the_whole_picture() -> None:
    frame, face = scene()
    features, points = run("trained")
    direct, placed = aligned_faces(frame[None] / 255, face.landmarks - 0.5)
    assert np.abs(points - placed).max() <= 1
    expected = hog(direct)[0]
    similarity = features[0] @ expected / np.linalg.norm(features[0]) / np.linalg.norm(expected)
    assert similarity > 0.97
    half_a_pixel = apply(alignment(face.landmarks - 0.5), face.landmarks - 0.5)
    assert np.abs(points - np.trunc(half_a_pixel)).max() <= 1


def test_trained_does_not_depend_on_the_form_of_the_box() -> None:
    square, narrow = run("trained")[1], run("trained", 0.7)[1]
    assert np.abs(square - narrow).max() <= 1


def test_reference_distorts_a_face_whose_box_is_no_square() -> None:
    square, narrow = run("reference")[1], run("reference", 0.7)[1]
    assert np.abs(square - narrow).max() > 5


@pytest.mark.parametrize(("mode", "beyond"), [("trained", 128 / 255), ("reference", 128.0)])
def test_fill(mode: Literal["trained", "reference"], beyond: float) -> None:
    entry = HOG_INPUTS[mode]
    assert entry.fill == pytest.approx(beyond)
    size = entry.crop.size
    marks = np.array(scene()[1].landmarks) * size / 300 + size * 0.4  # leaves the crop
    grey = np.full((1, size, size, 3), 128, np.uint8)
    features, _ = entry.features(grey, marks)
    inside, _ = entry.features(grey, np.array(scene()[1].landmarks) * size / 300)
    # Mid-grey draws no edge where the picture ends; 128 in a picture of 0 to 1 does.
    mask_only, _ = aligned_faces(
        np.full((1, size, size, 3), 128 / 255), marks - 0.5, fill=128 / 255
    )
    if mode == "trained":
        np.testing.assert_allclose(features[0], hog(mask_only)[0], atol=1e-3)
    else:
        assert np.abs(features[0] - hog(mask_only)[0]).max() > 0.1
    assert inside.any()


def test_half_a_pixel() -> None:
    assert HOG_INPUTS["trained"].centred
    assert not HOG_INPUTS["reference"].centred
    crops = np.zeros((1, 192, 192, 3), np.uint8)
    crops[:, :, 96:] = 255
    marks = np.array(scene()[1].landmarks) * 192 / 300
    moved, _ = HOG_INPUTS["trained"].features(crops, marks + 0.5)
    still, _ = HOG_INPUTS["reference"].features(crops, marks)
    assert moved.shape == still.shape == (1, 5408)
    np.testing.assert_allclose(moved, still, atol=1e-5)
