"""Aligning by the 51 inner points, the three centrings, and crops by them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featflow.errors import OptionError
from featflow.geometry.centring import (
    CENTRES_CM,
    align51,
    centring_offsets,
    expansion_of,
    fit_head,
    padding_px,
)
from featflow.geometry.crop import CropRule
from featflow.geometry.landmarks import MIRROR_68
from featflow.geometry.mean_face import FACE68_CM, TEMPLATE51
from featflow.geometry.rotation import rotation_from_angles
from featflow.geometry.similarity import apply, compose, invert
from featflow.geometry.warp import warp

ANGLE = st.floats(-1.2, 1.2)


def seen(pitch: float = 0, roll: float = 0, yaw: float = 0, scale: float = 10.0) -> np.ndarray:
    """The mean head under an orthographic camera, in pixels with y down, (1, 68, 2)."""
    turned = FACE68_CM @ rotation_from_angles(pitch, roll, yaw).T
    return (turned[:, :2] * [scale, -scale] + [320, 240])[None]


def faces(landmarks: np.ndarray) -> SimpleNamespace:
    nothing = np.full((len(landmarks), 5, 2), np.nan)
    return SimpleNamespace(box=nothing[:, 0].repeat(2, 1), points5=nothing, landmarks=landmarks)


def aligned(landmarks: np.ndarray) -> np.ndarray:
    return apply(align51(landmarks), landmarks)


def test_the_template_is_symmetric_and_has_the_usual_extents() -> None:
    partner = MIRROR_68[17:] - 17
    np.testing.assert_allclose(TEMPLATE51[partner] * [-1, 1] + [1, 0], TEMPLATE51, atol=1e-9)
    np.testing.assert_allclose(TEMPLATE51.min(0), [0.010, 0.019], atol=0.006)
    np.testing.assert_allclose(TEMPLATE51.max(0), [0.990, 0.909], atol=0.001)
    np.testing.assert_allclose(TEMPLATE51.mean(0), [0.5, 0.464], atol=0.001)
    assert TEMPLATE51[19 + 0, 0] < 0.5 < TEMPLATE51[25, 0]  # the subject's right eye: image left
    with pytest.raises(ValueError, match="read-only"):
        TEMPLATE51[0, 0] = 1


def test_the_template_is_the_mean_of_photographs(shared: Path) -> None:
    pl = pytest.importorskip("polars")
    table = pl.read_parquet(shared / "faces" / "labels.parquet").filter(pl.col("split") == "train")
    turn = table.select("R02", "R22", "R12").to_numpy()
    frontal = (np.abs(np.arctan2(-turn[:, 0], turn[:, 1])) < 0.1) & (
        np.abs(np.arcsin(turn[:, 2])) < 0.1
    )
    points = np.array(table["landmarks68"].to_list()).reshape(-1, 68, 2)[frontal]
    assert len(points) == 1690
    inner = apply(align51(points), points)[:, 17:]
    np.testing.assert_allclose(inner.mean(0), TEMPLATE51, atol=0.004)


@settings(deadline=None)
@given(st.floats(-np.pi, np.pi), st.floats(0.1, 50), st.floats(-900, 900))
def test_a_known_similarity_is_recovered(turn: float, scale: float, shift: float) -> None:
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    known = np.array([[c, -s, shift], [s, c, -shift]])
    points = np.full((68, 2), 7.0)  # the jaw has no say
    points[17:] = TEMPLATE51
    found = align51(apply(known, points)[None])[0]
    np.testing.assert_allclose(compose(found, known), np.eye(2, 3), atol=1e-5)


@settings(deadline=None)
@given(ANGLE, ANGLE, ANGLE, st.floats(0.05, 90))
def test_the_camera_of_a_turned_head_is_recovered(
    pitch: float, roll: float, yaw: float, scale: float
) -> None:
    camera, origin = fit_head(seen(pitch, roll, yaw, scale))
    wanted = rotation_from_angles(pitch, roll, yaw)[:2] * scale * [[1], [-1]]
    np.testing.assert_allclose(camera[0], wanted, atol=1e-7 * scale)
    np.testing.assert_allclose(origin[0], [320, 240], atol=1e-6 * scale)


def test_frontal_offsets_are_those_of_face_extraction() -> None:
    front = aligned(seen())
    assert centring_offsets(front, "legacy").tolist() == [[0, 0]]
    np.testing.assert_allclose(centring_offsets(front, "face"), [[0, -0.167]], atol=5e-4)
    np.testing.assert_allclose(centring_offsets(front, "head"), [[0, -0.235]], atol=5e-4)


@settings(deadline=None)
@given(st.floats(-0.4, 0.4), ANGLE, st.floats(-0.8, 0.8))
def test_a_crop_is_centred_on_its_point_in_space(pitch: float, roll: float, yaw: float) -> None:
    points = seen(pitch, roll, yaw)
    for centring, centre in CENTRES_CM.items():
        turned = rotation_from_angles(pitch, roll, yaw) @ centre
        pixel = turned[:2] * [10, -10] + [320, 240]
        matrix = CropRule.centred(256, centring).matrices(faces(points))
        np.testing.assert_allclose(apply(matrix, pixel[None])[0], [[128, 128]], atol=1e-6)


def test_a_head_that_turns_leaves_its_centre_behind_its_features() -> None:
    to_image_left = centring_offsets(aligned(seen(yaw=0.5)), "head")[0]
    assert to_image_left[0] > 0.2  # the features went left, the skull stays right of them
    up = centring_offsets(aligned(seen(pitch=0.3)), "head")[0]
    assert up[1] > -0.235 + 0.1
    rolled = centring_offsets(aligned(seen(roll=0.8)), "head")[0]
    np.testing.assert_allclose(rolled, [0, -0.235], atol=5e-4)


def test_padding_is_that_of_face_extraction() -> None:
    assert 512 - 2 * padding_px(512, "head") == 192
    assert 512 - 2 * padding_px(512, "face") == 256
    assert 512 - 2 * padding_px(512, "legacy") == 320
    inside_head = {c: 512 * expansion_of(c) / expansion_of("head") for c in ("face", "legacy")}
    assert inside_head == pytest.approx({"face": 384, "legacy": 307.2})


@settings(deadline=None)
@given(st.integers(32, 1024), st.floats(0.4, 1.5))
def test_padding_by_coverage(size: int, coverage: float) -> None:
    for centring, ratio in (("legacy", 0.375), ("face", 0.5), ("head", 0.625)):
        formula = size * (ratio + coverage - 1) / (2 * coverage)
        assert abs(padding_px(size, centring, coverage) - formula) <= 0.5 + 1e-9


@settings(deadline=None)
@given(st.integers(8, 300), st.floats(0.3, 2.0))
def test_the_unit_square_fills_the_core_of_a_legacy_crop(size: int, coverage: float) -> None:
    points = np.zeros((1, 68, 2))
    points[0, 17:] = TEMPLATE51 * 100 + 30
    matrix = CropRule.centred(size, "legacy", coverage).matrices(faces(points))
    side = size / expansion_of("legacy", coverage)
    corners = apply(matrix, np.array([[[30.0, 30], [130, 130]]]))[0]
    middle = size / 2
    np.testing.assert_allclose(corners, [[middle - side / 2] * 2, [middle + side / 2] * 2])


@pytest.mark.parametrize("centring", ["legacy", "face"])
def test_a_crop_from_the_frame_equals_one_from_the_stored_head_crop(centring: str) -> None:
    y, x = np.mgrid[0:480, 0:640]
    wave = 120 + 60 * np.sin(x / 23) + 60 * np.cos(y / 31)
    frame = np.stack([wave, wave[::-1], wave[:, ::-1]], -1).astype(np.uint8)
    points = seen(0.1, 0.3, 0.2, scale=14)
    stored = CropRule.centred(512, "head").matrices(faces(points))[0]
    wanted = CropRule.centred(128, centring).matrices(faces(points))[0]
    head = warp(frame, stored, (512, 512))
    again = warp(head, compose(wanted, invert(stored)), (128, 128))
    direct = warp(frame, wanted, (128, 128))
    assert np.abs(again.astype(int) - direct)[2:-2, 2:-2].max() <= 2


def test_shift_and_unknown_landmarks() -> None:
    plain = CropRule(100, "landmarks", expansion=2.0)
    shifted = CropRule(100, "landmarks", expansion=2.0, shift_y=0.25)
    points = seen()
    moved = apply(shifted.matrices(faces(points)), points) - apply(
        plain.matrices(faces(points)), points
    )
    np.testing.assert_allclose(moved, np.broadcast_to([0, -25.0], moved.shape), atol=1e-9)
    unknown = np.concatenate([points, points * np.nan])
    for centring in ("legacy", "face", "head"):
        matrices = CropRule.centred(64, centring).matrices(faces(unknown))
        alone = CropRule.centred(64, centring).matrices(faces(points))
        np.testing.assert_allclose(matrices[:1], alone)
        assert np.isnan(matrices[1]).all()


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(OptionError, match="known centrings: legacy, face, head"):
        centring_offsets(np.zeros((0, 68, 2)), "nose")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="coverage"):
        expansion_of("face", 0.0)
    with pytest.raises(OptionError, match="box, points5, landmarks"):
        CropRule(64, "mesh")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="legacy, face, head"):
        CropRule(64, "landmarks", centring="nose")  # type: ignore[arg-type]


@given(ANGLE, ANGLE)
@settings(deadline=None, max_examples=25)
def test_an_eye_lies_in_the_middle_of_its_crop(roll: float, yaw: float) -> None:
    landmarks = seen(0.1, roll, yaw * 0.5)
    for eye, points in (("right_eye", slice(36, 42)), ("left_eye", slice(42, 48))):
        rule = CropRule(48, "landmarks", 0.4, centring=eye)  # type: ignore[arg-type]
        matrix = rule.matrices(faces(landmarks))
        middle = apply(matrix, landmarks)[0, points].mean(0)
        np.testing.assert_allclose(middle, [24, 24], atol=1e-6)
        scale = np.hypot(*matrix[0, :, 0])
        assert scale == pytest.approx(np.hypot(*align51(landmarks)[0, :, 0]) * 48 / 0.4)
        # Upright: the line of the eyes' outer corners is nearly level for a head without yaw.
        if abs(yaw) < 0.1:
            corners = apply(matrix, landmarks)[0, [36, 45]]
            assert abs(np.arctan2(*(corners[1] - corners[0])[::-1])) < 0.2


def test_an_eye_is_no_centring_of_extraction() -> None:
    with pytest.raises(OptionError, match="right_eye"):
        expansion_of("right_eye")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="left_eye"):
        CropRule(48, "landmarks", centring="nose")  # type: ignore[arg-type]
