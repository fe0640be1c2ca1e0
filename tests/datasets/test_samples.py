"""The sample photo and clip, and the exactness of the clip's ground truth."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from featflow.datasets import open_source, sample_clip, sample_photo
from featflow.errors import MissingInputError, OutputError
from featflow.geometry.similarity import apply, scale_of


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return sample_clip(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def frames(clip):
    return list(open_source(clip.path))


def test_photo():
    (frame,) = open_source(sample_photo())
    assert frame.error is None
    assert frame.size_px == (600, 512)


def test_photo_without_matplotlib(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="matplotlib"):
        sample_photo()


def test_matplotlib_is_not_imported():
    code = (
        "import sys; from featflow.datasets import sample_photo; sample_photo();"
        "print('matplotlib' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_clip_is_what_it_says(clip, frames):
    assert len(frames) == len(clip) == 90
    assert {f.image.shape for f in frames} == {(360, 640, 3)}
    assert [f.time_s for f in frames] == pytest.approx([i / 30 for i in range(90)], abs=1e-6)
    faces = [len(truth) for truth in clip.truth]
    assert set(faces) == {0, 1, 2}
    assert faces.count(0) >= 5
    assert faces.count(2) >= 15


def test_empty_frames_are_empty(clip, frames):
    for frame, truth in zip(frames, clip.truth, strict=True):
        spread = frame.image.reshape(-1, 3).std(0).max()
        assert (spread < 6) == (len(truth) == 0)


@pytest.mark.parametrize("number", [0, 10, 20, 29, 37, 45, 52, 69, 80, 89])
def test_truth_against_image_registration(clip, frames, number):
    """Oracle: OpenCV's ECC registration of the portrait's face to the frame, from the pixels.

    The truth must agree with it at the eyes and the mouth to a third of a pixel.
    """
    portrait = next(iter(open_source(sample_photo()))).image
    points = np.array([[228.0, 190.0], [306.0, 188.0], [265.0, 275.0]])
    for matrix in clip.truth[number]:
        template = portrait[130:300, 195:335]
        to_frame = matrix.copy()
        to_frame[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5  # corners to centres
        start = np.concatenate([to_frame[:, :2], (to_frame @ [195.0, 130.0, 1.0])[:, None]], 1)
        disturbed = start + np.array([[0.004, -0.003, 1.0], [0.003, 0.004, -1.0]])
        _, found = cv2.findTransformECC(
            cv2.cvtColor(template, cv2.COLOR_RGB2GRAY),
            cv2.cvtColor(frames[number].image, cv2.COLOR_RGB2GRAY),
            disturbed.astype(np.float32),
            cv2.MOTION_AFFINE,
            (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-7),
        )
        in_window = points - 0.5 - [195.0, 130.0]
        seen = in_window @ found[:, :2].T + found[:, 2] + 0.5
        assert np.abs(apply(matrix, points) - seen).max() < 0.35


def test_maps_are_similarities_and_faces_stay_inside(clip):
    for truth in clip.truth:
        lefts = []
        for matrix in truth:
            linear = matrix[:, :2]
            assert linear @ linear.T == pytest.approx(np.eye(2) * scale_of(matrix) ** 2, abs=1e-9)
            assert np.linalg.det(linear) > 0
            corners = apply(matrix, np.array([[165.0, 90], [365, 90], [365, 330], [165, 330]]))
            assert corners.min() > 0
            assert (corners < [640, 360]).all()
            lefts.append(corners[:, 0].min())
        assert lefts == sorted(lefts)


def test_turn_is_clockwise_for_positive_angles(clip):
    """Frame 37 leans to the image's right: the hat lies right of the chin."""
    (matrix,) = clip.truth[37]
    hat, chin = apply(matrix, np.array([[267.0, 40.0], [267.0, 320.0]]))
    assert hat[0] > chin[0] + 50


def test_rendered_once_whole_and_the_same(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATFLOW_HOME", str(tmp_path / "home"))
    first = sample_clip()
    assert first.path.parent == tmp_path / "home"
    assert first.path.read_bytes() == clip.path.read_bytes()
    stamp = first.path.stat().st_mtime_ns
    assert sample_clip().path.stat().st_mtime_ns == stamp
    assert [p.name for p in first.path.parent.iterdir()] == [first.path.name]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        sample_clip(tmp_path / "file" / "below")
