"""The shipped gaze node: signs on rendered and on labelled eyes, mirrors, turns, bad input."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featflow.datasets import sample_photo
from featflow.datasets.frame import Frame
from featflow.datasets.labelled import LabelledFaces
from featflow.detector import Detector
from featflow.flow.batch import Batch, FaceBatch, FrameBatch
from featflow.geometry.landmarks import MIRROR_68, mirror_landmarks
from featflow.nodes.gaze.tiny import NODE
from featflow.nodes.gaze.tiny.node import GazeTiny, turned, turned_back
from featflow.testing import check_node
from featflow.testing.face68 import FACE68_CM

LEFT, RIGHT, UP, DOWN = (-1, 0), (1, 0), (0, -1), (0, 1)
"""Where irises are shifted to in the picture, x right and y down."""


@pytest.fixture(scope="module")
def node() -> GazeTiny:
    made = NODE()
    made.load("cpu")
    return made


def face68(size: float = 9.0) -> np.ndarray:
    return FACE68_CM[:, :2] * [size, -size] + [120.0, 110.0]


def rendered(shift: tuple[float, float], points: np.ndarray) -> np.ndarray:
    """A painted face: white eyes with dark irises that are shifted by parts of the eye."""
    fine = 4
    image = np.full((240 * fine, 240 * fine, 3), (196, 158, 136), np.uint8)

    def fill(outline: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
        mask = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(outline * fine).astype(np.int32)], 1)
        image[mask > 0] = colour
        return mask > 0

    for brow in (slice(17, 22), slice(22, 27)):
        corners = np.round(points[brow] * fine).astype(np.int32)
        cv2.polylines(image, [corners], False, (70, 50, 40), 3 * fine)
    for eye in (slice(36, 42), slice(42, 48)):
        outline = points[eye]
        wide = np.ptp(outline[:, 0])
        middle = outline.mean(0)
        opened = middle + (outline - middle) * [1.0, 1.35]
        white = fill(opened, (236, 232, 228))
        y, x = (np.mgrid[: image.shape[0], : image.shape[1]] + 0.5) / fine
        centre = middle + np.array(shift) * [0.20 * wide, 0.10 * wide]
        iris = np.hypot(x - centre[0], y - centre[1]) < 0.20 * wide
        image[iris & white] = (60, 40, 30)
        edge = [np.round(opened * fine).astype(np.int32)]
        cv2.polylines(image, edge, True, (90, 60, 50), fine)
    fill(points[48:60], (150, 80, 80))
    return cv2.resize(image, (240, 240), interpolation=cv2.INTER_AREA)


def gaze(node: GazeTiny, image: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, float]:
    """Pitch and yaw in degrees of a face with known landmarks, and the confidence."""
    batch = batch_of([image], [points])
    said = node.post_process(batch, node.process(node.pre_process(batch)))
    return np.degrees(said["gaze"][0, :2]), float(said["gaze_score"][0])


def batch_of(images: list[np.ndarray], points: list[np.ndarray]) -> Batch:
    frames = FrameBatch.from_frames([Frame(i, "", size_px=i.shape[:2]) for i in images])
    landmarks = np.stack(points)
    box = np.concatenate([landmarks.min(1), landmarks.max(1)], 1)
    return Batch(frames, FaceBatch(frames.uids, {"box": box, "landmarks": landmarks}))


def test_rendered_eyes_look_where_their_irises_are(node: GazeTiny) -> None:
    points = face68()
    seen = {s: gaze(node, rendered(s, points), points)[0] for s in (LEFT, RIGHT, UP, DOWN, (0, 0))}
    straight = seen[0, 0]
    # To the image left is to the subject's right, which is +.
    assert seen[LEFT][1] > straight[1] + 5
    assert seen[RIGHT][1] < straight[1] - 5
    assert seen[LEFT][1] > 5
    assert seen[RIGHT][1] < -5
    assert seen[UP][0] > straight[0] + 1
    assert seen[DOWN][0] < straight[0] - 1
    assert abs(straight[1]) < 4


def test_a_mirrored_face_has_the_mirrored_gaze(node: GazeTiny) -> None:
    points = face68() + [3.3, 0.7]
    image = rendered((-0.7, 0.4), points)
    plain, score = gaze(node, image, points)
    mirror = np.ascontiguousarray(image[:, ::-1])
    seen, score_too = gaze(node, mirror, mirror_landmarks(points, image.shape[1]))
    assert seen == pytest.approx(plain * [1, -1], abs=0.2)
    assert score_too == pytest.approx(score, abs=0.01)
    assert abs(plain[1]) > 3


@pytest.mark.parametrize("angle", [-0.6, 0.5])
def test_a_turned_picture_has_the_turned_gaze(node: GazeTiny, angle: float) -> None:
    points = face68()
    image = rendered((-1, 0), points)
    plain, _ = gaze(node, image, points)
    c, s = np.cos(angle), np.sin(angle)
    linear = np.array([[c, -s], [s, c]])
    matrix = np.concatenate([linear, ([120, 120] - linear @ [120, 120])[:, None]], 1)
    shift = matrix[:, 2] + linear @ [0.5, 0.5] - 0.5
    at_centres = np.concatenate([linear, shift[:, None]], 1)
    picture = cv2.warpAffine(image, at_centres, (240, 240), borderMode=cv2.BORDER_REPLICATE)
    seen, _ = gaze(node, picture, points @ linear.T + matrix[:, 2])
    expected = np.degrees(turned(np.radians(plain)[None], matrix[None]))[0]
    assert seen == pytest.approx(expected, abs=2.5)


def test_a_quarter_turn_makes_yaw_pitch() -> None:
    """Image left (+ yaw) turned onto image up (+ pitch), and what was up onto image right."""
    quarter = np.array([[[0.0, -2.0, 7.0], [2.0, 0.0, -9.0]]])
    np.testing.assert_allclose(turned(np.array([[0.0, 0.3]]), quarter), [[0.3, 0.0]], atol=1e-12)
    np.testing.assert_allclose(turned(np.array([[0.2, 0.0]]), quarter), [[0.0, -0.2]], atol=1e-12)


@given(st.floats(-1.2, 1.2), st.floats(-1.2, 1.2), st.floats(-3, 3), st.floats(0.1, 9))
def test_turning_back_undoes_turning(pitch: float, yaw: float, angle: float, scale: float) -> None:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[[c, -s, 3.0], [s, c, 4.0]]])
    angles = np.array([[pitch, yaw]])
    np.testing.assert_allclose(turned_back(turned(angles, matrix), matrix), angles, atol=1e-7)


def test_photographs_look_where_their_irises_are(shared: Path, node: GazeTiny) -> None:
    """On people never trained on, by the place of the iris between the corners of its eye."""
    faces = LabelledFaces.open(shared / "faces", "val")
    faces = LabelledFaces(faces.root, faces.table[::8])
    points = faces.landmarks.astype(float)
    batch = batch_of(faces.read_all(), list(points))
    said = node.post_process(batch, node.process(node.pre_process(batch)))["gaze"]
    eyes = [(36, 39), (42, 45)]
    place = np.mean([along(points, *e, faces.iris[:, i]) for i, e in enumerate(eyes)], 0)
    forward = faces.rotations[:, :, 2]
    in_head = said[:, 1] - np.arctan2(-forward[:, 0], forward[:, 2])
    assert np.corrcoef(place, in_head)[0, 1] < -0.75  # towards the image right is -
    assert np.corrcoef(faces.gaze[:, 1], said[:, 1])[0, 1] > 0.9
    assert np.corrcoef(faces.gaze[:, 0], said[:, 0])[0, 1] > 0.6


def along(points: np.ndarray, first: int, last: int, iris: np.ndarray) -> np.ndarray:
    """Place of an iris between two eye corners, 0 in the middle, + to the second."""
    line = points[:, last] - points[:, first]
    middle = (points[:, last] + points[:, first]) / 2
    return np.asarray(((iris - middle) * line).sum(1) / (line**2).sum(1))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.only(face="tiny", landmark="tiny", pose="mlp", gaze="tiny", device="cpu")


def test_a_mirrored_portrait_negates_yaw(detector: Detector) -> None:
    picture = np.asarray(Image.open(sample_photo()).convert("RGB"))
    plain = detector.detect(picture, progress_bar=False)
    mirror = detector.detect(np.ascontiguousarray(picture[:, ::-1]), progress_bar=False)
    pitch, yaw, angle = np.degrees(plain.gazes.to_numpy(float)[0])
    assert np.degrees(mirror.gazes.to_numpy(float)[0]) == pytest.approx([pitch, -yaw, angle], abs=3)
    cosine = np.cos(np.radians(pitch)) * np.cos(np.radians(yaw))
    assert angle == pytest.approx(np.degrees(np.arccos(cosine)), abs=0.01)
    assert angle < 25
    assert plain["GazeScore"].iloc[0] > 0.5


def test_rows_do_not_depend_on_the_batch_size(detector: Detector) -> None:
    picture = Image.open(sample_photo()).convert("RGB")
    frames = [np.asarray(picture.rotate(3 * i)) for i in range(9)]
    columns = ["gaze_pitch", "gaze_yaw", "gaze_angle", "GazeScore"]
    one, three, eight = (
        detector.detect(frames, batch_size=n, progress_bar=False)[columns].to_numpy()
        for n in (1, 3, 8)
    )
    np.testing.assert_allclose(three, one, atol=1e-4)
    np.testing.assert_allclose(eight, one, atol=1e-4)


def test_bad_faces_are_not_invented(node: GazeTiny) -> None:
    points, image = face68(), rendered((0, 0), face68())
    _, sure = gaze(node, image, points)
    # Both eyes off the picture, left and above.
    assert np.isnan(gaze(node, image, points - [300.0, 0.0])[0]).all()
    off, score = gaze(node, image, points - [0.0, 200.0])
    assert np.isnan(off).all()
    assert np.isnan(score)
    # One eye on the picture is enough for an answer.
    half, _ = gaze(node, image, points - [120.0, 0.0])
    assert np.isfinite(half).all()
    black, unsure = gaze(node, np.zeros_like(image), points)
    assert np.isfinite(black).all()
    assert unsure < sure
    small, _ = gaze(node, cv2.resize(image, (16, 16)), points / 15)
    assert np.isfinite(small).all()
    upside, _ = gaze(node, np.ascontiguousarray(image[::-1, ::-1]), 240 - points)
    assert np.isfinite(upside).all()


def test_a_face_without_landmarks_has_no_gaze(detector: Detector) -> None:
    batch = batch_of([np.zeros((50, 50, 3), np.uint8)], [np.full((68, 2), np.nan)])
    assert not NODE().usable(batch.faces).any()


def test_the_mirror_of_the_landmarks_is_the_one_of_the_table() -> None:
    points = face68()
    np.testing.assert_allclose(points[MIRROR_68] * [-1, 1] + [240, 0], points, atol=0.5)


def test_keeps_the_node_contract() -> None:
    assert check_node(NODE()).faces == 8
