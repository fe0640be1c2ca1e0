"""Masks when they are read, against scipy and closed formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from featflow.errors import OptionError
from featflow.flow.batch import FaceBatch
from featflow.geometry.centring import expansion_of
from featflow.geometry.crop import CropRule
from featflow.geometry.mask_ops import blur_masks, carry_masks, grow_masks, harden_masks
from featflow.geometry.mean_face import FACE68_CM

SIDE = 40


def noise(seed: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)


def disc(radius: float, side: int = 128) -> np.ndarray:
    y, x = np.mgrid[:side, :side] + 0.5 - side / 2
    return ((x**2 + y**2 <= radius**2) * np.uint8(255))[None]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(1, 6), st.booleans())
def test_growing_is_the_extremum_over_an_ellipse(seed: int, radius: int, outwards: bool) -> None:
    masks = noise(seed)
    share = radius / SIDE * (1 if outwards else -1)
    import cv2

    footprint = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2).astype(bool)
    assert footprint[radius, 0]  # it reaches as far as it says
    assert footprint[0, radius]
    filtered = ndimage.maximum_filter if outwards else ndimage.minimum_filter
    fill = 0 if outwards else 255
    for mask, grown in zip(masks, grow_masks(masks, share), strict=True):
        want = filtered(mask, footprint=footprint, mode="constant", cval=fill)
        np.testing.assert_array_equal(grown, want)


def test_a_disc_grows_by_its_share_whatever_its_size() -> None:
    for side in (64, 128, 256):
        before = disc(0.2 * side, side)
        for share in (-0.1, 0.1):
            area = (grow_masks(before, share) > 0).sum()
            assert np.sqrt(area / np.pi) / side == pytest.approx(0.2 + share, abs=0.012)
    np.testing.assert_array_equal(grow_masks(noise(1), 0.0), noise(1))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(0, 6), st.integers(1, 3))
def test_box_blur_is_the_mean_of_a_square_that_halves(seed: int, half: int, passes: int) -> None:
    masks = noise(seed)
    width = 2 * half + 1
    want = masks.astype(np.float64)
    kernel = float(width)
    for _ in range(passes):
        size = 2 * int(kernel // 2) + 1
        smooth = ndimage.uniform_filter(want, (0, size, size), mode="nearest")
        want = np.round(smooth)
        kernel *= 0.5
    got = blur_masks(masks, width / SIDE, "box", passes)
    assert np.abs(got - want).max() <= passes


def test_gaussian_blur_is_a_gaussian_that_shrinks_by_a_fifth() -> None:
    masks = disc(15, SIDE)
    want = masks.astype(np.float64)
    for size in (9, 7):  # 9 and 7.2 pixels
        sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
        want = ndimage.gaussian_filter(
            want, (0, sigma, sigma), mode="nearest", radius=(0, size // 2, size // 2)
        )
    got = blur_masks(masks, 9.1 / SIDE, "gaussian", 2)
    assert np.abs(got - want).max() <= 2
    assert got[0, SIDE // 2].min() > 0 or got.min() == 0
    np.testing.assert_array_equal(blur_masks(masks, 0.0), masks)


def test_hardening_is_by_value_and_leaves_the_middle() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    hard = harden_masks(mask, 0.2).ravel()  # 51 and 204
    np.testing.assert_array_equal(hard[:51], 0)
    np.testing.assert_array_equal(hard[51:205], np.arange(51, 205))
    np.testing.assert_array_equal(hard[205:], 255)
    np.testing.assert_array_equal(harden_masks(mask, 0), mask)
    assert set(np.unique(harden_masks(mask, 0.5))) == {0, 255}
    assert mask[0, 0, 1] == 1  # the masks given stay as they are


def test_a_head_mask_becomes_the_mask_of_the_face_crop() -> None:
    """A box drawn in the frame lies where each crop's own matrix puts it."""
    points = (FACE68_CM[:, :2] * [12, -12] + [300, 260])[None]
    faces = FaceBatch(np.zeros(1, np.int64), {"landmarks": points})
    head, face = CropRule.centred(256, "head"), CropRule.centred(96, "face")
    stored, wanted = head.matrices(faces), face.matrices(faces)

    def drawn(matrix: np.ndarray, size: int) -> np.ndarray:
        back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
        y, x = np.mgrid[:size, :size] + 0.5
        at = np.einsum("ij,jyx->iyx", back, np.stack([x, y, np.ones_like(x)]))
        inside = (abs(at[0] - 305) < 40) & (abs(at[1] - 250) < 30)
        return inside * np.uint8(255)

    carried = carry_masks(drawn(stored[0], 256)[None], stored, wanted, 96)[0]
    want = drawn(wanted[0], 96)
    assert carried.shape == (96, 96)
    assert (np.abs(carried.astype(int) - want) > 128).mean() < 0.004
    assert want.mean() > 10
    # What the stored crop does not hold is outside.
    wide = CropRule.centred(96, "head", coverage=3.0).matrices(faces)
    far = carry_masks(np.full((1, 256, 256), 255, np.uint8), stored, wide, 96)[0]
    assert far[0].max() == 0
    side = 96 * expansion_of("head") / expansion_of("head", 3.0)
    assert (far > 127).sum() == pytest.approx(side**2, rel=0.03)
    nothing = carry_masks(np.zeros((0, 8, 8), np.uint8), stored[:0], wanted[:0], 5)
    assert nothing.shape == (0, 5, 5)
    lost = carry_masks(np.full((1, 8, 8), 255, np.uint8), stored * np.nan, wanted, 5)
    assert lost.max() == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 160), st.integers(1, 160), st.integers(0, 255), st.floats(-1.5, 1.5))
def test_a_constant_mask_is_exact_at_any_size(
    stored: int, size: int, value: int, turn: float
) -> None:
    """The whole crop stays what it was, however much it grows or shrinks."""
    c, s = 12 * np.cos(turn), 12 * np.sin(turn)
    points = (FACE68_CM[:, :2] @ np.array([[c, s], [s, -c]]) + [300, 260])[None]
    faces = FaceBatch(np.zeros(1, np.int64), {"landmarks": points})
    one, two = (CropRule.centred(n, "face").matrices(faces) for n in (stored, size))
    masks = np.full((1, stored, stored), value, np.uint8)
    carried = carry_masks(masks, one, two, size)
    assert carried.shape == (1, size, size)
    assert (carried == value).all()
    # Where the crop that is wanted holds more, its middle is the stored one and the rest is 0.
    wide = carry_masks(masks, one, CropRule.centred(size, "face", 2.0).matrices(faces), size)
    assert set(np.unique(wide)) <= {0, value}
    x = (np.arange(size) + 0.5) / size
    inside = abs(x - 0.5) < 0.25 - 1e-6
    beyond = abs(x - 0.5) > 0.25 + 1e-6
    assert (wide[0][np.ix_(inside, inside)] == value).all()
    assert (wide[0][beyond] == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda m: grow_masks(m, 0.6),
        lambda m: blur_masks(m, -0.1),
        lambda m: blur_masks(m, 0.1, "median"),  # type: ignore[arg-type]
        lambda m: blur_masks(m, 0.1, "box", 0),
        lambda m: harden_masks(m, 0.7),
    ],
)
def test_settings_that_make_no_sense(wrong: Any) -> None:
    with pytest.raises(OptionError):
        wrong(noise(0))


def test_no_masks_stay_none() -> None:
    none = np.zeros((0, 8, 8), np.uint8)
    for done in (grow_masks(none, 0.2), blur_masks(none, 0.3), harden_masks(none, 0.1)):
        assert done.shape == (0, 8, 8)
