"""Samples of gaze: where the eyes are, which one is mirrored, and how the label turns."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from featflow.geometry.landmarks import PARTS
from featflow.geometry.rotation import rotation_from_angles
from featflow.nodes.gaze.tiny import data
from featflow.nodes.gaze.tiny.data import EyeSet, jitter
from featflow.nodes.gaze.tiny.node import LEFT_EYE, RIGHT_EYE, aligned_points
from featflow.testing.face68 import FACE68_CM

RED, BLUE = (255, 0, 0), (0, 0, 255)


def face(roll: float = 0.0) -> np.ndarray:
    """68 points of a frontal face, turned in the picture towards the subject's right."""
    turned = FACE68_CM @ rotation_from_angles(0, roll, 0).T
    return turned[:, :2] * [12.0, -12.0] + [130.0, 120.0]


def centre(points: np.ndarray, eye: str) -> np.ndarray:
    return points[PARTS[eye].start : PARTS[eye].stop].mean(0)


def eye_set(roll: float = 0.0, gaze: tuple[float, float] = (0.1, 0.3)) -> EyeSet:
    """A photograph whose right iris is red and left iris blue, 3 px to the left of the middle."""
    points = face(roll)
    irises = np.stack([centre(points, "right_eye"), centre(points, "left_eye")]) - [3.0, 0.0]
    y, x = np.mgrid[0:240, 0:260] + 0.5
    image = np.full((240, 260, 3), 90, np.uint8)
    for iris, colour in zip(irises, (RED, BLUE), strict=True):
        image[(x - iris[0]) ** 2 + (y - iris[1]) ** 2 <= 9] = colour
    faces = SimpleNamespace(
        gaze=np.array([gaze]),
        iris=irises[None].astype(np.float32),
        gaze_confidence=np.array([0.7]),
        rotations=rotation_from_angles(0, roll, 0)[None],
    )
    return EyeSet(faces, [image], [points[None]])  # type: ignore[arg-type]


def place(patch: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    y, x = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]] + 0.5
    near = np.abs(patch.astype(int) - colour).max(-1) < 80
    return np.array([x[near].mean(), y[near].mean()])


def test_eyes_are_the_subjects_and_the_left_one_is_mirrored() -> None:
    sample = eye_set().plain(0)
    assert sample.right.shape == sample.left.shape == (32, 48, 3)
    np.testing.assert_allclose(place(sample.right, RED), sample.iris[0], atol=0.6)
    np.testing.assert_allclose(place(sample.left, BLUE), sample.iris[1], atol=0.6)
    # 3 px to the image left: left of the middle in the right patch, right of it in the mirrored.
    assert sample.iris[0, 0] < 24 - 1 < 24 + 1 < sample.iris[1, 0]
    np.testing.assert_allclose(sample.iris[:, 1], 16, atol=1)
    assert sample.weight == 0.7
    np.testing.assert_allclose(sample.points, aligned_points(face()[None])[0])


@pytest.mark.parametrize("roll", [-0.5, 0.8])
def test_a_tilted_head_is_turned_upright_and_its_gaze_with_it(roll: float) -> None:
    """A gaze along the head's own axes has the same label however the head is tilted."""
    forward = rotation_from_angles(0, roll, 0) @ [-np.sin(0.3), 0.0, np.cos(0.3)]
    seen = (float(np.arcsin(forward[1])), float(np.arctan2(-forward[0], forward[2])))
    tilted = eye_set(roll, seen)
    np.testing.assert_allclose(tilted.plain(0).gaze, [0.0, 0.3], atol=1e-3)
    np.testing.assert_allclose(tilted.upright_head, 0.0, atol=1e-3)
    np.testing.assert_allclose(tilted.plain(0).points, eye_set().plain(0).points, atol=1e-3)


def test_augmented_samples_show_the_iris_where_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("degrade", "relight", "cover"):
        monkeypatch.setattr(data, name, lambda image, *rest: image)
    eyes, turns = eye_set(), []
    for seed in range(40):
        sample = eyes.augmented(0, np.random.default_rng(seed))
        np.testing.assert_allclose(place(sample.right, RED), sample.iris[0], atol=0.8)
        np.testing.assert_allclose(place(sample.left, BLUE), sample.iris[1], atol=0.8)
        # The line between the eyes tells by how much everything was turned.
        line = centre(sample.points, "left_eye") - centre(sample.points, "right_eye")
        turn = np.arctan2(line[1], line[0])
        pitch, yaw = sample.gaze
        across = np.array([-np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
        before = np.array([-np.sin(0.3) * np.cos(0.1), -np.sin(0.1)])
        c, s = np.cos(turn), np.sin(turn)
        np.testing.assert_allclose(across, np.array([[c, -s], [s, c]]) @ before, atol=0.01)
        turns.append(turn)
    assert 0.03 < np.std(turns) < 0.08


def test_jitter_has_the_spread_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([jitter(rng, 0.2, 0.1, 2.0) for _ in range(3000)])
    moved = drawn[:, :, :2] @ [24.0, 24.0] + drawn[:, :, 2] - 24
    assert moved.std(0) == pytest.approx([2, 2], rel=0.1)
    assert np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]).std() == pytest.approx(0.2, rel=0.1)
    assert np.log(np.hypot(drawn[:, 0, 0], drawn[:, 1, 0])).std() == pytest.approx(0.1, rel=0.1)


def test_an_iris_off_the_patch_is_unknown() -> None:
    eyes = eye_set()
    eyes.iris[0, 1] += 40
    iris = eyes.plain(0).iris
    assert np.isfinite(iris[0]).all()
    assert np.isnan(iris[1]).all()


def test_crops_are_centred_on_their_eye() -> None:
    points = face(0.4)
    for rule, eye in ((RIGHT_EYE, "right_eye"), (LEFT_EYE, "left_eye")):
        matrix = rule.matrices(SimpleNamespace(landmarks=points[None]))[0]
        np.testing.assert_allclose(
            matrix[:, :2] @ centre(points, eye) + matrix[:, 2], [24, 24], atol=1e-6
        )


def test_predicted_landmarks_are_the_nodes_own(mini_faces: str) -> None:
    from featflow.datasets.labelled import LabelledFaces
    from featflow.detector import Detector

    faces = LabelledFaces.open(mini_faces, "val")
    found = data.predicted_landmarks(faces, faces.read_all(), None)
    moved = data.predicted_landmarks(faces, faces.read_all(), np.random.default_rng(0))
    assert found.shape == moved.shape == (len(faces), 68, 2)
    node = Detector.only(face="tiny", landmark="tiny", device="cpu").nodes["landmark"]
    node.load("cpu")
    picture = faces.read(0)
    expected = data._landmarks(node, [picture], faces.boxes[:1], faces.points5[:1])  # type: ignore[arg-type]
    np.testing.assert_allclose(found[:1], expected, atol=1e-2)
    assert 0.1 < np.abs(moved - found).mean() < 20
