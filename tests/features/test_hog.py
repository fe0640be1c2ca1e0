"""HOG against the published definition, written as loops, and against scikit-image."""

from __future__ import annotations

from math import atan2, degrees, hypot, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featflow.errors import ArrayError
from featflow.features.hog import hog

EXPECTED = Path(__file__).parent / "expected" / "skimage_hog.npz"


def loop_hog(picture: np.ndarray, orientations: int, cell: int, block: int) -> np.ndarray:
    """Dalal and Triggs, one pixel at a time; no line shared with the code under test."""
    pixels = picture.astype(float)
    height, width, channels = pixels.shape
    rows, columns = height // cell, width // cell
    histogram = np.zeros((rows, columns, orientations))
    for y in range(rows * cell):
        for x in range(columns * cell):
            best = (-1.0, 0.0, 0.0)
            for c in range(channels):
                dy = pixels[y + 1, x, c] - pixels[y - 1, x, c] if 0 < y < height - 1 else 0.0
                dx = pixels[y, x + 1, c] - pixels[y, x - 1, c] if 0 < x < width - 1 else 0.0
                if hypot(dy, dx) > best[0]:
                    best = (hypot(dy, dx), dy, dx)
            magnitude, dy, dx = best
            angle = degrees(atan2(dy, dx)) % 180
            for o in range(orientations):
                if 180 / orientations * o <= angle < 180 / orientations * (o + 1):
                    histogram[y // cell, x // cell, o] += magnitude / cell**2
    features: list[float] = []
    for r in range(rows - block + 1):
        for c in range(columns - block + 1):
            values = list(histogram[r : r + block, c : c + block].ravel())
            for clip in (0.2, None):
                length = sqrt(sum(v * v for v in values) + 1e-5**2)
                values = [v / length for v in values]
                values = values if clip is None else [min(v, clip) for v in values]
            features += values
    return np.array(features)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(12, 19), st.integers(12, 19), st.integers(1, 3)),
        elements=st.integers(0, 9),
    ),
    st.integers(2, 9),
    st.integers(3, 6),
    st.integers(1, 2),
)
def test_equals_the_definition(
    picture: np.ndarray, orientations: int, cell: int, block: int
) -> None:
    found = hog(picture[None], orientations, cell, block)[0]
    np.testing.assert_allclose(found, loop_hog(picture, orientations, cell, block), atol=1e-9)


def test_equals_scikit_image_by_its_saved_answers() -> None:
    with np.load(EXPECTED) as saved:
        face, coarse = saved["face"], saved["coarse"]
        for picture, name, options in (
            (face, "face_hog", (8, 8, 2)),
            ((face / 255).astype(np.float32), "unit_hog", (8, 8, 2)),
            (coarse, "coarse_hog", (8, 8, 2)),
            (coarse[..., 0], "nine_hog", (9, 7, 3)),
        ):
            np.testing.assert_allclose(hog(picture[None], *options)[0], saved[name], atol=1e-6)


def test_equals_scikit_image_where_it_is_installed() -> None:
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    picture = np.random.default_rng(4).random((112, 112, 3))
    theirs = feature.hog(
        picture,
        orientations=8,
        pixels_per_cell=(8, 8),
        cells_per_block=(2, 2),
        block_norm="L2-Hys",
        channel_axis=-1,
    )
    np.testing.assert_allclose(hog(picture[None])[0], theirs, atol=1e-6)


def test_layout_and_orientation() -> None:
    picture = np.zeros((32, 32))
    picture[8:16, 16:24] = np.arange(8) / 8  # brighter to the right, in one cell alone
    blocks = hog(picture[None]).reshape(3, 3, 2, 2, 8)
    # Block row 0 and column 1 hold the cell as their lower right one; gradient to the right
    # is 0 degrees, the first bin.
    assert blocks[0, 1, 1, 1].argmax() == 0
    assert blocks[0, 2, 1, 0].argmax() == 0
    assert blocks[1, 1, 0, 1].argmax() == 0
    assert blocks[1, 1, 1, 0].max() == 0
    downward = hog(picture.T[None]).reshape(3, 3, 2, 2, 8)
    assert downward[1, 0, 1, 1].argmax() == 4  # 90 degrees
    np.testing.assert_allclose(downward[1, 0, 1, 1, 4], blocks[0, 1, 1, 1, 0])


def test_a_flat_picture_has_no_edges_and_brightness_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    picture = rng.random((1, 40, 40, 3))
    assert not hog(np.full((1, 40, 40, 3), 0.7)).any()
    np.testing.assert_allclose(hog(picture + 3.0), hog(picture), atol=1e-9)
    np.testing.assert_allclose(hog(picture * 255), hog(picture), atol=1e-4)


def test_an_angle_that_rounds_to_180_falls_in_no_bin() -> None:
    picture = np.zeros((16, 16))
    picture[3, 4], picture[4, 5] = 1e-17, 1.0  # at (4, 4): right by 1, up by next to nothing
    blocks = hog(picture[None]).reshape(2, 2, 8)
    np.testing.assert_allclose(blocks.ravel(), loop_hog(picture[..., None], 8, 8, 2), atol=1e-9)
    assert degrees(atan2(-1e-17, 1.0)) % 180 == 180
    assert blocks[0, 0, 7] == 0


def test_batches_equal_single_pictures() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (5, 112, 112, 3), np.uint8)
    together = hog(pictures)
    assert together.shape == (5, 5408)
    for row, picture in enumerate(pictures):
        np.testing.assert_array_equal(together[row], hog(picture[None])[0])


def test_the_steepest_channel_counts() -> None:
    picture = np.zeros((1, 16, 16, 3))
    picture[0, :, 8:, 1] = 1.0
    picture[0, 8:, :, 2] = 0.5
    assert hog(picture).reshape(2, 2, 8)[0, 0].argmax() == 0
    assert hog(picture[..., [2]]).reshape(2, 2, 8)[0, 0].argmax() == 4


@pytest.mark.parametrize("shape", [(112, 112), (1, 15, 40, 3), (1, 2, 3, 4, 5)])
def test_unusable_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArrayError, match="images for hog"):
        hog(np.zeros(shape))


def test_no_pictures_give_no_rows() -> None:
    assert hog(np.zeros((0, 112, 112, 3))).shape == (0, 5408)
